"""Technique files: one public name, a header with its source, a test, and an up-to-date page."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from encore import catalogue

ROOT = Path(__file__).resolve().parents[2]
TECHNIQUES = [(kind, name) for kind in catalogue.kinds() for name in catalogue.names(kind)]


def tree_of(kind: str, name: str) -> ast.Module:
    file = ROOT / "encore" / "techniques" / catalogue.folder(kind) / f"{name}.py"
    return ast.parse(file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page() -> ModuleType:
    """docs/techniques.py, which reads the headers."""
    spec = importlib.util.spec_from_file_location(
        "page_of_techniques", ROOT / "docs" / "techniques.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("kind", "name"), TECHNIQUES)
def test_a_technique_is_one_public_name(kind: str, name: str) -> None:
    tree = tree_of(kind, name)
    (public,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    defined = [
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
    ]
    assert len(public) == 1
    assert defined == public


@pytest.mark.parametrize(("kind", "name"), TECHNIQUES)
def test_a_technique_has_a_header_with_its_source(kind: str, name: str, page: ModuleType) -> None:
    line, fields = page.header(ast.get_docstring(tree_of(kind, name)) or "")
    assert line[:1].isupper()
    assert line.endswith(".")
    assert {"Source", "Differs"} <= set(fields), (
        "a header names its Source, and how it Differs from it (none)"
    )
    named = re.search(r"\b(19|20)\d\d\b", fields["Source"]) or any(
        source in fields["Source"] for source in page.SOURCES if source != "METHODS"
    )
    assert named, (
        f"who wrote '{fields['Source']}', and when? A short name stands in SOURCES of "
        f"docs/techniques.py."
    )


@pytest.mark.parametrize(
    "docstring",
    [
        "One.\n\nSource: A.   Price: high.",
        "One.\n\nSource: A.   Source: B.",
        "One.\n\nProse.",
        "One.\n\nSource: A.\n\nMore.",
    ],
)
def test_other_headers_are_refused(docstring: str, page: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"expected|twice"):
        page.header(docstring)


@pytest.mark.parametrize(("kind", "name"), TECHNIQUES)
def test_a_technique_has_a_test(kind: str, name: str, page: ModuleType) -> None:
    assert page.tests_of(kind, name), (
        f"no file in tests/{kind}/ is about '{name}': see CONTRIBUTING.md"
    )


def test_the_page_of_techniques_is_up_to_date(page: ModuleType) -> None:
    assert set(page.KINDS) == set(catalogue.kinds())
    assert [(one.kind, one.name) for one in page.techniques()] == [
        (kind, name) for kind in page.KINDS for name in catalogue.names(kind)
    ]
    assert page.PAGE.read_text(encoding="utf-8") == page.page(), "run `python docs/techniques.py`"

"""The house rules that nobody sees at a glance: who may import whom, what starts quickly, what is
never called, what a technique's file looks like.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import encore
from encore import catalogue

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "encore").rglob("*.py"))
SCRIPTS = sorted(
    file for folder in ("benchmarks", "docs") for file in (ROOT / folder).rglob("*.py")
)
TECHNIQUES = [(kind, name) for kind in catalogue.kinds() for name in catalogue.names(kind)]

# A module imports its own wing and the wings above it in this list, never those below
# (docs/design.md). A name is a folder in `encore/` or a file in its root.
WINGS = (
    ("types", "errors", "rng", "catalogue", "files"),
    ("data",),
    ("recipe", "encoder", "evaluation"),
    ("model", "tables"),
    ("techniques",),
    ("training",),
    ("runs",),
    ("experiments",),
    ("report", "export", "api", "hf"),
    ("cli", "__init__", "__main__"),
)
ROOT_FILES = {"types", "errors", "rng", "catalogue", "files", "api", "hf", "__init__", "__main__"}
FORBIDDEN_NAMES = {
    "utils",
    "util",
    "helpers",
    "helper",
    "common",
    "base",
    "misc",
    "manager",
    "managers",
}


def module_of(file: Path) -> str:
    """`encore/data/read.py` → `data.read`; a package's `__init__` counts as the package."""
    parts = file.relative_to(ROOT / "encore").with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


KNOWN = {module_of(file) for file in SOURCES}


def imported(tree: ast.AST, *, at_import_only: bool = False) -> Iterator[str]:
    """Modules of Encore that a file imports, wherever in the file; `at_import_only` leaves out
    function bodies and `if TYPE_CHECKING`.
    """
    for node in ast.iter_child_nodes(tree):
        lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        )
        if at_import_only and lazy:
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import: say encore.…"
            if node.module == "encore" or (node.module or "").startswith("encore."):
                inside = node.module.removeprefix("encore").lstrip(".")  # type: ignore[union-attr]
                for alias in node.names:
                    name = f"{inside}.{alias.name}".lstrip(".")
                    yield name if name in KNOWN else inside or "__init__"
        elif isinstance(node, ast.Import):
            yield from (
                alias.name.removeprefix("encore.")
                for alias in node.names
                if alias.name.startswith("encore.")
            )
        yield from imported(node, at_import_only=at_import_only)


def stage_of(module: str) -> int:
    wing = module.split(".")[0]
    found = [number for number, wings in enumerate(WINGS) if wing in wings]
    assert len(found) == 1, (
        f"encore/{wing} has no place in WINGS: give it one, here and in the docs"
    )
    return found[0]


def wrong_way(module: str, tree: ast.AST) -> list[str]:
    return sorted({other for other in imported(tree) if stage_of(other) > stage_of(module)})


GRAPH = {module_of(file): ast.parse(file.read_text(encoding="utf-8")) for file in SOURCES}


def test_there_is_something_to_look_at() -> None:
    assert len(SOURCES) > 60
    assert len(TECHNIQUES) > 20
    assert len(SCRIPTS) > 3


@pytest.mark.parametrize("module", sorted(GRAPH))
def test_nothing_imports_what_comes_after_it(module: str) -> None:
    assert not wrong_way(module, GRAPH[module])


def test_an_import_in_the_wrong_direction_is_seen() -> None:
    tree = ast.parse(
        "def f():\n    from encore.training.loop import fit\nfrom encore.evaluation import "
        "estimates\n"
        "import encore.errors\nfrom encore.data.read import Table\n"
    )
    assert sorted(imported(tree)) == [
        "data.read",
        "errors",
        "evaluation.estimates",
        "training.loop",
    ]
    assert wrong_way("data.columns", tree) == ["evaluation.estimates", "training.loop"]
    assert sorted(imported(tree, at_import_only=True)) == [
        "data.read",
        "errors",
        "evaluation.estimates",
    ]


def test_no_circle_of_imports() -> None:
    waiting = {
        module: {other for other in imported(tree) if other != module}
        for module, tree in GRAPH.items()
    }
    while ready := {module for module, needs in waiting.items() if not needs & set(waiting)}:
        waiting = {module: needs for module, needs in waiting.items() if module not in ready}
    # `encore.fit` is fetched from encore.api when it is asked for; whoever imports `encore.…`
    # imports the package first.
    assert set(waiting) <= {"__init__"}


HEAVY = (
    "torch",
    "numpy",
    "pyarrow",
    "sklearn",
    "scipy",
    "tokenizers",
    "safetensors",
    "transformers",
    "huggingface_hub",
    "matplotlib",
    "optuna",
    "sqlalchemy",
)


@pytest.mark.parametrize(
    ("module", "never"),
    [
        *(
            (name, HEAVY)
            for name in ("encore", "encore.catalogue", "encore.recipe.load", "encore.cli.app")
        ),
        *(
            (f"encore.data.{name}", ("torch", "sklearn", "scipy", "transformers"))
            for name in ("read", "columns", "split", "dataset", "load", "named", "hub")
        ),
        ("encore.runs.predict", ("transformers", "sklearn", "sentence_transformers")),
        ("encore.runs.execute", ("transformers", "sentence_transformers")),
    ],
)
def test_what_an_import_brings_along(module: str, never: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(sorted({set(never)!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr or f"import {module} brings {done.stdout}"


def banned(tree: ast.AST) -> list[str]:
    """What could run code from a file that was only to be read, line by line."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + (
                [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            )
            if {name.split(".")[0] for name in names} & {
                "pickle",
                "dill",
                "cloudpickle",
                "joblib",
                "shelve",
                "marshal",
            }:
                found.append(f"{node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            unsafe = {
                word.arg
                for word in node.keywords
                if isinstance(word.value, ast.Constant) and word.value.value is True
            }
            if called in {
                "eval",
                "exec",
                "compile",
                "__import__",
                "torch.load",
                "torch.save",
                "yaml.load",
                "yaml.unsafe_load",
                "os.system",
                "os.popen",
            } or unsafe & {"trust_remote_code", "allow_pickle", "shell"}:
                found.append(f"{node.lineno}: {called}(…)")
    return found


@pytest.mark.parametrize("file", [*SOURCES, *SCRIPTS], ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_that_runs_code_from_files(file: Path) -> None:
    assert not banned(ast.parse(file.read_text(encoding="utf-8")))


def test_banned_calls_are_seen() -> None:
    wrong = [
        "import pickle",
        "eval('1')",
        "torch.load(file)",
        "f(trust_remote_code=True)",
        "yaml.load(file, Loader)",
        "from joblib import load",
    ]
    right = [
        "from torch import nn",
        "model.eval()",
        "f(trust_remote_code=False)",
        "yaml.safe_load(file)",
        "re.compile('')",
    ]
    assert [bool(banned(ast.parse(line))) for line in wrong + right] == [True] * len(wrong) + [
        False
    ] * len(right)


def test_no_file_is_called_for_what_it_is_not() -> None:
    tests = sorted((ROOT / "tests").rglob("*.py"))
    named = [
        file
        for file in [*SOURCES, *SCRIPTS, *tests]
        if {file.stem.removeprefix("test_"), file.parent.name} & FORBIDDEN_NAMES
    ]
    assert not named


def test_no_loose_ends() -> None:
    words = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
    assert not [
        f"{file.name}:{number}"
        for file in [*SOURCES, *SCRIPTS]
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if words.search(line)
    ]


# --------------------------------------------------------------------------------------- techniques


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
    tree = GRAPH[f"techniques.{catalogue.folder(kind)}.{name}"]
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
    line, fields = page.header(
        ast.get_docstring(GRAPH[f"techniques.{catalogue.folder(kind)}.{name}"]) or ""
    )
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


def test_every_kind_is_a_folder_and_every_file_has_a_wing() -> None:
    kinds = {path.name for path in (ROOT / "encore" / "techniques").iterdir() if path.is_dir()}
    assert kinds - {"__pycache__"} == {catalogue.folder(kind) for kind in catalogue.kinds()}
    assert {path.stem for path in (ROOT / "encore").glob("*.py")} == ROOT_FILES
    assert Path(encore.__file__).parent == ROOT / "encore"

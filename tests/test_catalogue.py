"""The folder is the registry: what is in the folder has a name, and every file keeps the promises
that the catalogue makes.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import encore.techniques.heads
from encore import catalogue
from encore.errors import RecipeError

EVERY = [(kind, name) for kind in catalogue.kinds() for name in catalogue.names(kind)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A catalogue of our own: two heads, which are real modules of `encore.techniques.heads`."""
    heads = tmp_path / "heads"
    heads.mkdir()
    (heads / "__init__.py").write_text("")
    (heads / "_private.py").write_text("raise RuntimeError('never imported')")
    (heads / "odd.py").write_text(
        "from __future__ import annotations\n__all__ = ['Odd']\n"
        "class Odd:\n    def __init__(self, width: int, *, depth: int = 3, rate: float = 0.5) "
        "-> None:\n        self.given = (width, depth, rate)\n"
    )
    (heads / "even.py").write_text(
        "__all__ = ['even']\ndef even(width, *, size=2):\n    return width * size\n"
    )
    monkeypatch.setattr(catalogue, "_HERE", tmp_path)
    monkeypatch.setattr(encore.techniques.heads, "__path__", [str(heads)])
    for name in ("odd", "even"):
        monkeypatch.delitem(sys.modules, f"encore.techniques.heads.{name}", raising=False)
    yield tmp_path
    for name in ("odd", "even"):
        sys.modules.pop(f"encore.techniques.heads.{name}", None)
        encore.techniques.heads.__dict__.pop(name, None)


def test_names_are_the_files_of_the_folder_in_order(folder: Path) -> None:
    assert catalogue.names("heads") == ("even", "odd")
    assert "encore.techniques.heads.odd" not in sys.modules
    (folder / "heads" / "added.py").write_text("")
    assert catalogue.names("heads") == ("added", "even", "odd")
    assert catalogue.names("pooling") == ()


def test_listing_names_imports_nothing_heavy() -> None:
    code = (
        "import sys; from encore import catalogue; [catalogue.names(k) for k in "
        "catalogue.kinds()]; "
        "print(sorted({'torch', 'numpy', 'pyarrow'} & set(sys.modules)))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(encore.__file__).parents[1],
        ).stdout
        == "[]\n"
    )


def test_find_takes_the_one_public_name(folder: Path) -> None:
    assert catalogue.find("heads", "odd").__name__ == "Odd"
    assert catalogue.find("heads", "even")(3) == 6


def test_settings_are_the_keyword_only_parameters(folder: Path) -> None:
    assert {
        key: parameter.default for key, parameter in catalogue.settings("heads", "odd").items()
    } == {"depth": 3, "rate": 0.5}


def test_build_hands_over_what_is_given_and_what_is_set(folder: Path) -> None:
    assert catalogue.build("heads", "odd", 7).given == (7, 3, 0.5)
    spec = {"name": "odd", "rate": 0.1}
    assert catalogue.build("heads", spec, 7).given == (7, 3, 0.1)
    assert spec == {"name": "odd", "rate": 0.1}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: catalogue.names("head"),
            "no kind of technique called 'head'. Did you mean 'heads'? "
            "Known: combine, curves, heads, losses, metrics, mixing, pairs, plans, pooling, "
            "sharing.",
        ),
        (
            lambda: catalogue.find("heads", "evn"),
            "no head called 'evn'. Did you mean 'even'? Known: even, odd.",
        ),
        (
            lambda: catalogue.find("heads", "__init__"),
            "no head called '__init__'. Known: even, odd.",
        ),
        (
            lambda: catalogue.find("heads", "_private"),
            "no head called '_private'. Known: even, odd.",
        ),
        (
            lambda: catalogue.find("heads", "../heads/odd"),
            "no head called '../heads/odd'. Known: even, odd.",
        ),
        (
            lambda: catalogue.build("heads", {"name": "odd", "dept": 1}, 7),
            "dept: head 'odd' has no setting 'dept'. Did you mean 'depth'? Known: depth, rate.",
        ),
    ],
)
def test_mistakes_are_told_with_a_suggestion(folder: Path, call: object, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        call()  # type: ignore[operator]
    assert caught.value.lines == (message,)


def test_all_unknown_settings_are_told_at_once(folder: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        catalogue.build("heads", {"name": "odd", "a": 1, "b": 2}, 7)
    assert len(caught.value.lines) == 2


def test_the_real_catalogue_has_the_kinds_and_techniques_of_the_first_issue() -> None:
    assert set(EVERY) >= {
        ("pooling", "cls"),
        ("pooling", "mean"),
        ("pooling", "pooler"),
        ("heads", "linear"),
        ("losses", "cross_entropy"),
        ("losses", "binary_cross_entropy"),
        ("losses", "mse"),
        ("curves", "linear"),
        ("plans", "fine_tune"),
        ("metrics", "accuracy"),
        ("metrics", "pearson"),
    }


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_technique_is_one_file_with_one_public_name(kind: str, name: str) -> None:
    found = catalogue.find(kind, name)
    assert callable(found)
    assert inspect.getmodule(found).__name__ == f"encore.techniques.{catalogue.folder(kind)}.{name}"
    for key, parameter in catalogue.settings(kind, name).items():
        assert parameter.default is not inspect.Parameter.empty, (
            f"{kind}/{name}: '{key}' needs a default: the bare name is a complete choice"
        )
        assert key != "name", f"{kind}/{name}: 'name' is the technique's own name in a recipe"
        assert kind != "losses" or key != "weight", (
            f"{kind}/{name}: 'weight' is the term's own in a recipe"
        )
    doc = sys.modules[f"encore.techniques.{catalogue.folder(kind)}.{name}"].__doc__
    assert doc, f"{kind}/{name}: no docstring header"

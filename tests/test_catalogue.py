"""The folder is the registry: what is in the folder has a name, and every file keeps the promises
that the catalogue makes.
"""

from __future__ import annotations

import inspect
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
            "Known: adapters, averages, combine, curves, heads, losses, metrics, mixing, pairs, "
            "plans, pooling, sharing.",
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


def test_a_specification_holds_every_setting_and_cannot_be_changed() -> None:
    spec = catalogue.specify("heads", {"name": "linear", "dropout": 0})
    assert (spec.kind, spec.name) == ("heads", "linear")
    assert dict(spec) == {"name": "linear", "dropout": 0.0, "one_logit": False}
    assert isinstance(spec["dropout"], float)
    assert spec.changed == {"name": "linear", "dropout": 0.0}
    with pytest.raises(TypeError):
        spec.settings["dropout"] = 0.5  # type: ignore[index]
    with pytest.raises(AttributeError):
        spec.name = "other"  # type: ignore[misc]
    assert catalogue.specify("heads", spec) is spec
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_specifications_are_equal_where_every_setting_is() -> None:
    short, long, other = (
        catalogue.specify("pooling", {"name": "concat", "of": of})
        for of in (
            ["cls", "max_cls"],
            [{"name": "cls"}, {"name": "max_cls", "k": 3}],
            ["cls", {"name": "max_cls", "k": 2}],
        )
    )
    assert (short, hash(short)) == (long, hash(long))
    assert short != other
    assert short.to_json() == {"name": "concat", "of": ["cls", {"name": "max_cls", "k": 3}]}
    assert short.changed == {"name": "concat", "of": ["cls", "max_cls"]}


def test_a_curve_of_a_plan_is_a_curve() -> None:
    plan = catalogue.specify("plans", {"name": "fine_tune", "curve": "constant"})
    assert (plan["curve"].kind, plan["curve"].name) == ("curves", "constant")
    with pytest.raises(RecipeError, match="curve: no curve called 'mean'"):
        catalogue.specify("plans", {"name": "fine_tune", "curve": "mean"})


@pytest.mark.parametrize(
    ("kind", "choice", "line"),
    [
        (
            "heads",
            {"name": "linear", "dropout": 1.0},
            "dropout: expected a number of at least 0 and below 1, got 1.0.",
        ),
        ("heads", {"name": "linear", "dropout": "0.1"}, "dropout: expected a number of at least"),
        ("losses", {"name": "mnr", "scale": 0}, "scale: expected a number above 0, got 0."),
        (
            "pooling",
            {"name": "concat", "of": ["cls", {"name": "max_cls", "k": 0}]},
            "of.1.k: expected a whole number of at least 1, got 0.",
        ),
        ("heads", 5, "expected the name of a head, or {name: …, setting: …}, got 5."),
        ("heads", {"dropout": 0.1}, "no name beside the settings."),
    ],
)
def test_settings_are_checked_against_the_constructor(kind: str, choice: Any, line: str) -> None:
    with pytest.raises(RecipeError) as caught:
        catalogue.specify(kind, choice)
    (problem,) = caught.value.lines
    assert problem.startswith(line)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_the_json_of_a_bare_name_is_its_whole_specification(kind: str, name: str) -> None:
    spec = catalogue.specify(kind, name)
    written = json.loads(json.dumps(spec.to_json()))
    assert list(written) == ["name", *catalogue.settings(kind, name)]
    assert catalogue.specify(kind, written) == spec
    assert spec.changed == {"name": name}


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

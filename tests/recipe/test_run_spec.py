"""The specification of a run: complete, hashable, JSON both ways; a run's name is a hash of what in
it differs from the defaults.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import encore.techniques.heads
from encore import catalogue
from encore.recipe.load import recipe_from
from encore.recipe.run_spec import RunSpec, TaskRows
from encore.recipe.write import changed

SETTINGS: dict[str, Any] = {
    "sharing": {"name": "branch", "own_layers": 1},
    "tasks": {
        "a": {
            "pooling": {"name": "concat", "of": ["cls", {"name": "max_cls", "k": 2}]},
            "head": {"name": "siamese_concat", "parts": ["u", "v"]},
            "losses": {"task": {"name": "cross_entropy", "label_smoothing": 0.1, "weight": 2}},
            "class_weights": {"no": 1, "yes": 2},
            "data": {"labels": {"0": "no", "1": "yes"}, "dev_frac": 0.3},
        },
        "b": {"same_as": "a", "metrics": ["accuracy"], "pair": "siamese"},
    },
    "plan": {"lr": 1e-4, "clip_norm": None, "curve": "constant", "freeze_encoder": True},
}


def spec_of(mapping: dict[str, Any]) -> RunSpec:
    """A specification whose tasks have files of their own digest."""
    for task in mapping["tasks"].values():
        task.setdefault("data", {})["train"] = "x.csv"
    recipe = recipe_from(mapping)
    tasks = {
        name: task.model_copy(update={"data": task.data.model_copy(update={"train": None})})
        for name, task in recipe.tasks.items()
    }
    rows = {name: TaskRows(f"{name}1", (("dev", f"{name}2"),), ("no", "yes")) for name in tasks}
    return RunSpec(recipe.model_copy(update={"tasks": tasks}), rows, "tok", "cpu", 4)


@pytest.fixture
def spec() -> RunSpec:
    return spec_of(json.loads(json.dumps(SETTINGS)))


def test_json_holds_every_setting_and_gives_the_same_specification(spec: RunSpec) -> None:
    written = json.loads(json.dumps(spec.to_json()))
    again = RunSpec.from_json(written)
    assert (again, hash(again), again.name) == (spec, hash(spec), spec.name)
    assert written["tasks"]["a"]["data"]["train"] == "a1"
    assert written["tasks"]["b"]["data"]["dev"] == {"dev": "b2"}
    assert written["tasks"]["a"]["pooling"]["of"] == ["cls", {"name": "max_cls", "k": 2}]
    assert written["plan"]["weight_decay"] == 0.01
    assert written["plan"]["freeze_encoder"] is True
    assert "source" not in written


def test_the_identity_holds_what_differs_from_the_defaults() -> None:
    bare = spec_of({"tasks": {"a": {}}}).identity
    rows = {"data": {"train": "a1", "dev": {"dev": "a2"}}, "labels": ["no", "yes"]}
    beside = {"tokeniser": "tok", "device": "cpu", "results_version": 4}
    assert bare == {"tasks": {"a": rows}, **beside}
    found = spec_of(
        {
            "tasks": {
                "a": {
                    "head": {"dropout": 0.1, "one_logit": False},
                    "pooling": {"name": "max_cls", "k": 3},
                    "losses": {"task": {"name": "mse", "weight": 1}, "x": {"weight": 2}},
                }
            },
            "plan": {"epochs": 4, "curve": {"name": "linear"}, "freeze_encoder": False, "lr": 1e-4},
            "seed": 42,
        }
    ).identity
    assert found == {
        "tasks": {
            "a": {
                "pooling": {"name": "max_cls"},
                "losses": {"task": {"name": "mse"}, "x": {"weight": 2.0}},
                **rows,
            }
        },
        "plan": {"lr": 1e-4},
        **beside,
    }


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("seed",), 43),
        (("sharing",), "one"),
        (("plan", "lr"), 2e-4),
        (("plan", "freeze_encoder"), False),
        (("tasks", "a", "head", "parts"), ["v", "u"]),
        (("tasks", "a", "pooling", "of"), ["cls", "max_cls"]),
        (("tasks", "a", "losses", "task", "weight"), 1),
        (("tasks", "a", "data", "dev_frac"), 0.2),
        (("tasks", "b", "pair"), "siamese_attend"),
    ],
)
def test_every_setting_is_in_the_name(spec: RunSpec, path: tuple[str, ...], value: Any) -> None:
    mapping = json.loads(json.dumps(SETTINGS))
    section = mapping
    for step in path[:-1]:
        section = section[step]
    section[path[-1]] = value
    other = spec_of(mapping)
    assert other != spec
    assert other.name != spec.name


def test_digests_versions_and_devices_are_in_the_name(spec: RunSpec) -> None:
    rows = {**spec.rows, "a": TaskRows("other", spec.rows["a"].dev, spec.rows["a"].labels)}
    others = [
        RunSpec(spec.recipe, rows, "tok", "cpu", 4),
        RunSpec(spec.recipe, spec.rows, "other", "cpu", 4),
        RunSpec(spec.recipe, spec.rows, "tok", "cuda", 4),
        RunSpec(spec.recipe, spec.rows, "tok", "cpu", 5),
    ]
    assert len({spec.name, *(other.name for other in others)}) == 5


@pytest.fixture
def growing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of a head that a test writes, and writes again with one setting more."""
    monkeypatch.setattr(
        encore.techniques.heads, "__path__", [*encore.techniques.heads.__path__, str(tmp_path)]
    )
    names = catalogue.names
    monkeypatch.setattr(
        catalogue, "names", lambda kind: (*names(kind), "grown") if kind == "heads" else names(kind)
    )
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path / "grown.py"
    sys.modules.pop("encore.techniques.heads.grown", None)


def test_a_setting_that_is_added_later_leaves_the_names_of_the_runs_there_are(
    growing: Path,
) -> None:
    def name(parameters: str, **settings: Any) -> str:
        growing.write_text(
            f"__all__ = ['Grown']\nclass Grown:\n    def __init__(self, *, {parameters}): ...\n"
        )
        sys.modules.pop("encore.techniques.heads.grown", None)
        return spec_of({"tasks": {"a": {"head": {"name": "grown", **settings}}}}).name

    before = name("size: int = 3"), name("size: int = 3", size=4)
    longer = "size: int = 3, more: float = 0.5"
    assert (name(longer), name(longer, size=4)) == before
    assert name(longer, more=0.4) not in before


def test_a_changed_section_is_plain_data() -> None:
    recipe = recipe_from({"task": "rte", "expect": {"rte.accuracy": 0.6}, "metrics": "f1"})
    assert changed(recipe) == {
        "expect": {"rte.accuracy": 0.6},
        "tasks": {"rte": {"metrics": ["f1"]}},
    }

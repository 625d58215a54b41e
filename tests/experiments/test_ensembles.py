"""The ensembles that a comparison ends with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import encore
from encore import files
from encore.errors import RecipeError
from encore.evaluation.comparison_record import ComparisonRecord
from encore.experiments.variants import study_from
from encore.runs.ensemble import EnsembleSettings, make_ensemble
from tests.conftest import Tables


def recipe(tables: Tables, encoder: Path, **more: Any) -> dict[str, Any]:
    data = {"train": str(tables.train), "dev": str(tables.dev), "text": "text", "label": "verdict"}
    return {
        "encoder": str(encoder),
        "threads": 1,
        "precision": "fp32",
        "max_length": 32,
        "tasks": {"verdict": {"data": data, "pooling": "mean"}},
        "plan": {"epochs": 1, "lr": 1e-2, "batch_size": 9},
        "seeds": [1, 2],
        "variants": {"first": {"tasks.verdict.pooling": "cls"}},
        **more,
    }


def test_a_comparison_ends_with_ensembles_of_its_runs(
    tables: Tables, tiny_encoder: Path, tmp_path: Path
) -> None:
    methods = ["best", "greedy", "regression"]
    given = recipe(tables, tiny_encoder, ensemble={"methods": methods})
    found = encore.compare(given, runs=tmp_path, executor="serial", keep_models=True)
    rows = found.record.ensembles
    assert [one.method for one in rows] == methods
    assert {len(one.result.members) for one in rows} == {4}
    assert "ensembles, accuracy" in found.table
    assert ComparisonRecord.from_json(files.read_json(found.folder / "results.json")) == (
        found.record
    )
    # The same as of the command on the folder, whose members have other names.
    made = make_ensemble([found.folder], EnsembleSettings("regression"), tmp_path)
    own, other = made.results[0].dev["accuracy"], rows[2].result.dev["accuracy"]
    assert own.value == pytest.approx(other.value)
    # Without the key nothing of it is written, and the folder has the same name.
    given.pop("ensemble")
    again = encore.compare(given, runs=tmp_path, executor="serial", keep_models=True)
    assert again.folder == found.folder
    assert "ensembles" not in files.read_json(again.folder / "results.json")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "expected a mapping such as"),
        ({"method": "greedy"}, "no setting 'method'"),
        ({"methods": ["mean"]}, "no method called 'mean'"),
        ({"methods": "greedy"}, "methods: a list"),
        ({"at_least": {"sst5": "much"}}, "at_least: expected figures"),
        ({"space": "log"}, "expected probability or logit"),
        ({"of": ["first"]}, "expected of: a list of variants"),
        ({"of": "baseline"}, "expected of: a list of variants"),
    ],
)
def test_what_an_ensemble_key_may_not_say(given: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        study_from({"task": "rte", "ensemble": given})
    assert len(caught.value.lines) == 1


def test_the_key_gives_one_ensemble_for_each_method() -> None:
    study = study_from(
        {"task": "rte", "ensemble": {"methods": ["simple", "vote"], "at_least": 0.5}}
    )
    assert [one.method for one in study.ensembles] == ["simple", "vote"]
    assert study.ensembles[0].at_least == {"": 0.5}
    assert [one.method for one in study_from({"task": "rte", "ensemble": {}}).ensembles] == [
        "greedy"
    ]
    assert not study_from({"task": "rte"}).ensembles


def test_an_ensemble_of_some_variants_is_compared_with_the_runs_of_each(
    tables: Tables, tiny_encoder: Path, tmp_path: Path
) -> None:
    given = recipe(tables, tiny_encoder, ensemble={"methods": ["simple"], "of": ["baseline"]})
    found = encore.compare({**given, "seeds": [1, 2, 3]}, runs=tmp_path, executor="serial")
    [row] = found.record.ensembles
    assert [one.name for one in row.result.members] == [f"baseline, {seed}" for seed in (1, 2, 3)]
    assert [one.variant for one in row.against] == ["baseline", "first"]
    [study] = found.record.studies
    value = row.result.cross_fitted["accuracy"].value
    for one, variant in zip(row.against, study.metrics[0].variants, strict=True):
        alone = [value - each for each in variant.values]
        assert one.differences == pytest.approx(alone)
        assert one.delta == pytest.approx(sum(alone) / 3)
    assert "ensembles against the runs of a variant" in found.table
    stored = files.read_json(found.folder / "results.json")
    assert ComparisonRecord.from_json(stored) == found.record

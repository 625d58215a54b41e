"""`encore evaluate --compare`: two runs on the same rows, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Tables

import encore
from encore.cli import app
from encore.errors import DataError, RecipeError
from encore.runs.two_runs import read_alike


def recipe(tables: Tables, encoder: Path, label: str, **more: Any) -> dict[str, Any]:
    data = {"train": str(tables.train), "dev": str(tables.dev), "text": "text", "label": label}
    return {
        "encoder": str(encoder),
        "threads": 1,
        "precision": "fp32",
        "max_length": 32,
        "tasks": {label: {"data": data | more.pop("data", {})}},
        "plan": {"epochs": 2, "lr": 1e-2, "batch_size": 9, **more},
    }


def command(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        app.main(["evaluate", *words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture(scope="module")
def runs(
    tables: Tables, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("two")
    recipes = {
        "one": recipe(tables, tiny_encoder, "verdict"),
        "other": recipe(tables, tiny_encoder, "verdict", lr=1e-4),
        "turned": recipe(tables, tiny_encoder, "verdict", data={"labels": ["good", "fair", "bad"]}),
        "tags": recipe(tables, tiny_encoder, "tags"),
    }
    return {name: encore.fit(each, runs=folder).folder for name, each in recipes.items()}


def test_the_difference_is_that_of_the_two_evaluations(
    runs: dict[str, Path], tables: Tables
) -> None:
    found = encore.evaluate(runs["one"], tables.dev, compare=runs["other"])
    alone = encore.evaluate(runs["other"], tables.dev)
    assert found.other is not None
    for name, estimate in found.estimates.items():
        difference = found.other.differences[name]
        assert difference.value == estimate.value
        assert difference.other == alone.estimates[name].value
        assert difference.delta == estimate.value - alone.estimates[name].value
        assert difference.low <= difference.delta <= difference.high
    assert (found.other.scores == alone.scores).all()
    assert alone.other is None
    assert "compare" not in alone.as_object()


def test_labels_in_another_order_are_the_same_labels(runs: dict[str, Path], tables: Tables) -> None:
    found = encore.evaluate(runs["one"], tables.dev, compare=runs["turned"])
    alone = encore.evaluate(runs["turned"], tables.dev)
    assert found.other is not None
    assert found.other.differences["accuracy"].other == alone.estimates["accuracy"].value
    assert (found.other.scores == alone.scores[:, ::-1]).all()


def test_the_command_prints_scores_difference_and_verdict(
    runs: dict[str, Path], tables: Tables, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = str(runs["one"]), str(runs["other"])
    assert command("--compare", other, one, str(tables.train)) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "metric" in text
    assert "difference" in text
    assert "verdict" in text
    assert text.count("is the file that this run was trained on") == 2
    assert command(one, str(tables.dev), "--compare", other, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["compare"]["run"] == other
    accuracy = found["compare"]["metrics"]["accuracy"]
    assert accuracy["delta"] == pytest.approx(accuracy["value"] - accuracy["other"])
    assert accuracy["verdict"] in ("better", "worse", "no evidence")


def test_runs_that_predict_other_labels_are_refused_in_one_line(
    runs: dict[str, Path], tables: Tables, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(str(runs["one"]), str(tables.dev), "--compare", str(runs["tags"])) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    (line,) = [each for each in streams.err.splitlines() if "do not predict the same" in each]
    assert "'tags' is multilabel" in line
    assert "'verdict' multiclass (bad, fair, good)" in line


def test_standard_input_serves_runs_that_read_it_alike(
    runs: dict[str, Path], tables: Tables
) -> None:
    model = encore.load(runs["one"])
    dataset = model.read(str(tables.dev), with_labels=True)
    found = read_alike(runs["other"], model, "verdict", "-", dataset)
    assert found is not None
    assert found[1] is dataset
    with pytest.raises(DataError, match="standard input can be read once"):
        read_alike(runs["turned"], model, "verdict", "-", dataset)


def test_rows_that_one_run_reads_otherwise_are_refused(
    runs: dict[str, Path], tables: Tables
) -> None:
    model, other = encore.load(runs["one"]), encore.load(runs["turned"])
    dataset = model.read(str(tables.dev), with_labels=True)
    half = dataset.take(np.arange(len(dataset) // 2))
    with pytest.raises(DataError, match="reads other rows or labels"):
        read_alike(other, model, "verdict", str(tables.dev), half)


def test_the_test_file_is_opened_for_no_comparison(runs: dict[str, Path]) -> None:
    with pytest.raises(RecipeError, match="takes labelled rows, not the test file"):
        encore.evaluate(runs["one"], final=True, compare=runs["other"])
    assert not (runs["one"] / "test_opened.log").exists()

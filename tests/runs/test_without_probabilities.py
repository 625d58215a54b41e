"""A head whose scores are no logits: no probabilities are printed, measured or drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.csv
import pytest
from conftest import Tables, Warm, write_csv

from encore.errors import RecipeError
from encore.runs.execute import execute
from encore.runs.predict import load
from encore.runs.prepared import Prepared

HEAD = ("head=cosine_threshold", "losses={task: cosine_embedding}")


@pytest.fixture(scope="module")
def pairs(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """The tables with one column more, of two classes."""
    folder = tmp_path_factory.mktemp("cosine")
    for path in (tables.train, tables.dev):
        rows = pyarrow.csv.read_csv(path).to_pydict()
        rows["sign"] = ["plus" if float(score) > 0 else "minus" for score in rows["score"]]
        write_csv(folder / path.name, rows)
    return Tables(folder / "train.csv", folder / "dev.csv", tables.settings)


def prepared(pairs: Tables, *overrides: str) -> Prepared:
    return pairs.prepared(*HEAD, *overrides, text_pair="other", label="sign")


@pytest.fixture(scope="module")
def run(pairs: Tables) -> Path:
    return execute(prepared(pairs), pairs.train.parent / "runs").folder


def test_predictions_have_labels_and_no_probabilities(run: Path) -> None:
    model = load(run)
    predicted = model.predict([("a lamp", "a lamp"), ("a lamp", "no rain")])
    assert [each.probabilities for each in predicted] == [{}, {}]
    assert predicted[0].label == "plus"  # equal texts have cosine 1


def test_the_command_writes_labels_alone(run: Path, pairs: Tables, warm: Warm) -> None:
    dev, out = pairs.dev, pairs.dev.parent / "out"
    for ending in ("csv", "jsonl"):
        assert warm.run(["predict", run, dev, "-o", f"{out}.{ending}"]).code == 0
    assert pyarrow.csv.read_csv(f"{out}.csv").column_names == ["prediction"]
    rows = [json.loads(line) for line in Path(f"{out}.jsonl").read_text().splitlines()]
    assert {tuple(row) for row in rows} == {("prediction",)}
    assert {row["prediction"] for row in rows} <= {"minus", "plus"}


def test_log_loss_is_refused(pairs: Tables) -> None:
    with pytest.raises(RecipeError, match=r"'log_loss' needs probabilities, .*'cosine_threshold'"):
        prepared(pairs, "metrics=[accuracy, log_loss]")


def test_errors_are_listed_with_their_margin(run: Path, pairs: Tables, warm: Warm) -> None:
    told = warm.run(["evaluate", run, pairs.dev])
    assert told.code == 0
    assert "margin" in told.out
    assert "p(truth)" not in told.out


def test_a_report_draws_no_calibration(run: Path, warm: Warm) -> None:
    assert warm.run(["report", run]).code == 0
    names = {path.name for path in run.parent.rglob("*.svg")}
    assert any(name.startswith("confusion") for name in names)
    assert not any(name.startswith("calibration") for name in names)

"""The key `folds` of a comparison: every variant and seed is trained on each fold, and measured on
all rows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

import encore
from encore.errors import RecipeError
from encore.evaluation.intervals import for_these_rows
from encore.experiments.comparison import ComparisonResult
from encore.experiments.preparation import prepare_comparison
from encore.experiments.variants import study_from
from encore.report.write import write_report
from encore.runs.folder import read_predictions, read_result
from tests.conftest import Tables

N, SEEDS = 3, (1, 2)


def recipe(tables: Tables, **more: Any) -> dict[str, Any]:
    given = dict(one.split("=") for one in tables.settings)
    return {
        "encoder": given["encoder"],
        "threads": 1,
        "precision": "fp32",
        "max_length": 32,
        "pooling": "mean",
        "plan": {"epochs": 1, "lr": 1e-2, "batch_size": 9},
        "tasks": {
            "verdict": {"data": {"train": str(tables.train), "text": "text", "label": "verdict"}}
        },
        "variants": {"cls": {"pooling": "cls"}},
        "seeds": list(SEEDS),
        **more,
    }


@pytest.fixture(scope="module")
def found(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> ComparisonResult:
    place = tmp_path_factory.mktemp("folds")
    return encore.compare(recipe(tables, folds=N), runs=place, processes=1)


def test_every_cell_is_trained_on_each_fold(found: ComparisonResult, tables: Tables) -> None:
    cells = json.loads((found.folder / "cells.json").read_text())["cells"]
    keys = [(one["variant"], one["seed"], one["fold"]) for one in cells]
    folds = [f"{number}/{N}" for number in range(1, N + 1)]
    expected = [(v, s, f) for v in ("baseline", "cls") for s in SEEDS for f in folds]
    assert keys == expected
    assert len({one["run"] for one in cells}) == len(cells) == found.n_runs
    plan = prepare_comparison(study_from(recipe(tables, folds=N)))
    for seed in SEEDS:
        numbers = [
            each.run.streams["verdict"].dev["dev"].numbers
            for each in plan.cells
            if each.run is not None and (each.cell.variant, each.cell.seed) == ("cls", seed)
        ]
        assert sorted(np.concatenate(numbers).tolist()) == list(range(52))


def test_figures_are_those_of_all_rows_of_a_seed(found: ComparisonResult) -> None:
    cells = json.loads((found.folder / "cells.json").read_text())["cells"]
    (study,) = found.record.studies
    assert study.n_rows == 52
    values: dict[str, dict[str, list[float]]] = {"accuracy": {}, "macro_f1": {}}
    for variant in ("baseline", "cls"):
        for seed in SEEDS:
            parts = []
            for one in cells:
                if (one["variant"], one["seed"]) == (variant, seed):
                    run = read_result(found.folder.parent / one["run"])
                    parts.append(read_predictions(run.folder, "verdict", "dev", run.epoch))
            truth = np.concatenate([part.targets for part in parts])
            said = np.concatenate([part.scores for part in parts]).argmax(axis=1)
            values["accuracy"].setdefault(variant, []).append(accuracy_score(truth, said))
            macro = f1_score(truth, said, average="macro", zero_division=0)
            values["macro_f1"].setdefault(variant, []).append(macro)
    for metric in study.metrics:
        of_variant = values[metric.metric]
        for row in metric.variants:
            assert row.values == pytest.approx(of_variant[row.variant], abs=1e-12)
        difference = np.subtract(of_variant["cls"], of_variant["baseline"])
        (against,) = [row.contrast for row in metric.variants if row.contrast is not None]
        assert against.delta == pytest.approx(float(for_these_rows(difference).estimate))
    means = study.baselines["majority"]["accuracy"]
    runs = [one["run"] for one in cells if (one["variant"], one["seed"]) == ("baseline", 1)]
    each = [
        read_result(found.folder.parent / run).metrics["verdict"]["dev"]["majority"] for run in runs
    ]
    assert means == pytest.approx(np.mean([one["accuracy"].value for one in each]))
    assert "trained on each of 3 folds: figures are those of all rows" in found.table


def test_the_report_has_all_rows(found: ComparisonResult, tmp_path: Path) -> None:
    page = write_report(found.folder, tmp_path / "page.html")
    text = page.html.read_text()
    assert "seed, fold" in text
    (confusion,) = page.figures.glob("confusion*baseline*.csv")
    counts = [line.split(",") for line in confusion.read_text().splitlines()[1:]]
    total = sum(int(cell) for line in counts for cell in line if cell.isdigit())
    assert total == len(SEEDS) * 52


def test_it_is_found_complete_and_its_runs_are_those_of_train(
    found: ComparisonResult, tables: Tables
) -> None:
    again = encore.compare(recipe(tables, folds=N), runs=found.folder.parent, processes=1)
    assert (again.folder, again.n_reused) == (found.folder, found.n_runs)
    assert again.results == found.results
    # Every seed of a comparison has the split of the recipe's own seed.
    plain = recipe(tables, data={"seed": 42}) | {"seed": 1}
    for key in ("variants", "seeds"):
        plain.pop(key)
    crossed = encore.cross_validate(plain, folds=N, runs=found.folder.parent)
    cells = json.loads((found.folder / "cells.json").read_text())["cells"]
    mine = [one["run"] for one in cells if (one["variant"], one["seed"]) == ("baseline", 1)]
    assert [fold.run for fold in crossed.record.folds] == mine
    (study,) = found.record.studies
    value = study.metrics[0].variants[0].values[0]
    assert crossed.record.out_of_fold["accuracy"].value == pytest.approx(value, abs=1e-12)


def test_without_folds_a_comparison_keeps_its_name(tables: Tables) -> None:
    one, other = (
        prepare_comparison(study_from(recipe(tables, **more))) for more in ({}, {"folds": None})
    )
    assert one.name == other.name
    assert all("fold" not in str(each.run and each.run.identity) for each in one.cells)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folds": 1}, "folds: expected a whole number of at least 2, such as 5, got 1"),
        ({"folds": "5/5"}, "expected a whole number of at least 2, such as 5, got '5/5'"),
        ({"folds": 3, "race": {}}, "race goes by one dev set, and each fold is one. Remove either"),
        (
            {"folds": 3, "ensemble": {"methods": ["simple"]}},
            "ensemble goes by one dev set, and each fold is one. Remove either",
        ),
        ({"folds": 3, "data": {"dev": "x.csv"}}, "dev set of one run, but data.dev names another"),
        (
            {"folds": 3, "variants": {"cut": {"data.dev_rows": 5}}},
            "every row is scored, but data.dev_rows cuts each fold",
        ),
    ],
)
def test_what_goes_with_no_folds_is_refused(
    tables: Tables, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError) as refused:
        study_from(recipe(tables, **change))
    assert message in str(refused.value)
    assert len(refused.value.lines) == 1


def test_a_variant_that_starts_from_one_that_saw_the_rows_is_refused(tables: Tables) -> None:
    after = {"after": {"encoder": {"run": "baseline"}}}
    with pytest.raises(RecipeError, match="that it starts from was trained on"):
        prepare_comparison(study_from(recipe(tables, folds=N, variants=after)))


def test_train_says_how_to_cross_validate(
    tables: Tables, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from encore.cli import app

    with pytest.raises(SystemExit):
        app.main(["train", str(tables.train), "--label", "verdict", "folds=4"])
    err = capsys.readouterr().err
    assert "'folds' belongs to a comparison" in err
    assert "Write --folds 4 to cross-validate a recipe." in err


def test_a_failed_fold_loses_its_seed(
    tables: Tables, tmp_path: Path, found: ComparisonResult
) -> None:
    import shutil

    place = tmp_path / "runs"
    shutil.copytree(found.folder.parent, place)
    cells = json.loads((found.folder / "cells.json").read_text())["cells"]
    broken = next(one["run"] for one in cells if (one["variant"], one["seed"]) == ("cls", 2))
    (place / broken / "results.json").write_text("{}")
    again = encore.compare(recipe(tables, folds=N), runs=place, processes=1)
    (study,) = again.record.studies
    row = next(row for row in study.metrics[0].variants if row.variant == "cls")
    assert row.seeds == (1,)
    assert "results.json: missing, or not as the run wrote it" in row.failed[2]
    assert again.failed[0].startswith("verdict, cls, seed 2, fold 1/3: ")

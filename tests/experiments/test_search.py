"""`encore tune`: trials are runs, the best one is trained again on fresh seeds, and a search that
was stopped resumes.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import optuna
import pytest
from conftest import Outcome, Tables, Warm

import encore
from encore import files
from encore.errors import RecipeError
from encore.evaluation.comparison_record import MetricResult, StudyResult, VariantResult
from encore.evaluation.search_record import (
    BestTrial,
    FreshResult,
    Importances,
    SearchRecord,
    TrialCounts,
)
from encore.experiments.objective import SearchObjective
from encore.experiments.search import run_search
from encore.experiments.search_files import description_of
from encore.experiments.search_preparation import PreparedSearch, prepare_search
from encore.experiments.search_space import load_search, search_from
from encore.recipe.load import load_recipe
from encore.report import search_figures
from encore.report.search import _cost, _repeat, _trials
from encore.runs import task_streams
from encore.runs.cache import Cache
from encore.runs.contents import damaged_files
from encore.runs.prepare import prepare
from encore.tables.formatting import format_duration
from encore.tables.search import search_tables
from encore.training import streams

RECIPE = """\
# A search over a tiny encoder.
encoder: {encoder}
precision: fp32
tasks: {{verdict: {{data: {{train: {train}, dev: {dev}, text: text, label: verdict}}}}}}
pooling: mean
plan: {{batch_size: 13}}
expect: {{verdict.accuracy: 0.5}}
search:
  plan.lr: {{log_uniform: [1e-4, 3e-2]}}
  plan.epochs: {{int: [1, 3]}}
  max_length: {{choice: [16, 32]}}
  pooling: {{choice: [mean, {{name: max_cls, k: 2}}]}}
trials: 5
seeds: [7, 8]
"""
SAME = ("recipe.yaml", "study.json", "trials.csv", "best.yaml", "results.json")
FIGURES = (
    "history",
    "importances",
    "slice-plan.lr",
    "slice-plan.epochs",
    "slice-max_length",
    "slice-pooling",
    "parallel",
    "contour",
    "loss",
    "time",
)


@dataclass(frozen=True)
class Whole:
    """A search that nobody disturbed, one trial after another."""

    warm: Warm
    recipe: Path
    outcome: Outcome
    folder: Path

    @property
    def runs(self) -> Path:
        return self.folder.parent

    @property
    def results(self) -> Any:
        return files.read_json(self.folder / "results.json")

    @property
    def trials(self) -> list[dict[str, str]]:
        return trials_of(self.folder)

    def again(self, runs: Path, *more: str, **how: Any) -> Outcome:
        return self.warm.run(
            ["tune", self.recipe, "--processes", "1", "--runs", runs, *more], undrawn=True, **how
        )


def trials_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def whole(
    warm: Warm, tables: Tables, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Whole:
    folder = tmp_path_factory.mktemp("tune")
    recipe = folder / "tiny.yaml"
    recipe.write_text(
        RECIPE.format(encoder=tiny_encoder, train=tables.train, dev=tables.dev), encoding="utf-8"
    )
    outcome = warm.run(["tune", recipe, "--processes", "1", "--runs", folder / "runs"])
    assert outcome.code == 0, outcome.err
    (found,) = (folder / "runs").glob("tune-*")
    return Whole(warm, recipe, outcome, found)


# ---------------------------------------------------------------------------- what a trial is worth


def resolved(
    tables: Tables, tasks: Mapping[str, Mapping[str, Any]], space: Mapping[str, Any], **keys: Any
) -> PreparedSearch:
    """`tasks`: name → what is set besides the rows."""
    rows = {"train": str(tables.train), "dev": str(tables.dev), "text": "text"}
    whole = {name: {**own, "data": {**rows, **own["data"]}} for name, own in tasks.items()}
    settings = [setting for setting in tables.settings if setting.partition("=")[0] not in space]
    return prepare_search(search_from({"tasks": whole, "search": space, **keys}, settings))


def selected(run: Path) -> list[float]:
    return [
        json.loads(line)["selected"] for line in (run / "metrics.jsonl").read_text().splitlines()
    ]


DECAY = {"plan.weight_decay": {"uniform": [0.0, 0.1]}}


def test_where_lower_is_better_and_with_two_seeds(tables: Tables, tmp_path: Path) -> None:
    tuning = resolved(
        tables,
        {"verdict": {"data": {"label": "verdict"}, "metrics": ["log_loss", "accuracy"]}},
        DECAY,
        seeds_per_trial=2,
    )
    assert (tuning.maximise, tuning.deciding, tuning.trials(tmp_path).longest) == (
        False,
        "verdict log_loss on dev",
        6,
    )
    told: list[tuple[int, float, bool]] = []

    def report(step: int, value: float, *, final: bool = False) -> None:
        told.append((step, value, final))

    score = SearchObjective(tuning, tmp_path)(tuning.search.first, report)
    runs = [tmp_path / name for name in score.runs]
    losses = [[-value for value in selected(run)] for run in runs]
    assert all(len(each) == 3 and min(each) > 0 for each in losses)
    assert score.values == tuple(each[-1] for each in losses)
    assert score.value == sum(score.values) / 2
    assert score.value_at_best_epoch == sum(map(min, losses)) / 2
    assert [(step, value) for step, value, _ in told] == list(enumerate([*losses[0], *losses[1]]))
    assert [final for *_, final in told] == [False] * 5 + [True]
    # What is there already costs nothing, so it is not given up.
    told.clear()
    assert SearchObjective(tuning, tmp_path)(tuning.search.first, report) == score
    assert [(step, final) for step, _, final in told] == [(step, True) for step in range(6)]


def test_where_higher_is_better_of_one_task_and_lower_of_another(
    tables: Tables, tmp_path: Path
) -> None:
    tasks = {
        "score": {"data": {"label": "score"}, "metrics": ["rmse"]},
        "verdict": {"data": {"label": "verdict"}},
    }
    tuning = resolved(tables, tasks, DECAY)
    assert (tuning.maximise, tuning.deciding) == (
        True,
        "mean of score rmse on dev, verdict accuracy on dev",
    )
    score = SearchObjective(tuning, tmp_path)(
        tuning.search.first, lambda step, value, final=False: None
    )
    run = tmp_path / score.runs[0]
    found = files.read_json(run / "results.json")["metrics"]
    rmse, accuracy = (
        found["score"]["dev"]["model"]["rmse"]["value"],
        found["verdict"]["dev"]["model"]["accuracy"]["value"],
    )
    assert score.value == pytest.approx((accuracy - rmse) / 2)
    assert score.value_at_best_epoch == max(selected(run))


def test_without_a_metric_no_trial_is_the_best(tables: Tables) -> None:
    with pytest.raises(RecipeError) as caught:
        resolved(tables, {"verdict": {"data": {"label": "verdict"}, "metrics": []}}, DECAY)
    assert caught.value.lines == (
        "metrics: no task has one to choose the best trial by. Name one: metrics=[accuracy].",
    )


def test_what_determines_the_trials_is_in_the_name_and_how_many_there_are_is_not(
    tables: Tables, tmp_path: Path
) -> None:
    tuning = resolved(
        tables,
        {"verdict": {"data": {"label": "verdict"}}},
        {"plan.epochs": {"int": [1, 3]}, "pooling": {"choice": ["mean", "cls"]}},
    )
    search = tuning.search
    changed = [
        replace(tuning, sampler="random"),
        replace(tuning, pruner="median"),
        replace(tuning, search=replace(search, seeds_per_trial=2)),
        replace(tuning, search=replace(search, parameters=search.parameters[:1])),
        replace(tuning, search=replace(search, name="other")),
    ]
    assert len({one.name for one in (tuning, *changed)}) == 6
    assert replace(tuning, search=replace(search, trials=7, seeds=(1, 2))).name == tuning.name
    # Of a grid there are as many trials as points; pruners are told of the longest run.
    assert (tuning.n_trials, replace(tuning, sampler="grid").n_trials) == (20, 6)
    assert replace(tuning, sampler="grid", search=replace(search, trials=5)).n_trials == 5
    assert (tuning.epochs, tuning.trials(tmp_path).longest) == (3, 3)
    assert description_of(tuning)["storage"] == "study.db"
    assert (
        description_of(replace(tuning, storage="postgresql://me:secret@here/x"))["storage"]
        == "postgresql://me:***@here/x"
    )


def measured_by_hand(metric: str, values: tuple[float, ...], **figures: Any) -> MetricResult:
    nothing = VariantResult("tuned", (), (), None, None, None, None, None, {}, {}, None, None)
    return MetricResult(metric, (replace(nothing, values=values, **figures),))


def record_by_hand() -> SearchRecord:
    """Two dev sets of a task; one of the fresh runs has no figure for the second."""
    accuracy = measured_by_hand("accuracy", (0.7, 0.9), mean=0.8, sd=0.1414, expected=0.85)
    pearson = measured_by_hand("pearson", (0.5,), mean=0.5)
    spearman = measured_by_hand("spearman", (0.49, 0.51), mean=0.5, sd=0.0141)
    mcc = measured_by_hand("mcc", ())
    params = {
        "plan.lr": 3.14159e-5,
        "plan.epochs": 4,
        "pooling": "mean",
        "plan.clip_norm": None,
    }
    studies = (
        StudyResult("rte", {}, "rte", "dev", 1277, (accuracy, mcc), {}, ("few rows",), {}),
        StudyResult("rte", {}, "rte", "hard", 23, (pearson, spearman), {}, (), {}),
    )
    return SearchRecord(
        name="rte",
        deciding="rte accuracy on dev",
        maximise=True,
        trials=TrialCounts(requested=9, complete=6, pruned=2, failed=0),
        sampler="tpe",
        pruner="median",
        seed=42,
        trial_seeds=(42, 43),
        search={"plan.epochs": {"int": [1, 6]}},
        best=BestTrial(3, 0.876, params, (0.87, 0.882), None, ("rte-1", "rte-2")),
        importances=Importances("x", {"pooling": 0.75, "plan.lr": 0.25}, None),
        notes=(),
        fresh=FreshResult("compare-rte-tuned", (7, 8), studies),
    )


def test_a_record_is_read_back_as_it_was() -> None:
    record = record_by_hand()
    stored = json.loads(json.dumps(record.to_json()))
    assert SearchRecord.from_json(stored) == record
    assert stored["trials"] == {"requested": 9, "complete": 6, "pruned": 2, "failed": 0}
    assert stored["fresh"]["studies"][1]["metrics"][0]["variants"][0]["values"] == [0.5]


def test_the_tables_of_a_search_by_hand() -> None:
    best, dev, hard = search_tables(record_by_hand())
    assert best.title == "best of 9 trials (6 complete, 2 pruned): trial 3"
    assert best.rows == (
        ("pooling", "mean", "0.75"),
        ("plan.lr", "3.14e-05", "0.25"),
        ("plan.epochs", "4", "–"),
        ("plan.clip_norm", "null", "–"),
    )
    assert dev.title == "rte, dev (1,277 rows), 2 fresh seeds"
    assert dev.rows == (
        ("accuracy", "80.0", "14.1", "87.6", "85.0"),
        ("MCC", "–", "–", "–", "–"),
    )
    one_value, two_values = hard.rows
    assert one_value == ("Pearson r", "0.500", "–", "–", "–"), (
        "one value has no interval, and the tuned figure is that of the first dev set's first "
        "metric"
    )
    assert two_values[1:] == ("0.500", "0.014", "–", "–")
    assert dev.notes[0].startswith("fresh seeds: 7, 8; not judged: 2 seeds, an interval needs 3.")
    assert dev.notes[1].startswith("tuned: trial 3, seeds 42, 43. Optimistic")
    assert dev.notes[-1] == "few rows"
    assert [
        "source: the figures of the paper" in "".join(table.notes) for table in (dev, hard)
    ] == [True, False], "no word of what nobody reported"


def test_three_fresh_seeds_have_an_interval_within_the_range_of_the_metric() -> None:
    """Accuracies of 60, 70 and 95 % have the t interval [30.2, 119.8]."""
    record = record_by_hand()
    accuracy = measured_by_hand("accuracy", (0.6, 0.7, 0.95), mean=0.75, sd=0.1803)
    study = replace(record.fresh.studies[0], metrics=(accuracy,))
    fresh = replace(record.fresh, seeds=(7, 8, 9), studies=(study,))
    _, dev = search_tables(replace(record, fresh=fresh))
    assert dev.rows[0][1] == "75.0 % [21.6, 97.0]"
    assert dev.notes[0].startswith(
        "fresh seeds: 7, 8, 9; mean, its 95 % interval for new seeds, sample standard deviation."
    )


def test_of_several_tasks_the_tuned_figure_is_no_metric_s_own() -> None:
    record = record_by_hand()
    studies = tuple(
        replace(each, study="a+b", task=task, dev_set="dev")
        for each, task in zip(record.fresh.studies, "ab", strict=True)
    )
    record = replace(
        record,
        deciding="mean of a accuracy on dev, b pearson on dev",
        fresh=replace(record.fresh, seeds=(7,), studies=studies),
    )
    _, one, other = search_tables(record)
    assert [table.title for table in (one, other)] == [
        "a+b: a, dev (1,277 rows), 1 fresh seed",
        "a+b: b, dev (23 rows), 1 fresh seed",
    ]
    assert [row[3] for table in (one, other) for row in table.rows] == ["–"] * 4
    assert (
        one.notes[0]
        == "fresh seed: 7; not judged: 1 seed, an interval needs 3. These are the figures to quote."
    )
    assert one.notes[1].startswith(
        "tuned: 0.8760, mean of a accuracy on dev, b pearson on dev; trial 3, seeds 42, 43. "
        "Optimistic"
    )


@pytest.mark.parametrize(("sign", "shown", "better"), [(1, 0.5, "higher"), (-1, -0.5, "lower")])
def test_a_loss_curve_shows_what_its_axis_says(
    tmp_path: Path, sign: int, shown: float, better: str
) -> None:
    """Runs log a value of which lower is better with its sign turned."""
    lines = [
        {"epoch": epoch, "train": {"a": {"loss": 3 / epoch}}, "selected": value}
        for epoch, value in ((1, 0.25), (2, 0.5))
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    found = search_figures._loss(
        {"42": tmp_path}, optuna.trial.create_trial(value=1.0), "a mae on dev", sign=sign
    )
    assert found.rows == (("42", 1, 3.0, shown / 2), ("42", 2, 1.5, shown))
    assert f"a mae on dev, {shown} after the last epoch." in found.alt
    assert f"{better} is better" in found.caption


def test_the_tables_of_a_search_s_report_by_hand(tmp_path: Path) -> None:
    """One trial that is complete, one that was given up, one that failed; then the command, with
    all that it was given.
    """
    (tmp_path / "trials.csv").write_text(
        "trial,state,value,plan.lr,pooling,value_at_best_epoch,reports,values,runs,problems\n"
        "0,complete,0.87654,3.14159e-05,mean,0.9,3,0.87654,run-a,\n1,pruned,0.5,1e-05,cls,,1,,,\n2,fail,,,,,0,,,its "  # noqa: E501
        "process was killed\n",
        encoding="utf-8",
    )
    table = _trials(tmp_path, ["plan.lr", "pooling"])
    assert table.rows == (
        ("0", "complete", "0.877", "3.14e-05", "mean", "run-a"),
        ("1", "pruned", "0.5", "1e-05", "cls", ""),
        ("2", "fail", "", "", "", "its process was killed"),
    )
    assert table.notes == ("pruned: stopped early; the value is the last one reported.",)
    whole = (tmp_path / "trials.csv").read_text(encoding="utf-8")
    (tmp_path / "trials.csv").write_text(
        "".join(line for line in whole.splitlines(keepends=True) if "pruned" not in line),
        encoding="utf-8",
    )
    assert _trials(tmp_path, ["plan.lr", "pooling"]).notes == ()
    files.write_json(
        tmp_path / "cost.json", {"seconds": 60.0, "trials": {"0": 90.0, "1": None, "2": 30.0}}
    )
    assert _cost(tmp_path).pairs == (
        ("runs of complete trials", format_duration(120.0)),
        ("the last command, from its start to its end", format_duration(60.0)),
    )
    for name in ("results.json", "recipe.yaml", "best.yaml", files.MANIFEST):
        (tmp_path / name).write_text("{}")
    study = {
        "name": "tiny",
        "overrides": ["plan.epochs=2"],
        "trials": 9,
        "sampler": "random",
        "pruner": "median",
        "storage": "x",
    }
    study |= {"trial_seeds": [42], "seeds": [7]}
    command, alone, *_ = _repeat(tmp_path, study, tmp_path / "compare-x")
    assert (
        command.text == "encore tune tiny.yaml plan.epochs=2 -n 9 --sampler random --pruner median"
    )
    assert alone.text == f"encore train {tmp_path}/best.yaml"
    command, *_ = _repeat(
        tmp_path,
        {**study, "sampler": "tpe", "pruner": "none", "overrides": []},
        tmp_path / "compare-x",
    )
    assert command.text == "encore tune tiny.yaml -n 9"


# -------------------------------------------------------------------------------------- undisturbed


def test_trials_are_ordinary_runs_and_the_best_has_the_highest_value(whole: Whole) -> None:
    assert [(trial["trial"], trial["state"]) for trial in whole.trials] == [
        (str(number), "complete") for number in range(5)
    ]
    for trial in whole.trials:
        run = whole.runs / trial["runs"]
        assert (
            float(trial["value"])
            == files.read_json(run / "results.json")["metrics"]["verdict"]["dev"]["model"][
                "accuracy"
            ]["value"]
        )
        recipe = load_recipe(run / "recipe.yaml")
        assert (recipe.plan.lr, recipe.plan.epochs, recipe.seed, recipe.threads) == (
            float(trial["plan.lr"]),
            int(trial["plan.epochs"]),
            42,
            1,
        )
        assert recipe.tasks["verdict"].max_length == int(trial["max_length"])
        assert damaged_files(run, "run") == []
        assert not (run / "model").exists()
        epochs = [
            json.loads(line)["selected"]
            for line in (run / "metrics.jsonl").read_text().splitlines()
        ]
        assert (float(trial["value_at_best_epoch"]), int(trial["reports"])) == (
            max(epochs),
            len(epochs),
        )
    values = [float(trial["value"]) for trial in whole.trials]
    best = whole.results["best"]
    assert (best["trial"], best["value"], best["values"]) == (
        values.index(max(values)),
        max(values),
        [max(values)],
    )
    assert whole.results["trials"] == {"requested": 5, "complete": 5, "pruned": 0, "failed": 0}


def test_the_best_is_trained_again_on_fresh_seeds_and_that_is_told(whole: Whole) -> None:
    (study,) = whole.results["fresh"]["studies"]
    (row,) = study["metrics"][0]["variants"]
    cells = files.read_json(whole.runs / whole.results["fresh"]["comparison"] / "cells.json")[
        "cells"
    ]
    assert [cell["seed"] for cell in cells] == row["seeds"] == [7, 8]
    for cell, value in zip(cells, row["values"], strict=True):
        recipe = load_recipe(whole.runs / cell["run"] / "recipe.yaml")
        best = load_recipe(whole.folder / "best.yaml")
        pools = [one.tasks["verdict"].pooling for one in (recipe, best)]
        assert (recipe.plan.lr, recipe.plan.epochs, pools[0] and pools[0].name, recipe.seed) == (
            best.plan.lr,
            best.plan.epochs,
            pools[1] and pools[1].name,
            cell["seed"],
        )
        assert (
            value
            == files.read_json(whole.runs / cell["run"] / "results.json")["metrics"]["verdict"][
                "dev"
            ]["model"]["accuracy"]["value"]
        )
    assert row["mean"] == pytest.approx(np.mean(row["values"]))
    assert (
        load_recipe(whole.folder / "best.yaml").plan.lr
        == whole.results["best"]["params"]["plan.lr"]
    )
    lines = whole.outcome.out.splitlines()
    assert lines[0] == f"best of 5 trials (5 complete): trial {whole.results['best']['trial']}"
    assert "verdict, dev (23 rows), 2 fresh seeds" in lines
    accuracy = next(line for line in lines if line.startswith("accuracy"))
    assert accuracy.split()[1] == f"{100 * row['mean']:.1f}"
    assert accuracy.split()[-2:] == [f"{100 * whole.results['best']['value']:.1f}", "50.0"]
    assert any("Optimistic: the best of many" in line for line in lines)
    assert lines[-1].startswith(f"study: {whole.folder} (")
    assert f"next: encore train {whole.folder}/best.yaml" in lines[-1]


def test_the_folder_is_as_the_module_says(whole: Whole) -> None:
    assert {path.name for path in whole.folder.iterdir()} == {
        "recipe.yaml",
        "study.json",
        "study.db",
        "trials.csv",
        "best.yaml",
        "results.json",
        "figures",
        "cost.json",
        "log",
        "lock",
        files.MANIFEST,
    }
    assert damaged_files(whole.folder, "search") == []
    pictures = {f"figures/{name}.{end}" for name in FIGURES for end in ("svg", "csv")}
    assert set(files.read_json(whole.folder / files.MANIFEST)) == {
        *SAME,
        "figures/about.json",
        *pictures,
    }
    assert not list((whole.folder / "log").iterdir())
    cost = files.read_json(whole.folder / "cost.json")
    assert [seconds > 0 for seconds in cost["trials"].values()] == [True] * 5
    study = files.read_json(whole.folder / "study.json")
    assert (study["storage"], study["seeds"], study["trial_seeds"], study["search"]["pooling"]) == (
        "study.db",
        [7, 8],
        [42],
        {"choice": ["mean", {"name": "max_cls", "k": 2}]},
    )


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_its_numbers_and_says_what_is_to_be_seen(whole: Whole, name: str) -> None:
    svg = ElementTree.parse(whole.folder / "figures" / f"{name}.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    title, told = (svg.find(f"{space}{word}") for word in ("title", "desc"))
    assert title is not None
    assert title.text
    assert told is not None
    assert told.text
    assert len(told.text) > 30
    assert svg.get("role") == "img"
    assert "mathdefault" not in "".join(svg.itertext())
    dots = [
        style
        for use in svg.iter(f"{space}use")
        if "stroke: #1b1f24" in (style := use.get("style", "")) and "fill: #" in style
    ]
    assert len(dots) >= (5 if name.startswith("slice-") else 0), (
        "pale dots have an edge on paper, and dark ones on a dark page"
    )
    assert svg.get("aria-labelledby") == f"{title.get('id')} {told.get('id')}"
    with (whole.folder / "figures" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    values = [float(trial["value"]) for trial in whole.trials]
    if name == "history":
        assert [(float(row["value"]), float(row["best_so_far"])) for row in rows] == [
            (value, max(values[: at + 1])) for at, value in enumerate(values)
        ]
    elif name == "importances":
        assert {row["setting"]: float(row["importance"]) for row in rows} == whole.results[
            "importances"
        ]["values"]
        assert sum(float(row["importance"]) for row in rows) == pytest.approx(1)
    elif name.startswith("slice-") or name in ("parallel", "contour"):
        assert [float(row["value"]) for row in rows] == values
        paths = [path for path in whole.results["search"] if path in rows[0]]
        assert [[row[path] for path in paths] for row in rows] == [
            [trial[path] for path in paths] for trial in whole.trials
        ]
        assert len(paths) == {"s": 1, "p": 4, "c": 2}[name[0]]
    elif name == "loss":
        (run,) = whole.results["best"]["runs"]
        records = [
            json.loads(line)
            for line in (whole.runs / run / "metrics.jsonl").read_text().splitlines()
        ]
        assert [float(row["train_loss"]) for row in rows] == [
            record["train"]["verdict"]["loss"] for record in records
        ]
    else:
        assert [float(row["seconds"]) for row in rows] == list(
            files.read_json(whole.folder / "cost.json")["trials"].values()
        )


def test_its_report_is_one_page_with_all_pictures(whole: Whole, tmp_path: Path) -> None:
    outcome = whole.warm.run(["report", whole.folder, "-o", tmp_path / "search.html", "--json"])
    assert outcome.code == 0, outcome.err
    told = json.loads(outcome.out)
    assert told["n_figures"] == len(FIGURES)
    html = (tmp_path / "search.html").read_text(encoding="utf-8")
    assert html.count('role="img"') == len(FIGURES)
    assert html.count("<desc ") == len(FIGURES)
    for words in (
        "Optimistic: the best of many",
        f"best of 5 trials (5 complete): trial {whole.results['best']['trial']}",
        "encore tune tiny.yaml -n 5",
    ):
        assert words in html
    assert all(trial["runs"] in html for trial in whole.trials)
    assert "var(--ink)" in html
    assert "What was measured" not in html, "a heading with nothing below it"


def test_half_a_search_has_no_report(whole: Whole, tmp_path: Path) -> None:
    shutil.copytree(whole.folder, tmp_path / whole.folder.name)
    (tmp_path / whole.folder.name / "trials.csv").write_text("trial\n")
    outcome = whole.warm.run(["report", tmp_path / whole.folder.name])
    assert (outcome.code, "trials.csv: missing, or not as the search wrote it." in outcome.err) == (
        3,
        True,
    )
    (tmp_path / whole.folder.name / files.MANIFEST).unlink()
    outcome = whole.warm.run(["report", tmp_path / whole.folder.name])
    assert (outcome.code, "not a complete search" in outcome.err) == (3, True)


# ---------------------------------------------------------------------------------------- disturbed


def test_the_same_again_computes_nothing_and_more_trials_go_on(
    whole: Whole, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(whole.runs, runs)
    n_runs = len(list(runs.glob("verdict-*")))
    again = whole.again(runs, "--json")
    assert again.code == 0, again.err
    told = json.loads(again.out)
    assert (Path(told["study"]).name, told["best"], told["problems"]) == (
        whole.folder.name,
        whole.results["best"],
        [],
    )
    assert len(list(runs.glob("verdict-*"))) == n_runs
    assert [
        name
        for name in SAME
        if (runs / whole.folder.name / name).read_bytes() != (whole.folder / name).read_bytes()
    ] == []
    more = whole.again(runs, "-n", "6")
    assert more.code == 0, more.err
    assert "[1/1] trial 5: " in more.err
    assert "5 of 6 trials were already complete" in more.out
    found = trials_of(runs / whole.folder.name)
    assert found[:5] == whole.trials
    assert len(found) == 6
    fewer = whole.again(runs, "-n", "2")
    assert fewer.code == 0, fewer.err
    assert fewer.out.startswith("best of 6 trials (6 complete): ")
    assert "6 of 6 trials were already complete" in fewer.out
    assert files.read_json(runs / whole.folder.name / "study.json")["trials"] == 6


def test_while_trials_are_under_way_it_is_not_complete(whole: Whole, tmp_path: Path) -> None:
    """And where one of the fresh runs failed it is not either."""
    runs = tmp_path / "runs"
    shutil.copytree(whole.runs, runs)
    seen: list[bool] = []
    run_search(
        prepare_search(load_search(whole.recipe, trials=6)),
        runs,
        processes=1,
        tell=lambda line: seen.append((runs / whole.folder.name / files.MANIFEST).exists()),
    )
    assert seen
    assert not any(seen)
    assert (runs / whole.folder.name / files.MANIFEST).exists()
    shutil.rmtree(runs)
    shutil.copytree(whole.runs, runs)
    comparison = runs / whole.results["fresh"]["comparison"]
    fresh = runs / files.read_json(comparison / "cells.json")["cells"][0]["run"]
    for folder in (comparison, fresh):
        shutil.rmtree(folder)
    fresh.write_text("no folder")
    outcome = whole.again(runs)
    assert outcome.code == 5, outcome.err
    assert not (runs / whole.folder.name / files.MANIFEST).exists()


@pytest.mark.nightly
def test_a_killed_search_ends_as_if_nothing_had_happened(whole: Whole, tmp_path: Path) -> None:
    runs, draw = tmp_path / "runs", np.random.default_rng(5)
    for _ in range(2):
        job = whole.warm.start(
            ["tune", whole.recipe, "--processes", "1", "--runs", runs], slow=0.01, undrawn=True
        )
        until = time.monotonic() + 20
        while not list(runs.glob("verdict-*")) and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 1.5))
        os.kill(job, signal.SIGKILL)
        assert whole.warm.wait(job).code == -9
    outcome = whole.again(runs)
    assert outcome.code == 0, outcome.err
    (folder,) = runs.glob("tune-*")
    assert [
        name for name in SAME if (folder / name).read_bytes() != (whole.folder / name).read_bytes()
    ] == []
    assert sorted(run.name for run in runs.glob("verdict-*")) == sorted(
        run.name for run in whole.runs.glob("verdict-*")
    )


@pytest.mark.nightly
def test_a_trial_that_is_given_up_leaves_no_run_behind(whole: Whole, tmp_path: Path) -> None:
    how = [
        "--pruner",
        "median",
        "-n",
        "8",
        "seeds_per_trial=2",
        "seeds=[7]",
        "plan.epochs=2",
        "max_length=16",
        "pooling=mean",
    ]
    outcome = whole.again(tmp_path, *how)
    assert outcome.code == 0, outcome.err
    (folder,) = tmp_path.glob("tune-*")
    found = trials_of(folder)
    pruned = [trial for trial in found if trial["state"] == "pruned"]
    assert pruned
    assert all(int(trial["reports"]) < 4 for trial in pruned)
    complete = [trial for trial in found if trial["state"] == "complete"]
    assert all(trial["reports"] == "4" and len(trial["runs"].split()) == 2 for trial in complete)
    for trial in complete:
        assert float(trial["value"]) == pytest.approx(
            np.mean([float(value) for value in trial["values"].split()])
        )
    assert all((run / files.MANIFEST).exists() for run in tmp_path.glob("verdict-*"))
    assert f"{len(pruned)} pruned" in outcome.out
    assert "plan.epochs is set on the command line and not searched" in outcome.err
    # Of a trial that was given up in its second run, the first is complete; all other runs are
    # those of complete trials and the fresh ones.
    half = sum(int(trial["reports"]) > 2 for trial in pruned)
    assert len(list(tmp_path.glob("verdict-*"))) == 2 * len(complete) + half + 1


def test_python_finds_the_same_search(
    whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(whole.runs, runs)
    monkeypatch.setattr("encore.api.draw_search", lambda *_: None)
    found = encore.tune(whole.recipe, runs=runs, n=5, processes=1, seeds=[7, 8])
    assert (found.folder.name, found.n_found, found.failed) == (whole.folder.name, 5, ())
    assert found.table == "\n".join(whole.outcome.out.splitlines()[:-1])
    assert found.results["best"]["params"] == whole.results["best"]["params"]


def test_two_commands_on_one_study_do_not_meet(whole: Whole, tmp_path: Path) -> None:
    with files.locked(tmp_path / whole.folder.name, files.TrainingError("held")):
        outcome = whole.again(tmp_path)
    assert outcome.code == 4
    assert "another process is running this study. Wait for it, or stop it" in outcome.err


def test_rows_are_tokenized_once_for_each_length(
    whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    honest = streams.tokenize_set

    def counting(*given: Any, **how: Any) -> Any:
        counted.append(how["max_length"])
        return honest(*given, **how)

    monkeypatch.setattr(task_streams, "tokenize_set", counting)
    search = load_search(whole.recipe)
    tuning = prepare_search(search)
    assert sorted(counted) == [16, 16, 32, 32]  # train and dev
    for length in (16, 32):
        for pooling in search.parameters[3].labels:
            given = {"plan.lr": 1e-3, "plan.epochs": 2, "max_length": length, "pooling": pooling}
            # As a trial does.
            prepare(search.recipe(given, 43), Cache(dict(tuning.cache.found)))
    assert len(counted) == 4


# ----------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["table.csv"],
            "table.csv: expected a recipe (.yaml), got a table. `encore train table.csv` "
            "trains on it",
        ),
        (["maxpoolbert_rte_minilm"], "maxpoolbert_rte_minilm.yaml:"),
        (
            ["RECIPE", "--sampler", "bayes"],
            "--sampler: no sampler called 'bayes'. Did you mean 'cmaes'? Known: cmaes, gp, "
            "grid, random, tpe.",
        ),
        (["RECIPE", "--pruner", "wilcoxon"], "--pruner wilcoxon: it compares seeds"),
        (
            ["RECIPE", "--sampler", "grid"],
            "search.plan.lr: --sampler grid tries all values, and log_uniform has infinitely "
            "many. Write choice.",
        ),
        (["RECIPE", "--storage", "postgres"], "--storage postgres: expected the URL of a database"),
        (
            ["RECIPE", "search.max_length={choice: [16, 64]}"],
            "override search.max_length={choice: [16, 64]}: encoder",
        ),
        (
            ["RECIPE", "search.pooling={choice: [mean, {name: max_cls, k: 5}]}"],
            "expected k from 1 to 2, the layers of this encoder, got 5",
        ),
        (["RECIPE", "-n", "0"], "encore tune: --trials: "),
    ],
)
def test_a_wrong_command(whole: Whole, tmp_path: Path, arguments: list[str], told: str) -> None:
    outcome = whole.warm.run(
        [
            "tune",
            *(whole.recipe if word == "RECIPE" else word for word in arguments),
            "--runs",
            tmp_path / "runs",
        ]
    )
    assert (outcome.code, told in outcome.err) == (2, True), outcome.err
    assert not (tmp_path / "runs").exists()


def test_mistakes_of_recipe_and_files_are_told_together(whole: Whole, tmp_path: Path) -> None:
    recipe = tmp_path / "bad.yaml"
    recipe.write_text(
        "tasks: {a: {data: {train: none.csv}}}\nencoder: minilm\nsearch:\n  plan.lrr: {int: "
        "[1, 2]}\n  plan.lr: {uniform: [1, 0]}\n"
    )
    outcome = whole.warm.run(["tune", recipe, "--runs", tmp_path / "runs"])
    assert outcome.code == 2
    assert f"{recipe}:4 search.plan.lrr: no such setting. Did you mean 'lr'?" in outcome.err
    assert f"{recipe}:5 search.plan.lr: uniform: expected the lower end first" in outcome.err
    assert "none.csv" in outcome.err
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_says_what_and_how_long(whole: Whole, tmp_path: Path) -> None:
    outcome = whole.again(tmp_path, "--dry-run", "--json")
    told = json.loads(outcome.out)
    assert (Path(told["study"]).name, told["trials"], told["runs"], told["seeds"]) == (
        whole.folder.name,
        5,
        7,
        [7, 8],
    )
    assert told["estimated_seconds"] > 0
    assert not list(tmp_path.iterdir())


def test_what_fails_is_told_and_the_search_goes_on(whole: Whole, tmp_path: Path) -> None:
    (tmp_path / whole.trials[0]["runs"]).write_text("no folder")
    outcome = whole.again(tmp_path, "-n", "2")
    assert outcome.code == 5
    assert "trial 0: " in outcome.err
    assert "best of 2 trials (1 complete, 1 failed): trial 1" in outcome.out
    for trial in whole.trials[2:4]:
        (tmp_path / trial["runs"]).write_text("no folder")
    shutil.rmtree(next(tmp_path.glob("tune-*")))
    for run in tmp_path.glob("verdict-*"):
        if run.is_dir():
            shutil.rmtree(run)
            run.write_text("no folder")
    outcome = whole.again(tmp_path, "-n", "2")
    assert outcome.code == 4
    assert "no trial was completed, so there is no best one." in outcome.err
    assert outcome.err.count("cannot be written") >= 2


@pytest.mark.nightly
def test_memory_after_fifty_trials_is_that_after_five(whole: Whole, tmp_path: Path) -> None:
    """Of the process that the user started; each trial is a process of its own, and the largest of
    those is as large as the first.
    """
    job = whole.warm.start(
        ["tune", whole.recipe, "--processes", "1", "-n", "50", "--runs", tmp_path], undrawn=True
    )
    seen: dict[int, int] = {}
    while Path(f"/proc/{job}").exists() and len(seen) < 50:
        found = [run for run in tmp_path.glob("verdict-*") if (run / files.MANIFEST).exists()]
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{job}/statm").read_text().split()
            if len(found) and words[1] != "0":
                seen[len(found)] = int(words[1]) * os.sysconf("SC_PAGE_SIZE")
        if len(found) >= 50:
            break
        time.sleep(0.02)
    assert whole.warm.wait(job).code == 0
    (folder,) = tmp_path.glob("tune-*")
    early, late = (
        min(seen[number] for number in seen if low <= number <= high)
        for low, high in ((4, 7), (46, 50))
    )
    assert late < 1.05 * early, (early, late)
    runs = [tmp_path / trial["runs"] for trial in trials_of(folder)]
    peaks = [files.read_json(run / "cost.json")["peak_memory_bytes"] for run in runs]
    assert max(peaks[40:]) < 1.1 * max(peaks[:5])


def test_the_credentials_of_a_database_are_written_nowhere(
    warm: Warm, tiny_encoder: Path, tables: Tables, tmp_path: Path
) -> None:
    recipe, runs = tmp_path / "tiny.yaml", tmp_path / "runs"
    recipe.write_text(
        RECIPE.format(encoder=tiny_encoder, train=tables.train, dev=tables.dev), encoding="utf-8"
    )
    url = f"sqlite:///{tmp_path}/trials.db?password=s3cret&x=me:s3cret@here"
    outcome = warm.run(
        [
            "tune",
            recipe,
            "-n",
            "2",
            "seeds=[7]",
            "--processes",
            "1",
            "--runs",
            runs,
            "--storage",
            url,
        ]
    )
    assert outcome.code == 0, outcome.err
    (study,) = runs.glob("tune-*")
    assert warm.run(["report", study]).code == 0
    (command,) = {tuple(files.read_json(run)["command"]) for run in runs.glob("*/environment.json")}
    assert command[-2:] == ("--storage", f"sqlite:///{tmp_path}/trials.db?password=***&x=***")
    assert files.read_json(study / "study.json")["storage"] == command[-1]
    assert "trials.db?password=***" in (study / "report.html").read_text(encoding="utf-8")
    assert "s3cret" not in outcome.out + outcome.err
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(written) > 40
    assert not [file for file in written if b"s3cret" in file.read_bytes()]


def test_a_report_hides_the_credentials_that_an_older_search_wrote(
    whole: Whole, tmp_path: Path
) -> None:
    folder = tmp_path / whole.folder.name
    shutil.copytree(whole.runs, tmp_path, dirs_exist_ok=True)
    study = files.read_json(folder / "study.json")
    files.write_json(
        folder / "study.json", study | {"storage": "mysql://me:s3cret@here/x?key=s3cret"}
    )
    names = ("recipe.yaml", "study.json", "trials.csv", "best.yaml", "results.json")
    files.write_manifest(
        folder, [*(folder / name for name in names), *sorted((folder / "figures").glob("*"))]
    )
    outcome = whole.warm.run(["report", folder])
    assert outcome.code == 0, outcome.err
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "mysql://me:***@here/x?key=***" in page
    assert "s3cret" not in page

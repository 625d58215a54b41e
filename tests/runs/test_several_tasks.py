"""Several tasks in one recipe: trained, resumed, chosen, kept in one folder, asked together; and
what does not go together, refused.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import Tables, Warm

import encore
from encore import files
from encore.api import prepared_from
from encore.cli.compare import _announced
from encore.cli.run_listing import runs, runs_table
from encore.cli.train import result_tables
from encore.data.batches import collate
from encore.encoder import load as encoders
from encore.errors import DataError, EncoreError, RecipeError
from encore.evaluation.comparison_record import StudyResult
from encore.experiments.preparation import prepare_comparison
from encore.experiments.variants import study_from
from encore.export.base_model import BaseModel
from encore.export.card import CardDetails, card
from encore.model.feature_cache import cache_features, frozen_branches
from encore.model.parameters import unique_parameters
from encore.recipe.load import load_recipe, recipe_from
from encore.recipe.write import resolved, to_yaml
from encore.report.write import write_report
from encore.runs.compatibility import head_of
from encore.runs.execute import execute
from encore.runs.folder import RunResult, read_result, read_scores
from encore.runs.prepare import build_models, prepare
from encore.runs.prepared import Prepared
from encore.runs.writer import _best_epochs
from encore.training.loop import train_loop
from encore.training.reports import EvalReport, StepReport
from encore.training.state import FitState, own_losses
from encore.types import Note


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def recipe(tables: Tables, **keys: Any) -> dict[str, Any]:
    """Classes of single texts, a value of pairs, classes of pairs; `keys` are further keys at the
    top, or settings of a task under its name.
    """
    rows = {"train": str(tables.train), "dev": str(tables.dev), "text": "text"}
    pairs = rows | {"text_pair": "other"}
    tasks: dict[str, Any] = {
        "verdict": {"data": {**rows, "label": "verdict", "train_rows": 27}},
        "score": {"data": {**pairs, "label": "score", "kind": "regression", "train_rows": 20}},
        "pair": {
            "data": {
                **pairs,
                "label": "verdict",
                "train_rows": 13,
                "labels": {"bad": "no", "fair": "no", "good": "yes"},
            }
        },
    }
    for name, own in tasks.items():
        own |= keys.pop(name, {})
    return {"tasks": tasks, **keys}


def prepared(tables: Tables, *overrides: str, **keys: Any) -> Prepared:
    return prepare(recipe_from(recipe(tables, **keys), (*tables.settings, *overrides)))


MIXED: dict[str, Mapping[str, Any]] = {
    "branch, random order, a batch size of its own": {
        "sharing": {"name": "branch", "own_layers": 1},
        "score": {
            "pair": {"name": "cross", "order": "random", "eval_order": "both"},
            "batch_size": 5,
        },
    },
    "sum, pcgrad, uncertainty, siamese": {
        "score": {"head": "siamese_cosine", "losses": {"task": "uncertainty"}, "pooling": "mean"},
        "verdict": {"losses": {"task": {"name": "uncertainty", "weight": 0.1}}},
        "pair": {"head": "siamese_dot"},
        "plan": {"mixing": "sum", "combine": "pcgrad"},
    },
    "drawn, static, best per task": {
        "sharing": {"name": "static", "of": "one"},
        "plan": {"mixing": "square_root", "keep": "best_per_task"},
    },
    "as its author coded it, fcn": {
        "score": {"head": {"name": "fcn_similarity", "size": 8}},
        "verdict": {"head": {"name": "fcn_sentiment", "size": 8}},
        "pair": {"head": {"name": "fcn_paraphrase", "size": 8}},
        "plan": {"mixing": {"name": "even", "compat": "gen"}, "keep": "best"},
    },
}


class Stop(Exception):
    pass


def train(one: Prepared, runs: Path, *, until: int | None = None) -> Path:
    def watch(report: StepReport | EvalReport) -> None:
        if isinstance(report, StepReport) and report.step == until:
            raise Stop

    with contextlib.suppress(Stop):
        execute(one, runs, watch=watch, checkpoint_steps=2)
    return runs / one.name


@pytest.mark.parametrize("name", MIXED)
def test_stopped_and_resumed_the_bytes_are_the_same(
    name: str, tables: Tables, tmp_path: Path
) -> None:
    one = prepared(tables, "plan.epochs=2", "plan.micro_batch=4", **MIXED[name])
    whole, stopped = train(one, tmp_path / "whole"), train(one, tmp_path / "stopped", until=5)
    assert not (stopped / files.MANIFEST).exists()
    assert train(one, tmp_path / "stopped", until=one.steps[0] + 2) == stopped
    train(one, tmp_path / "stopped")
    names = [*files.read_json(whole / files.MANIFEST), files.MANIFEST]
    assert not [
        each for each in names if (stopped / each).read_bytes() != (whole / each).read_bytes()
    ]
    model, result = encore.load(whole), read_result(whole)
    for task in one.data:  # whatever was shared, read apart or in both orders, is so again
        found = model.scores(model.read(tables.dev, task=task), task=task)
        np.testing.assert_allclose(
            found, read_scores(whole, task, "dev", result.epoch_of(task)), atol=1e-5
        )
    assert model.tasks.keys() == one.data.keys()


@pytest.mark.parametrize("pair", ["cross", "siamese", "siamese_attend"])
def test_micro_batches_do_not_change_the_result(pair: str, tables: Tables) -> None:
    """Dropout is on, in the encoder, and in the head once for each text and once for each pair."""
    how = {"pair": {"name": pair, "n_heads": 3} if pair == "siamese_attend" else pair}
    head = "linear" if pair == "cross" else {"name": "siamese_concat", "dropout": 0.3}
    one = prepared(
        tables,
        "plan.epochs=1",
        "plan.mixing=sum",
        score={**how, "head": head},
        pair={**how, "head": head},
    )
    found = []
    for size in (None, 2):
        found.append(
            list(
                train_loop(
                    build_models(one),
                    one.plan,
                    one.streams,
                    replace(one.settings, micro_batch=size),
                )
            )
        )
    for together, apart in zip(*found, strict=True):
        if isinstance(together, StepReport):
            assert apart.loss == pytest.approx(together.loss, rel=3e-5)
            assert apart.grad_norm == pytest.approx(together.grad_norm, rel=1e-3)
        else:
            for task, sets in together.scores.items():
                np.testing.assert_allclose(apart.scores[task]["dev"], sets["dev"], atol=2e-3)


@pytest.mark.parametrize("sharing", ["multi_and_own", {"name": "static", "of": "one"}])
def test_what_a_frozen_encoder_says_is_kept_for_both_sides_and_both_orders(
    sharing: Any, tables: Tables
) -> None:
    how = {
        "score": {"pair": {"name": "siamese_attend", "n_heads": 3}, "head": "siamese_concat"},
        "pair": {"pair": {"name": "cross", "order": "random"}},
    }
    if sharing != "multi_and_own":  # a frozen copy cannot learn the layer between the two texts
        how["score"]["pair"] = {"name": "siamese"}
    one = prepared(tables, "plan.freeze_encoder=true", "plan.epochs=1", sharing=sharing, **how)
    models = build_models(one)
    draw = torch.Generator().manual_seed(3)
    with (
        torch.no_grad()
    ):  # else all encoders and poolings are alike, and changed places would not be seen
        for parameter in unique_parameters(models).values():
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.05)
    for task, model in models.items():
        rows = one.streams[task].train
        lines = cache_features(model, rows.store, frozen_branches(model, all_of_them=True))
        examples = np.arange(len(rows))[::-1].copy()
        at = rows.at(examples, examples % 2 == 0 if task == "pair" else None)
        tokens = collate(rows.store, at)
        with torch.no_grad():
            model.eval()
            torch.testing.assert_close(
                model(lines.with_lines(tokens, at)).scores,
                model(tokens).scores,
                rtol=1e-5,
                atol=1e-5,
            )
    before = {
        name: p.clone() for name, p in unique_parameters(models).items() if ".encoder." in name
    }
    reports = list(train_loop(models, one.plan, one.streams, one.settings))
    assert isinstance(reports[-1], EvalReport)
    whole = [
        name for name in before if not name.endswith("word.weight")
    ]  # of word tables, only the words that occur are left to be looked at
    assert all(torch.equal(unique_parameters(models)[name], before[name]) for name in whole)


def test_heads_of_a_suite_have_one_object_for_the_layers_that_they_share(tables: Tables) -> None:
    one = prepared(tables, **MIXED["as its author coded it, fcn"])
    heads = [model.head for model in build_models(one).values()]
    assert heads[0].shared is heads[1].shared
    assert heads[0].shared is heads[2].shared
    assert len({id(head) for head in heads}) == 3


def test_tasks_with_the_same_head_train_it_together_and_a_step_tells_each_one_s_terms(
    tables: Tables, tmp_path: Path
) -> None:
    data = {"train": str(tables.train), "dev": str(tables.dev), "text": "text", "label": "verdict"}
    mapping = {
        "tasks": {
            name: {"data": data, "same_as": None if name == "one" else "one"}
            for name in ("one", "two")
        },
        "plan": {"mixing": "sum"},
    }
    one = prepare(recipe_from(mapping, (*tables.settings, "plan.batch_size=52")))
    models = build_models(one)
    assert models["one"].head is models["two"].head
    first = next(train_loop(models, one.plan, one.streams, one.settings))
    assert isinstance(first, StepReport)
    assert first.task == "one+two"
    assert list(first.terms) == ["one.task", "two.task"]
    assert first.n_rows == 104
    assert first.loss == pytest.approx(sum(first.terms.values()))
    model = encore.load(execute(one, tmp_path).folder)
    assert model.task("one").model.head is model.task("two").model.head
    assert np.array_equal(
        *model.scores_of(["one", "two"], model.read(tables.dev, task="one")).values()
    )


# ---------------------------------------------------------------------------------- the best epochs


@pytest.fixture(scope="module")
def kept(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunResult]:
    """The same run, keeping the last epoch, the best common one, and each task's own."""
    found = {}
    own = {
        "sharing": {"name": "branch", "own_layers": 1},
        "pair": {"metrics": ["accuracy", "log_loss"]},
    }  # no two epochs have the same loss
    for which in ("last", "best", "best_per_task"):
        found[which] = execute(
            prepared(tables, f"plan.keep={which}", "plan.epochs=4", **own),
            tmp_path_factory.mktemp(which),
        )
    return found


def test_the_best_epoch_of_each_task_and_the_best_common_one_are_reported(
    kept: Mapping[str, RunResult],
) -> None:
    records = [
        json.loads(line)
        for line in (kept["last"].folder / "metrics.jsonl").read_text().splitlines()
    ]
    first = {"verdict": "accuracy", "score": "pearson", "pair": "accuracy"}
    values = {
        task: [record["dev"][task]["dev"][metric] for record in records]
        for task, metric in first.items()
    }
    means = [sum(each) / 3 for each in zip(*values.values(), strict=True)]
    for result in kept.values():
        assert result.best["tasks"] == {
            task: {"epoch": 1 + found.index(max(found)), "value": max(found)}
            for task, found in values.items()
        }
        assert (result.best["common"]["epoch"], result.best["common"]["mean"]) == (
            1 + means.index(max(means)),
            pytest.approx(max(means)),
        )
        assert result.best["mean_of_tasks"] >= result.best["common"]["mean"]
    assert kept["last"].epoch == 4
    assert kept["best"].epoch == kept["best"].best["common"]["epoch"]
    assert len({found["epoch"] for found in kept["last"].best["tasks"].values()}) > 1, (
        "the test says nothing where one epoch is the best of all"
    )


@pytest.mark.parametrize("keep", ["last", "best", "best_per_task"])
def test_the_folder_answers_with_the_epoch_that_was_kept(
    keep: str, kept: Mapping[str, RunResult], tables: Tables
) -> None:
    result = kept[keep]
    model = encore.load(result.folder)
    records = [
        json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()
    ]
    for task in model.tasks:
        epoch = result.best["tasks"][task]["epoch"] if keep == "best_per_task" else result.epoch
        assert result.epoch_of(task) == epoch
        told = {
            metric: estimate.value
            for metric, estimate in result.metrics[task]["dev"]["model"].items()
        }
        assert told == pytest.approx(records[epoch - 1]["dev"][task]["dev"])
        scores = model.scores(model.read(tables.dev, task=task), task=task)
        np.testing.assert_allclose(
            scores, read_scores(result.folder, task, "dev", epoch), atol=1e-5
        )
    weights = sorted(path.name for path in (result.folder / "model").glob("*.safetensors"))
    assert weights == (
        [f"weights-{task}.safetensors" for task in ("pair", "score", "verdict")]
        if keep == "best_per_task"
        else ["weights.safetensors"]
    )


def test_which_epoch_counts_and_what_chose_it_are_told_alike_everywhere(
    kept: Mapping[str, RunResult], tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal, in a report and on a card."""
    empty = (
        '<svg width="1pt" height="1pt" viewBox="0 0 1 1" '
        'xmlns="http://www.w3.org/2000/svg"></svg>\n'
    )
    monkeypatch.setattr("encore.report.drawing.svg", lambda name, draw, height: empty)
    of_task = {"verdict": "accuracy", "score": "pearson", "pair": "accuracy"}
    for way, result in kept.items():
        page = write_report(result.folder).html.read_text(encoding="utf-8")
        shown = "\n".join(
            map(str, result_tables(result, prepared(tables, f"plan.keep={way}", "plan.epochs=4")))
        )
        model, base = encore.load(result.folder), BaseModel("tiny", None, {})
        for task, metric in of_task.items():
            card_text = card(
                result,
                model.task(task),
                base,
                CardDetails("a/b", "X", "hf", own_class=True, limits=()),
            )
            by = metric if way == "best_per_task" else "the mean over the tasks"
            said = (
                f"keep: {way} chose the epoch by {by} on dev, so these figures are slightly "
                "optimistic"
            )
            for text in (page, shown, card_text):
                assert (said in text) is (way != "last"), (way, task)
                assert (
                    way == "last"
                    or f"chose the epoch by {'the mean' if by == metric else metric}" not in text
                ), (way, task)
            epoch = f"{result.epoch_of(task)} of 4"
            assert f"{task}: {way.split('_')[0]} epoch, {epoch}" in shown
            assert f"{task}: {way.split('_')[0]} epoch, {epoch}" in page
            assert f"| epoch kept | {epoch} ({way}) |" in card_text
    assert "best epoch of each task, seed" in page
    assert "best_per_task epoch" not in page


def test_methods_4_11_by_hand(tables: Tables) -> None:
    """(.5, .9), (.6, .8): each task's best are .6 and .9; both epochs have the mean .7, so the
    common one is the first.
    """
    one = prepared(tables)
    records = [
        {
            "epoch": epoch,
            "dev": {
                "verdict": {"dev": {"accuracy": a}},
                "score": {"dev": {"pearson": b}},
                "pair": {"dev": {"accuracy": 0.0}},
            },
        }
        for epoch, (a, b) in enumerate(((0.5, 0.9), (0.6, 0.8)), start=1)
    ]
    found = _best_epochs(records, one)
    assert {task: (each["epoch"], each["value"]) for task, each in found["tasks"].items()} == {
        "verdict": (2, 0.6),
        "score": (1, 0.9),
        "pair": (1, 0.0),
    }
    assert found["common"]["epoch"] == 1
    # Where lower is better of one task: 0.5 − 2 and 0.4 − 1, so the common one is the second.
    one = prepared(tables, score={"metrics": ["rmse"]})
    records = [
        {
            "epoch": epoch,
            "dev": {
                "verdict": {"dev": {"accuracy": a}},
                "score": {"dev": {"rmse": b}},
                "pair": {"dev": {"accuracy": 0.0}},
            },
        }
        for epoch, (a, b) in enumerate(((0.5, 2.0), (0.4, 1.0)), start=1)
    ]
    found = _best_epochs(records, one)
    assert {task: each["epoch"] for task, each in found["tasks"].items()} == {
        "verdict": 1,
        "score": 2,
        "pair": 1,
    }
    assert found["common"]["epoch"] == 2


def test_a_task_without_a_metric_trains_along_and_chooses_nothing(
    tables: Tables, tmp_path: Path
) -> None:
    one = prepared(tables, "plan.keep=best_per_task", "seed=4", score={"metrics": []})
    reports: list[EvalReport] = []
    result = execute(
        one,
        tmp_path,
        watch=lambda report: reports.append(report) if isinstance(report, EvalReport) else None,
    )
    for report in reports:
        others = [report.dev[task]["dev"]["accuracy"] for task in ("verdict", "pair")]
        assert report.selected == sum(others) / 2
        assert report.train["score"].keys() == {"loss"}
        assert "score" not in report.best
    assert reports[-1].train["score"]["loss"] < reports[0].train["score"]["loss"]
    assert set(result.best["tasks"]) == {"verdict", "pair"}
    model = encore.load(result.folder)
    assert model.predict([("a lamp", "a box")], task="score")[0].label
    assert result.epoch_of("score") == result.best["common"]["epoch"] < result.epoch, (
        "its weights are those of the best common epoch"
    )
    found = model.scores(model.read(tables.dev, task="score"), task="score")
    np.testing.assert_allclose(
        found, read_scores(result.folder, "score", "dev", result.epoch_of("score")), atol=1e-5
    )
    alone = card(
        replace(result, keep="best"),
        model.task("score"),
        BaseModel("tiny", None, {}),
        CardDetails("a/b", "X", "hf", own_class=True, limits=()),
    )
    assert "these figures" not in alone, "there are none"


def test_the_list_of_runs_shows_the_first_task_that_has_a_metric(
    tables: Tables, tmp_path: Path
) -> None:
    execute(prepared(tables, "plan.epochs=1", verdict={"metrics": []}), tmp_path / "some")
    execute(prepared(tables, "plan.epochs=1", "metrics=[]"), tmp_path / "none")
    assert [
        [row[4] for row in runs_table(runs(tmp_path / which)).rows] for which in ("some", "none")
    ] == [["score Pearson r"], [""]]


ALONG: dict[str, Any] = {"same_as": "score", "losses": {"task": "mnr"}}


def along(tables: Tables, *overrides: str, **own: Any) -> Prepared:
    """Beside the others a task whose pairs have no labels; `own` are further settings of it."""
    score = {"head": "siamese_cosine", "pooling": "mean"}
    mapping = recipe(tables, score=score)
    data = {"train": str(tables.train), "text": "text", "text_pair": "other", "kind": "unlabelled"}
    mapping["tasks"] = {
        "pairs": {"data": data, "pooling": "mean", **ALONG, **own},
        **mapping["tasks"],
    }
    return prepare(recipe_from(mapping, (*tables.settings, *overrides)))


NIGHTLY = pytest.mark.nightly


@pytest.mark.parametrize(
    "loss",
    [
        "mnr",
        pytest.param("simcse", marks=NIGHTLY),
        pytest.param({"name": "uncertainty", "of": "mnr"}, marks=NIGHTLY),
    ],
)
def test_a_task_without_labels_trains_along(
    loss: Any, tables: Tables, warm: Warm, tmp_path: Path
) -> None:
    """It moves what it shares, is stopped and resumed like any other, has no figures, and cannot be
    asked.
    """
    one = along(tables, "plan.keep=best_per_task", losses={"task": loss})
    assert one.streams["pairs"].train.numbers.tolist() == list(range(52)), (
        "all rows of the file, none split off"
    )
    reports: list[EvalReport] = []
    whole = execute(
        one,
        tmp_path / "whole",
        watch=lambda report: reports.append(report) if isinstance(report, EvalReport) else None,
    )
    assert {task: set(sets) for task, sets in reports[0].dev.items()} == {
        "pairs": set(),
        "verdict": {"dev"},
        "score": {"dev"},
        "pair": {"dev"},
    }
    assert reports[0].train["pairs"].keys() == {"loss"}
    train(one, tmp_path / "stopped", until=5)
    stopped = train(one, tmp_path / "stopped")
    names = [*files.read_json(whole.folder / files.MANIFEST), files.MANIFEST]
    assert not [
        each
        for each in names
        if (stopped / each).read_bytes() != (whole.folder / each).read_bytes()
    ]
    assert set(whole.metrics) == set(whole.best["tasks"]) == {"verdict", "score", "pair"}
    model = encore.load(whole.folder)
    assert set(model.tasks) == {"verdict", "score", "pair"}
    listed = warm.run(["ls", "--runs", tmp_path / "whole"])
    assert "accuracy" in listed.out, listed.err
    assert warm.run(["report", whole.folder]).code == 0
    refused = warm.run(["predict", whole.folder, tables.dev, "--task", "pairs"])
    assert refused.code == 2
    assert (
        refused.err.strip()
        == f"{whole.folder}: no task called 'pairs' in this run. Did you mean 'pair'? Known: "
        f"pair, score, verdict."
    )


def test_a_task_without_labels_moves_what_it_shares_and_nothing_else(tables: Tables) -> None:
    one = along(tables)
    models = build_models(one)
    assert models["pairs"].head is models["score"].head
    assert models["pairs"].branches[0].encoder is models["score"].branches[0].encoder
    before = {name: p.detach().clone() for name, p in unique_parameters(models).items()}
    alone = {
        "plan": [replace(phase, tasks=("pairs",), epochs=1) for phase in one.plan],
        "streams": {"pairs": one.streams["pairs"]},
    }
    list(train_loop({"pairs": models["pairs"]}, settings=one.settings, **alone))
    after = unique_parameters(models)
    moved = {
        name
        for name, p in before.items()
        if p.shape == after[name].shape and not torch.equal(p, after[name])
    }
    assert any(".encoder." in name for name in moved)
    assert not [name for name in moved if name.startswith(("verdict.head", "pair.head"))]


def test_a_run_of_a_recipe_with_a_borrowed_head_can_be_read_again(
    tables: Tables, tmp_path: Path
) -> None:
    """The folder keeps the recipe with all its defaults, of which a head beside `same_as`
    would be refused.
    """
    one = along(tables)
    file = tmp_path / "recipe.yaml"
    file.write_text(to_yaml(one.recipe), encoding="utf-8")
    assert resolved(load_recipe(file)) == resolved(one.recipe)
    assert head_of(one.recipe, "pairs").name == "siamese_cosine"


def test_what_a_task_without_labels_cannot_have(tables: Tables, tmp_path: Path) -> None:
    text = """\
tasks:
  score: {data: {ROWS, text_pair: other, label: score, kind: regression}, head: siamese_cosine}
  headless: {data: {train: TRAIN, text: text, kind: unlabelled}, losses: {task: simcse}}
  measured: {data: {train: TRAIN, text: text, text_pair: other, kind: unlabelled}, same_as: score, losses: {task: mnr}, metrics: [accuracy], sampling: balanced}
  lossless: {data: {train: TRAIN, text: text, text_pair: other, kind: unlabelled}, same_as: score}
  other: {data: {train: TRAIN, text: text, text_pair: other, kind: unlabelled}, same_as: score, losses: {task: mse}}
"""  # noqa: E501
    found = [
        line.lstrip("/")
        for line in problems_of(tables, tmp_path, text.replace("TRAIN", str(tables.train)))
    ]
    assert found == [
        "recipe.yaml:3 tasks.headless.same_as: a task without labels has no head of its own. "
        "Name the task whose head it trains: same_as: TASK.",
        "recipe.yaml:4 tasks.measured.metrics: there are no labels to measure by. Remove them.",
        "recipe.yaml:4 tasks.measured.sampling: there are no classes to balance. Remove it.",
        "recipe.yaml:5 tasks.lossless.losses.task: a task without labels needs a loss that "
        "reads none. Write losses: {task: simcse}, or mnr for pairs.",
        "recipe.yaml:6 tasks.other.losses.task: 'mse' does not fit a task without labels.",
    ]
    text = "tasks:\n  it: {data: {ROWS, kind: unlabelled}, losses: {task: simcse}}\n"
    (line,) = problems_of(tables, tmp_path, text)
    assert (
        line.lstrip("/")
        == "recipe.yaml:2 tasks.it.data.kind: a task without labels is never evaluated: "
        "data.dev "
        "would have no effect. Remove it."
    )


@pytest.mark.parametrize(("sharing", "told"), [("one", True), ("separate", False)])
def test_dev_rows_that_another_task_trains_on_are_told(
    sharing: str, told: bool, tables: Tables
) -> None:
    """Both dev sets are split off the same file, each in its own way."""
    data = {"train": str(tables.train), "text": "text"}
    mapping = {
        "tasks": {
            "one": {"data": {**data, "label": "verdict"}},
            "two": {"data": {**data, "label": "tags"}},
        },
        "sharing": sharing,
    }
    one = prepare(recipe_from(mapping, tables.settings))
    mine, theirs = one.streams["one"].dev["dev"], one.streams["two"].train
    n = len(set(mine.numbers.tolist()) & set(theirs.numbers.tolist()))
    assert n > 0
    expected = Note(
        f"{n} of {len(mine)} rows are training rows of task 'two'; name a dev file (data.dev)",
        task="one",
        about="dev",
    )
    assert (expected in one.notes) == told
    assert not [note for note in prepared(tables).notes if "training rows of task" in note.text]


# ----------------------------------------------------------------------------------- asked together


def test_tasks_on_the_same_columns_are_asked_together(
    kept: Mapping[str, RunResult], tables: Tables
) -> None:
    model = encore.load(kept["last"].folder)
    dataset = model.read(tables.dev, task="score")
    together = model.scores_of(["score", "pair"], dataset)
    for task in together:
        assert np.array_equal(together[task], model.scores(dataset, task=task))
    with pytest.raises(
        RecipeError, match="verdict and score do not read the same columns in the same way"
    ):
        model.scores_of(["score", "verdict"], dataset)


@pytest.mark.parametrize(
    ("change", "in_one_row"),
    [
        ({}, True),
        ({"max_length": 9}, True),
        ({"truncation": "tail"}, True),
        ({"normalise": "minbert"}, True),
        ({"pair": {"name": "cross", "segments": "zero"}}, True),
        ({"pair": {"name": "cross", "eval_order": "both"}}, False),
    ],
)
def test_what_makes_two_tasks_read_the_same_text_otherwise(
    change: Mapping[str, Any], in_one_row: bool, kept: Mapping[str, RunResult]
) -> None:
    task = encore.load(kept["last"].folder).task("score")
    other = replace(task, name="other", **change)
    assert (other.input_key == task.input_key) == (not change)
    assert other.in_one_row == in_one_row


def test_in_which_order_pairs_were_met_in_training_makes_no_difference(
    kept: Mapping[str, RunResult], tables: Tables
) -> None:
    """Nor does a default that is written out."""
    model = encore.load(kept["last"].folder)
    dataset = model.read(tables.dev, task="score")
    expected = model.scores_of(["score", "pair"], dataset)
    drawn = replace(
        model.task("score"), pair={"name": "cross", "order": "random", "segments": "family"}
    )
    assert drawn.input_key == model.task("score").input_key
    for tasks in (["score", "pair"], ["pair", "score"]):
        found = replace(model, tasks={**model.tasks, "score": drawn}).scores_of(tasks, dataset)
        assert all(np.array_equal(found[task], expected[task]) for task in tasks)


def test_the_command_names_one_task_or_several(
    kept: Mapping[str, RunResult], tables: Tables, warm: Warm, tmp_path: Path
) -> None:
    folder = kept["best"].folder
    several = warm.run(
        [
            "predict",
            folder,
            tables.dev,
            "--task",
            "pair,score",
            "-o",
            tmp_path / "both.csv",
            "--quiet",
        ]
    )
    one = warm.run(
        ["predict", folder, tables.dev, "--task", "pair", "-o", tmp_path / "one.csv", "--quiet"]
    )
    assert (several.code, one.code) == (0, 0), several.err + one.err
    both, single = ((tmp_path / name).read_text().splitlines() for name in ("both.csv", "one.csv"))
    assert both[0].replace('"', "") == "pair.prediction,pair.p(no),pair.p(yes),score.prediction"
    assert single[0].replace('"', "") == "prediction,p(no),p(yes)"
    assert len(both) == len(single) == 24
    none = warm.run(["predict", folder, tables.dev])
    assert none.code == 2
    assert none.err.strip().endswith(
        "several tasks in this run; name one (--task; in Python task=). Known: pair, score, "
        "verdict."
    )
    evaluated = warm.run(["evaluate", folder, tables.dev, "--task", "score", "--json"])
    assert evaluated.code == 0, evaluated.err
    assert json.loads(evaluated.out)["metrics"]["pearson"]["value"] == pytest.approx(
        kept["best"].metrics["score"]["dev"]["model"]["pearson"].value, abs=1e-5
    )
    assert set(kept["best"].summary()["metrics"]) == {"verdict", "score", "pair"}


def test_how_pairs_are_read_says_nothing_of_a_task_without_pairs(
    tables: Tables, tmp_path: Path
) -> None:
    """SerBERTus' recipes say it once for all tasks; single texts are exported all the same."""
    how = {"pair": {"name": "cross", "order": "random", "eval_order": "both", "segments": "zero"}}
    one = prepared(tables, "plan.epochs=1", verdict=how, pair=how)
    model = encore.load(execute(one, tmp_path).folder)
    assert {name: task.in_one_row for name, task in model.tasks.items()} == {
        "verdict": True,
        "score": True,
        "pair": False,
    }
    verdict = model.task("verdict")
    assert verdict.input_key == replace(verdict, pair={"name": "cross"}).input_key
    assert model.task("pair").input_key != model.task("score").input_key


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"score": {"pair": {"name": "cross", "eval_order": "both"}}},
            "reads two texts together, .* Use --to hf, or train with pair: siamese",
        ),
        (
            {"score": {"pair": "siamese_attend", "head": "siamese_cosine"}},
            "reads two texts together, .* Use --to hf, or train with pair: siamese",
        ),
        ({"sharing": "multi_and_own"}, "has several encoders, .* Use --to hf"),
    ],
)
def test_what_sentence_transformers_cannot_compute_is_not_exported(
    changed: dict[str, Any], told: str, tables: Tables, tmp_path: Path
) -> None:
    pytest.importorskip("transformers", minversion="5.0")
    pytest.importorskip("sentence_transformers")
    from encore.export.folder import export_run

    result = execute(prepared(tables, "plan.epochs=1", **changed), tmp_path)
    with pytest.raises(RecipeError, match=f"task .score. of .* {told}"):
        export_run(result.folder, "sentence-transformers", tmp_path / "out", task="score")
    assert not (tmp_path / "out").exists()


OF_EACH: dict[str, Mapping[str, Any]] = {
    **MIXED,
    "separate, as SerBERTus reads its pairs": {
        "sharing": "separate",
        **{
            task: {"pair": {"name": "cross", "order": "random", "segments": "zero"}}
            for task in ("score", "pair")
        },
    },
    "seen by each other, a head of another task": {
        "sharing": "multi_and_own",
        "pair": {"pair": "siamese_attend", "head": "siamese_concat"},
        "other": {"same_as": "pair", "pair": "siamese"},
    },
}


@pytest.mark.parametrize("name", OF_EACH)
def test_each_task_of_a_run_is_exported_by_itself(
    name: str, tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it shares, and however it reads its texts: transformers gives the answers that the
    run gives, and the card speaks of this task.
    """
    pytest.importorskip("transformers", minversion="5.0")
    from encore.export import fresh
    from encore.export.check import check_job
    from encore.export.folder import export_run

    monkeypatch.setattr(
        "encore.export.folder.outputs_in_fresh_process",
        lambda jobs: [fresh.load_and_run(check_job(written, rows)) for written, rows in jobs],
    )
    keys = dict(OF_EACH[name])
    mapping = recipe(tables, **{key: value for key, value in keys.items() if key != "other"})
    if "other" in keys:
        mapping["tasks"]["other"] = {**mapping["tasks"]["pair"], **keys["other"]}
        del mapping["tasks"]["other"]["head"]
    whole = execute(prepare(recipe_from(mapping, (*tables.settings, "plan.epochs=1"))), tmp_path)
    for task in whole.metrics:
        done = export_run(whole.folder, "hf", tmp_path / "out" / task, task=task)
        assert done.difference <= 1e-5
        assert done.rows == 23
        about = (tmp_path / "out" / task / "README.md").read_text(encoding="utf-8")
        assert f"Task `{task}`; columns" in about
        assert not [other for other in whole.metrics if f"* {other}: " in about], (
            "what is said of others"
        )
        of_rows = [
            note
            for note in map(str, whole.notes_of(task))
            if "rows are training rows" in note or "cut to" in note
        ]
        assert all(f"* {note}" in about for note in of_rows)


def test_notes_are_those_of_one_task(kept: Mapping[str, RunResult]) -> None:
    notes = (
        Note("2 rows", task="score", about="dev"),
        Note("3 rows", task="pair"),
        Note("one thread"),
    )
    whole = replace(kept["last"], notes=notes)
    assert whole.notes_of("score") == [notes[0], notes[2]]
    assert whole.notes_of("verdict") == [notes[2]], "a note on the whole run is on each task"
    assert whole.note_lines == ["score: dev: 2 rows", "pair: 3 rows", "one thread"]


def test_notes_are_stored_with_their_tasks(kept: Mapping[str, RunResult]) -> None:
    """A note may begin like the name of a task: its line alone does not say whose it is."""
    for one in kept.values():
        stored = json.loads((one.folder / "results.json").read_text(encoding="utf-8"))
        assert stored["notes"] == one.note_lines
        assert [Note(**note) for note in stored["task_notes"]] == list(one.notes)
        assert {note.task for note in one.notes} <= set(one.metrics) | {"unlabelled"}
        assert json.loads(json.dumps(one.to_json())) == stored
    older = {key: value for key, value in stored.items() if key != "task_notes"}
    before = RunResult.from_json(one.folder, older)
    assert before.notes_of(next(iter(one.metrics))) == list(map(Note, stored["notes"]))


# ------------------------------------------------------------------------------------------ refused


def problems_of(tables: Tables, tmp_path: Path, text: str) -> tuple[str, ...]:
    file = tmp_path / "recipe.yaml"
    rows = f"train: {tables.train}, dev: {tables.dev}, text: text"
    file.write_text(text.replace("ROWS", rows), encoding="utf-8")
    with pytest.raises(EncoreError) as error:
        prepared_from(file, tables.settings)
    return tuple(line.replace(str(tmp_path), "") for line in error.value.lines)


def test_a_broken_file_of_one_task_is_refused_before_anything_is_loaded(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.csv"
    broken.write_text('text,score\n"a lamp",1.5\n"a box",five\n', encoding="utf-8")
    monkeypatch.setattr(encoders, "load_encoder", lambda *_: pytest.fail("weights were loaded"))
    monkeypatch.setattr(
        "encore.runs.task_streams.tokenize_set",
        lambda *_, **__: pytest.fail("texts were tokenized"),
    )
    found = problems_of(
        tables,
        tmp_path,
        "tasks:\n  good: {data: {ROWS, label: verdict}}\n  bad: {data: {train: broken.csv, "
        "text: text, label: score, kind: regression}}\n",
    )
    assert len(found) == 1
    assert found[0].startswith("task 'bad': ")
    assert "broken.csv:3" in found[0]
    assert issubclass(DataError, EncoreError)


def test_what_is_wrong_with_one_task_is_told_once_and_remedied_there_alone(
    tables: Tables, tmp_path: Path
) -> None:
    """An option (--label) would hold for all tasks; and what the recipe's own check has said is not
    said again of its files.
    """
    data = tmp_path / "rows.csv"
    data.write_text(
        "words,first,second\n"
        + "".join(f"a lamp number {n},{n % 2},{n % 3}\n" for n in range(12))
        + ",1,1\n",
        encoding="utf-8",
    )
    several = (
        "tasks:\n  good: {data: {ROWS, label: verdict}}\n  bad: {data: {train: rows.csv, "
        "text: words, DATA}}\n"
    )
    (line,) = problems_of(tables, tmp_path, several.replace("DATA", "on_bad_row: skip"))
    assert line.startswith("task 'bad': ")
    assert line.endswith("Say which: tasks.bad.data.label=NAME")
    (line,) = problems_of(tables, tmp_path, several.replace("DATA", "label: first"))
    assert line.endswith("Fill them in, or pass tasks.bad.data.on_bad_row=skip")
    (line,) = problems_of(
        tables, tmp_path, "tasks:\n  good: {data: {ROWS, label: verdict}}\n  stss: {}\n"
    )
    assert "recipe.yaml:3 tasks.stss: no task called 'stss'" in line


@pytest.mark.parametrize("keep", ["best", "best_per_task"])
def test_an_epoch_is_chosen_by_a_metric_and_one_task_has_to_have_one(
    keep: str, tables: Tables, tmp_path: Path
) -> None:
    text = (
        f"tasks:\n  it: {{data: {{ROWS, label: verdict}}}}\n  that: {{data: {{ROWS, label: "
        f"verdict}}}}\nmetrics: []\nplan: {{keep: {keep}}}\n"
    )
    (line,) = problems_of(tables, tmp_path, text)
    assert (
        line.lstrip("/")
        == f"recipe.yaml:5 plan.keep: '{keep}' chooses an epoch by a metric, and no "
        f"task has "
        f"one. Write keep: last, or name metrics."
    )
    prepared(tables, f"plan.keep={keep}", verdict={"metrics": []}, score={"metrics": []})
    for broken in ("{data: {train: nowhere.csv}}", "{data: {train: nowhere.csv, delimiter: long}}"):
        text = (
            f"tasks:\n  it: {broken}\n  that: {{data: {{ROWS, label: verdict}}, metrics: "
            f"[]}}\nplan: {{keep: {keep}}}\n"
        )
        (line,) = problems_of(tables, tmp_path, text)
        assert "plan.keep" not in line, (
            "what is left of a recipe with mistakes says nothing of its metrics"
        )


def test_what_does_not_go_together_is_told_with_its_line(tables: Tables, tmp_path: Path) -> None:
    text = """\
sharing: {name: branch, own_layers: 7}
tasks:
  single: {data: {ROWS, label: verdict}, head: siamese_concat}
  second:
    data: {ROWS, label: verdict}
    pair: siamese
  value: {data: {ROWS, text_pair: other, label: score, kind: regression}, head: siamese_dot}
  other: {data: {ROWS, text_pair: other, label: score, kind: regression}, pair: siamese}
  small: {data: {ROWS, text_pair: other, label: score, kind: regression}, head: {name: fcn_similarity, size: 4}}
  large: {data: {ROWS, text_pair: other, label: score, kind: regression}, head: {name: fcn_similarity, size: 8}}
  same: {data: {ROWS, text_pair: other, label: score, kind: regression}, same_as: single}
  lost: {data: {ROWS, label: verdict}, losses: {task: mse}}
  learnt: {data: {ROWS, label: verdict}, losses: {task: {name: uncertainty, of: {name: mse}}}}
  judged: {data: {ROWS, label: verdict}, metrics: [pearson]}
plan:
  mixing: {name: temperature, temperature: 0}
"""  # noqa: E501
    found = [line.lstrip("/") for line in problems_of(tables, tmp_path, text)]
    assert any(
        line.startswith(
            "recipe.yaml:1 sharing: own_layers: expected a number from 0 to 2, the encoder's "
            "layers, got 7."
        )
        for line in found
    )
    assert any(
        "tasks.single.head: 'siamese_concat' reads two texts, and 'single' has single texts."
        in line
        for line in found
    )
    assert any(
        "tasks.second.pair: 'second' has single texts and no pairs." in line for line in found
    )
    assert any(
        "tasks.value.head: 'siamese_dot' is for binary tasks, and this is a regression task."
        in line
        for line in found
    )
    assert any(
        "tasks.other.head: 'linear' reads one vector, and pair 'siamese' gives it a vector of "
        "each text. Write pair: cross" in line
        for line in found
    )
    assert any(
        "tasks.large.head: shares layers with the head of task 'small'" in line for line in found
    )
    assert any(
        "tasks.same.same_as: cannot have the head of 'single': not the same kind" in line
        for line in found
    )
    assert (
        "recipe.yaml:12 tasks.lost.losses.task: 'mse' does not fit a multiclass task, which "
        "needs 'cross_entropy'." in found
    )
    assert (
        "recipe.yaml:13 tasks.learnt.losses.task: of: 'mse' does not fit a multiclass task, "
        "which needs 'cross_entropy'." in found
    )
    assert any(
        line.startswith(
            "recipe.yaml:14 tasks.judged.metrics: 'pearson' does not fit a multiclass task."
        )
        for line in found
    )
    assert any(
        line.startswith("recipe.yaml:16 plan.mixing.temperature: expected a number above 0, got 0.")
        for line in found
    )


def test_a_pooling_that_the_encoder_is_too_shallow_for_is_told_with_its_task(
    tables: Tables,
) -> None:
    mapping = recipe(tables, pair={"pooling": {"name": "max_cls", "k": 9}})
    with pytest.raises(RecipeError) as error:
        prepare(
            recipe_from(
                mapping,
                [setting for setting in tables.settings if not setting.startswith("pooling")],
            )
        )
    assert error.value.lines == (
        "tasks.pair.pooling: pooling 'max_cls': expected k from 1 to 2, the layers of this "
        "encoder, got 9. Set another k.",
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sharing": {"name": "static", "of": "one"}, "pooling": "pooler"}, "sharing: static"),
        ({"pooling": {"name": "pooler", "frozen": True}}, "frozen: true"),
    ],
)
def test_no_pooler_is_kept_as_it_is_that_was_never_trained(
    changed: dict[str, Any], said: str, tables: Tables, tiny_encoder: Path, tmp_path: Path
) -> None:
    bare = shutil.copytree(tiny_encoder, tmp_path / "bare")
    weights = safetensors.torch.load_file(bare / "model.safetensors")
    safetensors.torch.save_file(
        {name: tensor for name, tensor in weights.items() if "pooler" not in name},
        bare / "model.safetensors",
    )
    data = {"train": str(tables.train), "dev": str(tables.dev), "text": "text", "label": "verdict"}
    mapping = {"tasks": {"it": {"data": data}}, **changed, "max_length": 32}
    assert prepare(recipe_from({**mapping, "encoder": str(tiny_encoder)})).name
    assert prepare(recipe_from({**mapping, "encoder": str(bare), "pooling": "cls"})).name
    with pytest.raises(
        RecipeError, match=f"has no pretrained pooler, and {said} would keep a random one as it is"
    ):
        prepare(recipe_from({**mapping, "encoder": str(bare)}))


def test_a_loss_of_two_texts_needs_a_model_that_reads_them_apart(
    tables: Tables, tmp_path: Path
) -> None:
    text = (
        "tasks:\n  it:\n    data: {ROWS, text_pair: other, label: verdict, labels: {bad: "
        "no, fair: no, good: yes}}\n    losses: {task: LOSS}\n"
    )
    for loss in ("cosine_embedding", "{name: uncertainty, of: cosine_embedding}"):
        (line,) = problems_of(tables, tmp_path, text.replace("LOSS", loss))
        assert line.lstrip("/").startswith(
            "recipe.yaml:4 tasks.it.losses.task: this loss compares two texts that are read apart."
        )


# -------------------------------------------------------------------------------- losses that learn


def test_the_parameters_of_a_loss_are_trained_saved_and_not_those_of_the_recipe(
    tables: Tables,
) -> None:
    one = prepared(tables, score={"losses": {"task": "uncertainty"}})
    assert own_losses(one.streams).keys() == {"score"}
    state = FitState(build_models(one), own_losses(one.streams))
    state.narrow(one.streams)
    list(train_loop(state.models, one.plan, one.streams, one.settings, state=state))
    learnt = state.losses["score"]["task"].log_variance
    assert state.tensors()["model/score.losses.task.log_variance"].item() == learnt.item() != 0
    assert one.streams["score"].losses["task"][1].log_variance.item() == 0
    names = [name for group in state.optimiser.param_groups for name in group["names"]]  # type: ignore[union-attr]
    assert names.count("score.losses.task.log_variance") == 1


def test_the_name_of_a_run_of_one_task_is_what_it_was(tables: Tables) -> None:
    """Settings that came with several tasks are no part of a name where nobody sets them."""
    identity = tables.prepared().identity
    assert not {"sharing", "seed"} & set(identity)
    assert not {"mixing", "combine", "curve"} & set(identity.get("plan", {}))
    assert not {"head", "pair", "same_as", "batch_size"} & set(identity["tasks"]["train"])
    changed = [
        tables.prepared(setting).name
        for setting in (
            "sharing=separate",
            "plan.mixing=sum",
            "batch_size=3",
            "head.one_logit=false",
        )
    ]
    assert len({tables.prepared().name, *changed[:3]}) == 4
    assert changed[3] == tables.prepared().name


def test_a_comparison_says_which_task_a_table_is_about() -> None:
    def title(study: str, task: str) -> str:
        return StudyResult(study, {}, task, "dev", 1, (), {}, (), {}).title

    assert title("sst5+sts", "sts") == "sst5+sts: sts"
    assert title("sst5+sts plan.lr=1e-05", "sst5") == "sst5+sts plan.lr=1e-05: sst5"
    assert title("rte plan.lr=1e+0", "rte") == "rte plan.lr=1e+0"


def test_what_is_announced_of_a_comparison_names_the_task(tables: Tables, tmp_path: Path) -> None:
    plan = prepare_comparison(study_from({**recipe(tables), "seeds": [1]}, tables.settings))
    told = _announced(plan, tmp_path)
    for task, n in (("verdict", 27), ("score", 20), ("pair", 13)):
        assert any(
            line.startswith(f"verdict+score+pair: {task}: train cut to {n} ") for line in told
        )

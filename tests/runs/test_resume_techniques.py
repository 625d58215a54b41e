"""Every technique resumes bit for bit: each is in one of a few small runs, which are stopped at six
places, one after another, and end as they do undisturbed.
"""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tables, Warm, listing, sentences, write_csv

from encore import catalogue, files
from encore.recipe.load import recipe_from
from encore.runs.checkpoint import read_checkpoint, save_checkpoint
from encore.runs.execute import execute
from encore.runs.prepare import build_models, prepare
from encore.runs.prepared import Prepared
from encore.runs.teachers import teach
from encore.training.loop import train_loop
from encore.training.reports import EvalReport, StepReport
from encore.training.state import FitState, own_losses

DATA = {  # kind → how its label is read
    "binary": {"label": "same"},
    "multiclass": {"label": "verdict"},
    "multilabel": {"label": "tags", "kind": "multilabel", "label_separator": ";"},
    "regression": {"label": "score", "kind": "regression"},
    "unlabelled": {"kind": "unlabelled", "dev": None},
}
WHOLE_RUN = ("sharing", "mixing", "plans", "curves", "averages")  # a run has one of each
N_RUNS = max(len(catalogue.names(kind)) for kind in WHOLE_RUN)
# Of runs, which tests/techniques/adapters/test_fusion.py stops and resumes.
ADAPTERS = tuple(name for name in catalogue.names("adapters") if name != "fusion")
SIAMESE = {"binary": "siamese_dot", "regression": "siamese_cosine"}  # heads for two texts


def kinds_of(technique: Any) -> tuple[str, ...]:
    return technique.kinds or technique.joins


def task_of_head(name: str) -> dict[str, Any]:
    head = catalogue.find("heads", name)
    return task(head.kinds[0], n_sides=head.n_sides, head=name)


def task_of_loss(name: str) -> dict[str, Any]:
    """A loss by itself, where it serves a kind of task alone, else beside the task's own."""
    loss = catalogue.find("losses", name)
    kind = kinds_of(loss)[0] if loss.n_sides == 1 else kinds_of(loss)[-1]
    terms = {"task": name} if kind in loss.kinds else {"task": {}, "more": {"name": name}}
    if kind not in loss.kinds:
        terms["task"] = {"weight": 1.0}
    return task(kind, n_sides=loss.n_sides, losses=terms)


def task(kind: str, *, n_sides: int = 1, **settings: Any) -> dict[str, Any]:
    """A task of this kind, of two texts that are read apart where there are two sides."""
    data: dict[str, Any] = dict(DATA[kind])
    if n_sides == 2:
        data["text_pair"] = "other"
        settings = {"pair": "siamese", "head": SIAMESE.get(kind, "siamese_concat"), **settings}
    if kind == "unlabelled":
        settings["same_as"] = f"base_{n_sides}"
        settings.pop("head", None)
    else:
        head = catalogue.find("heads", settings.get("head", "linear"))
        metrics = {name: catalogue.find("metrics", name) for name in catalogue.names("metrics")}
        settings["metrics"] = [
            name
            for name, metric in metrics.items()
            if kind in metric.kinds and (head.gives_probabilities or not metric.needs_probabilities)
        ]
    return {"data": data, **settings}


def tasks() -> dict[str, dict[str, Any]]:
    """Name → settings of one task for every technique that a task has."""
    found = {f"pooling_{name}": task("binary", pooling=pooling(name)) for name in names("pooling")}
    found |= {f"head_{name}": task_of_head(name) for name in names("heads")}
    found |= {f"loss_{name}": task_of_loss(name) for name in names("losses")}
    for name in names("pairs"):
        n_sides = catalogue.find("pairs", name).n_sides
        head = "siamese_concat" if n_sides == 2 else "linear"
        found[f"pair_{name}"] = task("multilabel", n_sides=2) | {"pair": name, "head": head}
    return found


def pooling(name: str) -> dict[str, Any]:
    """A pooling of no more than the two layers that there are."""
    return {"name": name} | ({"k": 2} if "k" in catalogue.settings("pooling", name) else {})


def names(kind: str) -> tuple[str, ...]:
    return catalogue.names(kind)


def teacher(encoder: Path, folder: Path) -> str:
    """The folder of a run whose scores the loss `distill` learns from."""
    settings = {**DATA["binary"], "train": str(folder / "train.csv"), "text": "text"}
    settings["dev"] = str(folder / "dev.csv")
    own = {"encoder": str(encoder), "precision": "fp32", "threads": 1, "max_length": 16}
    own |= {"plan": {"epochs": 1, "lr": 1e-2}, "tasks": {"same": {"data": settings}}}
    return str(execute(prepare(recipe_from(own)), folder / "teacher", checkpoint_steps=99).folder)


def recipe(number: int, encoder: Path, folder: Path) -> dict[str, Any]:
    """The recipe of one run: a part of the tasks, and one technique of each kind of a run."""
    runs = [
        each for each in range(N_RUNS) if names("sharing")[each % len(names("sharing"))] != "static"
    ]
    own = {}
    for place, (name, one) in enumerate(tasks().items()):
        # What learns to read a text from nothing has no frozen copy beside it.
        free = range(N_RUNS) if name.startswith(("head_", "loss_")) else runs
        if free[place % len(free)] == number:
            own[name] = one
    if "loss_distill" in own:
        distill = {"name": "distill", "teacher": teacher(encoder, folder)}
        own["loss_distill"] |= {"losses": {"task": distill}}
    bases = {one["same_as"] for one in own.values() if "same_as" in one}
    own |= {name: task("regression", n_sides=int(name[-1])) for name in sorted(bases)}
    of_run = {kind: names(kind)[number % len(names(kind))] for kind in WHOLE_RUN}
    # One plan of each round, swa, has a rate of its own: its curve is that of the run after it.
    curves, n_rounds = names("curves"), number // len(names("plans"))
    of_run["curves"] = curves[(number - n_rounds) % len(curves)]
    plan = {
        "name": of_run["plans"],
        "mixing": of_run["mixing"],
        "curve": of_run["curves"],
        "epochs": 2,
        "lr": 1e-2,
        "batch_size": 3,
        "keep": "best",
        "early_stopping": 2,
        "optimiser": ("torch", "minbert")[number % 2],
        "layer_decay": 0.9,
        "head_multiplier": 2,
    }
    if of_run["plans"] == "lp_ft":
        plan["probe_epochs"] = 1
    if of_run["plans"] == "swa":  # it has an average of its own, too
        del plan["curve"]
    elif number % 3:
        plan["average"] = of_run["averages"]
    adapter = (*ADAPTERS, None, None)[number % (len(ADAPTERS) + 2)]
    if of_run["mixing"] == "sum":
        plan["combine"] = names("combine")[0]
    return {
        "encoder": str(encoder),
        "precision": "fp32",
        "threads": 1,
        "shares": 1 + number % 2,
        "max_length": 16,
        "pooling": "mean",
        "data": {
            "train": str(folder / "train.csv"),
            "dev": str(folder / "dev.csv"),
            "text": "text",
        },
        "sharing": of_run["sharing"],
        **({} if adapter is None else {"adapter": adapter}),
        "tasks": own,
        "plan": plan,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five rows to train on and five to measure on, with a label of every kind."""
    where = tmp_path_factory.mktemp("every")
    for name, n_rows, seed in (("train", 5, 1), ("dev", 5, 2)):
        texts, balance = sentences(n_rows, seed)
        others, _ = sentences(n_rows, seed + 10)
        columns = {
            "text": texts,
            "other": others,
            "same": ["yes" if value > 0 else "no" for value in balance],
            "verdict": [("bad", "fair", "good")[(value > 0) + (value >= 0)] for value in balance],
            "tags": ["praise;strong" if value > 0 else "blame" for value in balance],
            "score": [str(value + 0.25) for value in balance],
        }
        write_csv(where / f"{name}.csv", columns)
    return where


@dataclass
class Attempt:
    """A run until it stops. reports: since the last checkpoint. saved: (step, epochs) → digest of
    the tensors in the checkpoint.
    """

    state: FitState
    reports: list[StepReport | EvalReport] = field(default_factory=list)
    saved: dict[tuple[int, int], str] = field(default_factory=dict)


def train(
    prepared: Prepared, checkpoints: Path | None, stop: tuple[int, int, bool] | None = None
) -> Attempt:
    """Go on from the last checkpoint, and save one after every fourth step and every epoch. stop:
    step and epochs finished, and whether a checkpoint is saved there first.
    """
    models = build_models(prepared)
    state = FitState(models, own_losses(prepared.streams))
    state.narrow(prepared.streams)
    attempt = Attempt(state)
    if checkpoints is not None and (saved := read_checkpoint(checkpoints, lambda log: True)):
        state.restore(saved.state, saved.tensors, prepared.plan)
    for report in train_loop(
        models, prepared.plan, prepared.streams, prepared.settings, state=state
    ):
        attempt.reports.append(report)
        stops = stop is not None and stop[:2] == (state.step, state.epoch)
        if stops and stop is not None and not stop[2]:
            break
        if checkpoints is not None and (stops or state.batch % 4 == 0):
            save_checkpoint(checkpoints, state, {})
            attempt.saved[state.step, state.epoch] = digest_of(checkpoints)
        if stops:
            break
    return attempt


def places(reports: list[StepReport | EvalReport]) -> list[tuple[int, int, bool]]:
    """In each of the last two epochs: at a step that is not saved, right after a save, and at the
    end of the epoch before it is saved.
    """
    found = []
    for end in [report for report in reports if isinstance(report, EvalReport)][-2:]:
        steps = [
            report.step
            for report in reports
            if isinstance(report, StepReport) and report.epoch == end.epoch
        ]
        middle = len(steps) // 2
        found += [
            (steps[middle - 1], end.epoch - 1, False),
            (steps[middle], end.epoch - 1, True),
            (end.step, end.epoch, False),
        ]
    return found


def digest_of(checkpoints: Path) -> str:
    """Of the tensors in the newest checkpoint."""
    (file,) = checkpoints.glob("step-*/*.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_every_technique_is_in_a_run(folder: Path, tiny_encoder: Path) -> None:
    """The list of those that cannot resume is empty."""
    recipes = [recipe(number, tiny_encoder, folder) for number in range(N_RUNS)]
    met: dict[str, set[str]] = {kind: set() for kind in catalogue.kinds()}
    for one in recipes:
        met["sharing"].add(one["sharing"])
        met["adapters"] |= {one.get("adapter"), "fusion"}
        met["plans"].add(one["plan"]["name"])
        met["mixing"].add(one["plan"]["mixing"])
        met["curves"].add(one["plan"].get("curve"))
        met["averages"].add(one["plan"].get("average"))
        met["combine"].add(one["plan"].get("combine"))
        for settings in one["tasks"].values():
            met["pooling"].add(settings.get("pooling", {"name": one["pooling"]})["name"])
            met["heads"].add(settings.get("head", "linear"))
            met["pairs"].add(settings.get("pair", "cross"))
            met["metrics"] |= set(settings.get("metrics", ()))
            for term in settings.get("losses", {}).values():
                met["losses"].add(term if isinstance(term, str) else term.get("name"))
    assert {
        kind: set(names(kind)) - met[kind] for kind in met if set(names(kind)) - met[kind]
    } == {}


@pytest.mark.parametrize(
    "number",
    [*range(5), *(pytest.param(number, marks=pytest.mark.nightly) for number in range(5, N_RUNS))],
)
def test_stopped_at_six_places_it_ends_in_the_same_bits(
    number: int, folder: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    prepared = prepare(recipe_from(recipe(number, tiny_encoder, folder)))
    teach(prepared, tmp_path / "runs")
    whole = train(prepared, None)
    stops = places(whole.reports)
    saved: dict[tuple[int, int], str] = {}
    for stop in (*stops, None):
        rest = train(prepared, tmp_path, stop)
        assert stop is None or (rest.state.step, rest.state.epoch) == stop[:2]
        again = saved.keys() & rest.saved.keys()
        assert {place: saved[place] for place in again} == {
            place: rest.saved[place] for place in again
        }
        saved |= rest.saved
    assert len(set(saved.values())) == len(saved) > 3, "a checkpoint is of its moment"
    n = len(rest.reports)
    assert 0 < n < len(whole.reports)
    assert [comparable(one) for one in rest.reports] == [
        comparable(one) for one in whole.reports[-n:]
    ]
    assert_same(whole.state.tensors(), rest.state.tensors())
    assert rest.state.snapshot().numbers == whole.state.snapshot().numbers


@pytest.mark.parametrize(
    "number",
    [*range(3), *(pytest.param(number, marks=pytest.mark.nightly) for number in range(3, N_RUNS))],
)
def test_with_every_technique_three_processes_are_one(
    number: int, folder: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    """The gradients of the first steps, before rounding has grown."""
    prepared = prepare(recipe_from(recipe(number, tiny_encoder, folder)))
    teach(prepared, tmp_path / "runs")
    one, several = (
        [
            report
            for report in train(replace(prepared, shares=n), None).reports
            if isinstance(report, StepReport)
        ]
        for n in (1, 3)
    )
    assert len(one) == len(several)
    for mine, theirs in zip(one[:2], several, strict=False):
        assert theirs.terms == pytest.approx(mine.terms, rel=1e-3, abs=1e-4)
        assert theirs.grad_norm == pytest.approx(mine.grad_norm, rel=1e-3)
        assert (theirs.n_rows, theirs.n_tokens) == (mine.n_rows, mine.n_tokens)


def comparable(report: StepReport | EvalReport) -> object:
    if isinstance(report, StepReport):
        return report
    scores = {
        (task, name): found.tobytes()
        for task, sets in report.scores.items()
        for name, found in sets.items()
    }
    return report.epoch, report.train, report.dev, report.selected, report.best, scores


def assert_same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.parametrize(
    "settings",
    [
        (
            "losses={task: cross_entropy, smart: {name: smart, weight: 10}}",
            "plan.optimiser=minbert",
            "plan.layer_decay=0.9",
        ),
        ("plan.name=lp_ft", "plan.probe_epochs=1", "plan.curve=slanted_triangular"),
        (
            "plan.name=gradual_unfreezing",
            "plan.average={name: ema, decay: 0.7}",
            "losses={task: cross_entropy, again: r_drop}",
            "hidden_dropout=0.3",
        ),
        ("plan.name=swa", "plan.lr=1e-3"),
        ("shares=2", "plan.average=ema", "losses={task: cross_entropy, like: simcse}"),
    ],
    ids=["smart", "lp_ft", "gradual_unfreezing", "swa", "shares"],
)
def test_killed_it_ends_in_the_same_bytes(
    settings: tuple[str, ...], warm: Warm, tables: Tables, tmp_path: Path
) -> None:
    """By SIGKILL, twice, each time after a third of what a whole run writes."""
    words = ["train", tables.train, "--dev", tables.dev, "--text", "text", "--label", "verdict"]
    words += [*tables.settings, "plan.epochs=2", "plan.keep=best", *settings, "--runs"]
    whole = warm.run([*words, tmp_path / "whole"], checkpoint_steps=2)
    assert whole.code == 0, whole.err
    runs = tmp_path / "killed"
    for _ in range(2):
        killed = warm.run([*words, runs], checkpoint_steps=2, die_at=whole.n_operations // 3)
        assert killed.code == -signal.SIGKILL
    again = warm.run([*words, runs], checkpoint_steps=2)
    assert again.code == 0, again.err
    (one,), (other,) = (list(each.iterdir()) for each in (tmp_path / "whole", runs))
    assert listing(one) == listing(other)
    names = [*files.read_json(one / files.MANIFEST), files.MANIFEST]
    assert [n for n in names if (one / n).read_bytes() != (other / n).read_bytes()] == []

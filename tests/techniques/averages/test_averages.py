"""Averages of weights: their arithmetic beside torch's, and what a run evaluates and keeps."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pyarrow.csv
import pytest
import torch
from conftest import Tables
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

import encore
from encore import catalogue
from encore.errors import RecipeError
from encore.model.parameters import unique_parameters, unique_state, word_tables
from encore.model.selection import base_names
from encore.recipe.load import recipe_from
from encore.runs.execute import execute
from encore.runs.folder import read_scores
from encore.runs.prepare import build_models, prepare
from encore.runs.prepared import Prepared
from encore.training.average import RunningAverage
from encore.training.loop import train_loop
from encore.training.reports import EvalReport, StepReport
from encore.training.scoring import score_rows
from encore.training.state import FitState, own_losses
from encore.types import Average

NAMES = catalogue.names("averages")
DECAY = 0.7


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


class Small(nn.Module):
    """A few weights, and a buffer as position ids are one."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)
        self.register_buffer("position_ids", torch.arange(4))


def running(model: nn.Module) -> RunningAverage:
    found = RunningAverage({"task": model})  # type: ignore[dict-item]
    found.begin_phase()
    return found


def average_of(name: str) -> Average:
    return catalogue.build("averages", {"name": name, "decay": DECAY} if name == "ema" else name)


def fill(model: nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)


# ----------------------------------------------------------------------------------- the arithmetic


def test_the_mean_of_epoch_weights_1_2_3_is_2() -> None:
    """METHODS 8.3. What training starts from, 7, is not in it; buffers stay as they are."""
    model = Small()
    fill(model, 7)
    twin = running(model)
    for value in (1, 2, 3):
        fill(model, value)
        twin.add(average_of("mean"))
    with twin.in_place():
        assert all((each == 2).all() for each in model.parameters())
        assert torch.equal(model.position_ids, torch.arange(4))
    assert all((each == 3).all() for each in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_one_model_and_a_constant_model_are_their_average_to_the_bit(name: str) -> None:
    model = Small()
    twin = running(model)
    for _ in range(7):
        twin.add(average_of(name))
        for own, kept in zip(model.parameters(), twin.tensors.values(), strict=True):
            assert torch.equal(own, kept)


@pytest.mark.parametrize("name", NAMES)
def test_an_average_is_torch_s(name: str) -> None:
    """Torch's own moving average begins with a copy. Begun with zeros, and divided by 1 − decayⁿ,
    it is the one without bias.
    """
    torch.manual_seed(1)
    model = Small()
    twin = running(model)
    theirs = AveragedModel(model, avg_fn=get_ema_avg_fn(DECAY) if name == "ema" else None)
    if name == "ema":
        fill(theirs.module, 0)
        theirs.n_averaged.fill_(1)
    for n in range(1, 9):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        twin.add(average_of(name))
        theirs.update_parameters(model)
        bias = 1 - DECAY**n if name == "ema" else 1.0
        for kept, their in zip(twin.tensors.values(), theirs.module.parameters(), strict=True):
            torch.testing.assert_close(kept, their.detach() / bias)


def test_the_weights_of_a_moving_average_add_up_to_one() -> None:
    """Each share is (1 − d) / (1 − dⁿ⁺¹): age k counts dᵏ, whichever came first."""
    average, shares = average_of("ema"), []
    for n in range(6):
        shares = [share * (1 - average(n)) for share in shares] + [average(n)]
    total = sum(DECAY**age for age in range(6))
    assert shares == pytest.approx([DECAY ** (5 - n) / total for n in range(6)])


# -------------------------------------------------------------------------------------- in training


def trained(
    prepared: Prepared, *, narrow: bool = True, runs: Path | None = None
) -> Iterator[tuple[FitState, StepReport | EvalReport]]:
    models = build_models(prepared, runs)
    state = FitState(models, own_losses(prepared.streams))
    if narrow:
        state.narrow(prepared.streams)
    for report in train_loop(
        models, prepared.plan, prepared.streams, prepared.settings, state=state
    ):
        yield state, report


@pytest.mark.parametrize(
    "settings",
    [
        ("plan.average=mean",),
        ("plan.average={name: ema, decay: 0.7}",),
        ("plan.average=mean", "plan.name=gradual_unfreezing"),
        ("plan.average={name: ema, decay: 0.7}", "plan.name=gradual_unfreezing"),
    ],
    ids=["mean", "ema", "mean over phases", "ema over phases"],
)
def test_epochs_are_scored_with_torch_s_average_of_the_weights_that_train(
    settings: tuple[str, ...], tables: Tables
) -> None:
    """Training itself goes on as it does without an average. Dense word tables, since torch copies
    parameters apart from what they are views of.
    """
    plain = [report for _, report in trained(tables.prepared(*settings[1:]), narrow=False)]
    prepared = tables.prepared(*settings)
    every = "epoch" if "mean" in settings[0] else "step"
    theirs, n, found = None, 0, []
    for state, report in trained(prepared, narrow=False):
        found.append(report)
        (model,), (stream,) = state.models.values(), prepared.streams.values()
        if isinstance(report, StepReport) == (every == "step"):
            if theirs is None:
                theirs = AveragedModel(
                    model, avg_fn=get_ema_avg_fn(DECAY) if every == "step" else None
                )
                if every == "step":
                    fill(theirs.module, 0)
                    theirs.n_averaged.fill_(1)
            theirs.update_parameters(model)
            n += 1
        if isinstance(report, EvalReport):
            assert theirs is not None
            again = deepcopy(theirs.module)
            with torch.no_grad():
                for own in again.parameters():
                    own.div_(1 - DECAY**n if every == "step" else 1.0)
            scores = score_rows(again, stream.dev["dev"], stream.labels)
            (sets,) = report.scores.values()
            torch.testing.assert_close(
                torch.from_numpy(sets["dev"]), torch.from_numpy(scores), rtol=1e-4, atol=1e-4
            )
    steps = [report for report in found if isinstance(report, StepReport)]
    assert steps == [report for report in plain if isinstance(report, StepReport)]
    ends = [[each for each in of if isinstance(each, EvalReport)][-1] for of in (found, plain)]
    assert ends[0].dev_loss != ends[1].dev_loss


@pytest.mark.parametrize("average", ["mean", "{name: ema, decay: 0.7}"])
def test_words_outside_training_decay_as_in_a_dense_table(average: str, tables: Tables) -> None:
    prepared = tables.prepared(f"plan.average={average}", "plan.weight_decay=0.9", "plan.lr=0.02")
    whole: list[torch.Tensor] = []
    for narrow in (True, False):
        *_, (state, _) = trained(prepared, narrow=narrow)
        (table,) = word_tables(state.models.values())
        before = table.whole().clone()
        with state.averaged():
            whole.append(table.whole().clone())
            assert not narrow or table.decay < 0.95
        assert torch.equal(table.whole(), before)
    torch.testing.assert_close(whole[0], whole[1], rtol=1e-4, atol=1e-5)
    assert (before - whole[1]).abs().max() > 1e-3


def test_micro_batches_give_the_same_average(tables: Tables) -> None:
    found = []
    for settings in ((), ("plan.micro_batch=3",)):
        *_, (_, report) = trained(tables.prepared("plan.average=ema", *settings))
        assert isinstance(report, EvalReport)
        (sets,) = report.scores.values()
        found.append(torch.from_numpy(sets["dev"]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-3)


def test_only_what_trains_is_averaged(tables: Tables) -> None:
    """Of an adapter's run the adapter and the head; in the first phase of LP-FT nothing."""
    *_, (state, _) = trained(tables.prepared("plan.average=mean", "adapter=lora"))
    assert state.average is not None
    trains = {n for n, each in unique_parameters(state.models).items() if each.requires_grad}
    assert trains == set(state.average.tensors)
    assert trains.isdisjoint(base_names(state.models))
    counts = [
        (state.phase, None if state.average is None else state.average.n)
        for state, report in trained(
            tables.prepared("plan.average=mean", "plan.name=lp_ft", "plan.probe_epochs=2")
        )
        if isinstance(report, EvalReport)
    ]
    assert counts == [(0, None), (0, None), (1, 1), (1, 2), (1, 3)]


def test_a_run_without_an_average_carries_nothing_of_one(tables: Tables) -> None:
    *_, (state, _) = trained(tables.prepared())
    assert state.average is None
    assert "average" not in state.snapshot().numbers
    assert not [name for name in state.tensors() if name.startswith("average")]


# ------------------------------------------------------------------------------------------- runs


def test_the_averaged_weights_of_the_best_epoch_are_kept(tables: Tables, tmp_path: Path) -> None:
    """Best by the scores of the average, and these are the scores of the weights in the folder."""
    prepared = tables.prepared("plan.average=mean", "plan.keep=best")
    means: list[dict[str, Any]] = []
    selected = []
    for state, report in trained(prepared):
        if isinstance(report, EvalReport):
            selected.append(report.selected)
            with state.averaged():
                means.append({k: t.clone() for k, t in unique_state(state.models).items()})
    result = execute(prepared, tmp_path)
    assert result.epoch == 1 + selected.index(max(selected))
    kept = load_file(result.folder / "model" / "weights.safetensors")
    assert {
        k: torch.equal(kept[k], t) for k, t in means[result.epoch - 1].items()
    } == dict.fromkeys(kept, True)
    assert any("average, taken after each epoch" in line for line in result.note_lines)
    (task,) = result.metrics
    predictions = encore.load(result.folder).predict_proba(pyarrow.csv.read_csv(tables.dev))
    stored = torch.tensor(read_scores(result.folder, task, "dev", result.epoch)).softmax(1)
    torch.testing.assert_close(torch.from_numpy(predictions).float(), stored)


def test_the_plan_swa_has_the_paper_s_rate_and_epochs(tables: Tables) -> None:
    """METHODS 8.3: five epochs at a constant 1e-5; what the recipe says comes first."""
    base = tables.recipe()
    plan = type(base.plan)
    prepared = prepare(base.model_copy(update={"plan": plan(name="swa")}))
    (phase,) = prepared.plan
    assert (phase.epochs, phase.lr, phase.curve) == (5, 1e-5, None)
    assert phase.average is not None
    assert phase.average.every == "epoch"
    assert prepared.decided == ()
    other = prepare(base.model_copy(update={"plan": plan(name="swa", epochs=2, lr=2e-5)}))
    assert [(one.epochs, one.lr) for one in other.plan] == [(2, 2e-5)]
    with pytest.raises(RecipeError, match="plan 'swa' has a rate of its own and takes no curve"):
        tables.recipe("plan.name=swa", "plan.curve=cosine", "plan.warmup_frac=0.1")


def test_swa_begins_with_a_whole_trained_model(
    tables: Tables, tiny_encoder: Path, tmp_path: Path
) -> None:
    """Encoder, poolings and heads of two tasks, as the folder of the first run has them; and not
    one weight of it is in the average.
    """
    data = {"train": str(tables.train), "dev": str(tables.dev), "text": "text"}
    pair = {**data, "text_pair": "other", "label": "score", "kind": "regression"}
    first: dict[str, Any] = {
        "encoder": str(tiny_encoder),
        "precision": "fp32",
        "threads": 1,
        "max_length": 32,
        "tasks": {
            "verdict": {"data": {**data, "label": "verdict"}, "pooling": "attention"},
            "score": {"data": pair, "head": {"name": "fcn_similarity", "dropout": 0.3}},
        },
        "plan": {"epochs": 2, "lr": 1e-2, "batch_size": 9, "keep": "best"},
    }
    run = execute(prepare(recipe_from(first)), tmp_path).folder
    swa = {
        **first,
        "encoder": {"run": str(run)},
        "tasks": {
            name: {**one, "head_from": {"run": str(run), "task": name}}
            for name, one in first["tasks"].items()
        },
        "plan": {"name": "swa", "epochs": 1, "batch_size": 9},
    }
    prepared = prepare(recipe_from(swa))
    begun = unique_state(build_models(prepared, tmp_path))
    saved = load_file(run / "model" / "weights.safetensors")
    assert {name: torch.equal(begun[name], saved[name]) for name in saved} == dict.fromkeys(
        begun, True
    )
    kept = load_file(execute(prepared, tmp_path).folder / "model" / "weights.safetensors")
    *_, (state, _) = trained(prepared, runs=tmp_path)
    last = unique_state(state.models)
    assert {name: torch.equal(kept[name], last[name]) for name in kept} == dict.fromkeys(last, True)
    assert not all(torch.equal(kept[name], saved[name]) for name in kept)

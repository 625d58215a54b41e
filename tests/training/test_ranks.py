"""A run that several processes compute together: what they share, and that it is the run of one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Tables, Warm
from hypothesis import given
from hypothesis import strategies as st

from encore.errors import RecipeError, TrainingError
from encore.model.parameters import unique_state
from encore.model.task_model import TaskModel
from encore.runs import hardware
from encore.runs.prepare import build_models
from encore.runs.prepared import Prepared
from encore.training import forked_ranks
from encore.training.loop import train_loop
from encore.training.ranks import row_shares
from encore.training.reports import EvalReport, StepReport
from encore.training.state import FitState, own_losses


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def trained(prepared: Prepared, shares: int, **settings: Any) -> tuple[dict[str, Any], list[Any]]:
    """Everything that a run changes, by name, and its reports."""
    models = build_models(prepared)
    state = FitState(models, own_losses(prepared.streams))
    state.narrow(prepared.streams)
    how = replace(prepared.settings, shares=shares, **settings)
    reports = list(train_loop(models, prepared.plan, prepared.streams, how, state=state))
    tensors = {name: each.clone() for name, each in unique_state(models).items()}
    return tensors | {name: each.clone() for name, each in state.tensors().items()}, reports


def assert_near(one: dict[str, Any], other: dict[str, Any], bound: float = 1e-4) -> None:
    """A key's bias changes no score, so its gradient is what rounding leaves, which AdamW takes for
    one.
    """
    for name, value in one.items():
        if name in other and "qkv.bias" not in name:
            torch.testing.assert_close(other[name], value, rtol=1e-3, atol=bound, msg=name)


def steps(reports: list[Any]) -> list[list[float]]:
    return [
        [one.loss, one.grad_norm, *one.terms.values(), one.n_rows, one.n_tokens]
        for one in reports
        if isinstance(one, StepReport)
    ]


def epochs(reports: list[Any]) -> list[Any]:
    return [
        (one.train, one.dev, one.selected, one.is_best)
        for one in reports
        if isinstance(one, EvalReport)
    ]


# ------------------------------------------------------------------------------------------- shares


@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=40), size=st.integers(1, 6))
def test_shares_are_all_rows_in_order_with_tokens_as_equal_as_may_be(
    lengths: list[int], size: int
) -> None:
    shares = row_shares(np.array(lengths), size)
    assert [row for share in shares for row in share] == list(range(len(lengths)))
    assert len(shares) == size
    cuts = np.cumsum([sum(lengths[row] for row in share) for share in shares])
    ends = np.concatenate([[0], np.cumsum(lengths)])
    for number, cut in enumerate(cuts[:-1], start=1):
        goal = sum(lengths) * number / size
        assert abs(cut - goal) == min(abs(ends - goal))


def test_each_parameter_is_updated_by_one_rank() -> None:
    sizes = [torch.zeros(n) for n in (5, 50, 20, 20, 1, 9)]
    assert forked_ranks.owners(sizes, 1) == [0] * 6
    found = forked_ranks.owners(sizes, 2)
    loads = [
        sum(len(each) for each, rank in zip(sizes, found, strict=True) if rank == one)
        for one in (0, 1)
    ]
    assert sorted(loads) == [51, 54]  # 50, 20, 20, 9, 5, 1, each to the one that has least


# ----------------------------------------------------------------------- the same as one process

PAIR = {"text_pair": "other"}
CASES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "plain": ((), {}),
    "micro-batches": (("plan.micro_batch=2",), {}),
    "course optimiser": (("plan.optimiser=minbert", "plan.weight_decay=0.01"), {}),
    "ema": (("plan.average=ema",), {}),
    "mean of epochs": (("plan.average=mean",), {}),
    "values": ((), {"label": "score"}),
    "cross pairs in random order": (("pair={name: cross, order: random}",), PAIR),
    "siamese": (("pair=siamese", "head=siamese_concat"), PAIR),
    "smart": (("losses={task: cross_entropy, smart: smart}",), {}),
    "r-drop": (("losses={task: cross_entropy, r_drop: r_drop}",), {}),
    "simcse": (("losses={task: cross_entropy, simcse: simcse}",), {}),
    "adapter": (("adapter=lora", "plan.lr=1e-2"), {}),
    "training rows again": (("plan.score_train=true",), {}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_run_is_that_of_one_process(case: str, tables: Tables) -> None:
    settings, data = CASES[case]
    prepared = tables.prepared("plan.epochs=2", "plan.clip_norm=0.5", *settings, **data)
    alone, before = trained(prepared, 1)
    for shares in (2, 3):
        found, reports = trained(prepared, shares)
        assert_near(alone, found)
        for one, other in zip(steps(before), steps(reports), strict=True):
            assert other == pytest.approx(one, rel=1e-3, abs=1e-5)
        assert len(epochs(before)) == len(epochs(reports))


def test_the_same_number_of_processes_gives_the_same_bits(tables: Tables) -> None:
    prepared = tables.prepared("plan.epochs=2")
    one, first = trained(prepared, 2)
    other, second = trained(prepared, 2)
    assert (steps(first), epochs(first)) == (steps(second), epochs(second))
    assert all(torch.equal(one[name], other[name]) for name in one)
    alone, _ = trained(prepared, 1)
    assert any(not torch.equal(alone[name], one[name]) for name in alone)


# ------------------------------------------------------------------------------ what may go wrong


def children() -> list[int]:
    own = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    return [int(each) for each in own.read_text().split()]


def begun(prepared: Prepared, shares: int = 3) -> Iterator[Any]:
    models = build_models(prepared)
    how = replace(prepared.settings, shares=shares)
    return train_loop(models, prepared.plan, prepared.streams, how)


def test_processes_end_with_the_phase_and_with_whoever_leaves(tables: Tables) -> None:
    before = children()
    reports = begun(tables.prepared("plan.epochs=1"))
    next(reports)
    assert len(children()) == len(before) + 2
    reports.close()  # type: ignore[attr-defined]
    assert children() == before
    assert len(list(begun(tables.prepared("plan.epochs=1")))) > 1
    assert children() == before


def test_a_killed_process_is_one_line(tables: Tables) -> None:
    before = children()
    reports = begun(tables.prepared())
    next(reports)
    os.kill(next(each for each in children() if each not in before), signal.SIGKILL)
    with pytest.raises(TrainingError, match=r"process 1 of this run has ended: it was killed"):
        list(reports)
    assert children() == before


def test_errors_of_a_process_arrive(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of its own alone, of rows that no other process computes."""
    here, real = os.getpid(), TaskModel.forward

    def failing(error: Exception) -> Any:
        def forward(self: TaskModel, *rest: Any, **how: Any) -> Any:
            if os.getpid() != here:
                raise error
            return real(self, *rest, **how)

        return forward

    monkeypatch.setattr(TaskModel, "forward", failing(TrainingError("no such word")))
    with pytest.raises(TrainingError, match=r"^no such word$"):
        list(begun(tables.prepared()))
    monkeypatch.setattr(TaskModel, "forward", failing(ValueError("a bug")))
    with pytest.raises(RuntimeError, match=r"in process \d of this run:[\s\S]*ValueError: a bug"):
        list(begun(tables.prepared()))


def test_a_loss_that_is_not_finite_is_told_once(tables: Tables) -> None:
    prepared = tables.prepared()
    models = build_models(prepared)
    for parameter in models["train"].head.parameters():
        parameter.data.fill_(float("nan"))
    how = replace(prepared.settings, shares=3)
    with pytest.raises(TrainingError, match="the loss is not finite") as caught:
        list(train_loop(models, prepared.plan, prepared.streams, how))
    assert len(caught.value.lines) == 1


def test_fewer_rows_than_processes(tables: Tables) -> None:
    prepared = tables.prepared("plan.epochs=1", "plan.batch_size=2")
    alone, before = trained(prepared, 1)
    found, reports = trained(prepared, 5)
    assert_near(alone, found)
    assert len(steps(reports)) == len(steps(before))


def test_a_killed_run_leaves_no_process_and_no_lock(
    warm: Warm, tables: Tables, tmp_path: Path
) -> None:
    words = ["train", tables.train, "--dev", tables.dev, "--text", "text", "--label", "verdict"]
    words += [*tables.settings, "plan.epochs=2", "shares=3", "--runs", tmp_path]
    process = warm.start(words, checkpoint_steps=2, slow=0.02)
    outcome = warm.wait(process, kill_after=2.5)
    assert outcome.code == -signal.SIGKILL, outcome.err
    again = warm.run(words, checkpoint_steps=2)  # at once: no lock is held
    assert again.code == 0, again.err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("shares=2", "threads=2"), "expected threads=1 beside several processes"),
        (("shares=0",), "shares"),
        (("shares=many",), "shares"),
    ],
)
def test_what_shares_may_not_be(settings: tuple[str, ...], message: str, tables: Tables) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        tables.prepared(*settings)
    assert len(caught.value.lines) == 1


def test_how_a_run_is_divided(monkeypatch: pytest.MonkeyPatch, tables: Tables) -> None:
    monkeypatch.setattr(hardware, "cores", lambda: 12)
    recipe = tables.recipe().model_copy(update={"threads": None})
    cases = {50.0: (12, 1), 199.0: (12, 1), 250.0: (1, 2), 320.0: (1, 3), 5000.0: (1, 8)}
    assert {n: hardware.division_of(recipe, "cpu", n) for n in cases} == cases
    assert hardware.division_of(recipe, "cuda", 5000) == (12, 1)
    assert hardware.division_of(tables.recipe(), "cpu", 5000) == (1, 1)
    one = recipe.model_copy(update={"shares": 1})
    assert hardware.division_of(one, "cpu", 5000) == (12, 1)
    named = recipe.model_copy(update={"shares": 16})
    assert hardware.division_of(named, "cpu", 50) == (1, 16)
    with pytest.raises(RecipeError, match="on a GPU a run is one process"):
        hardware.division_of(named, "cuda", 50)
    monkeypatch.setattr(hardware, "can_fork", lambda: False)
    assert hardware.division_of(recipe, "cpu", 5000) == (12, 1)
    with pytest.raises(RecipeError, match="a run is one process: shares=1"):
        hardware.division_of(named, "cpu", 50)


def test_one_process_keeps_the_name_of_a_run_and_several_have_their_own(tables: Tables) -> None:
    names = {n: tables.prepared(f"shares={n}").name for n in (1, 2, 3)}
    assert names[1] == tables.prepared().name
    assert len(set(names.values())) == 3

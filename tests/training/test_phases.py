"""Phases: what each trains, where it ends, and which comes next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from conftest import Tables
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from encore import catalogue
from encore.encoder.families import bert
from encore.model.task_model import Branch, TaskModel
from encore.runs.prepare import build_models
from encore.training import phases
from encore.training.groups import groups_of
from encore.training.loop import train_loop
from encore.training.optimiser import adamw
from encore.training.reports import EvalReport, StepReport
from encore.training.state import FitState, freeze
from encore.types import OptimiserSettings, Phase

CONFIG = {
    "model_type": "bert",
    "vocab_size": 30,
    "hidden_size": 8,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 12,
    "type_vocab_size": 2,
}


def tiny() -> dict[str, TaskModel]:
    """Three layers, the checkpoint's pooler and a head."""
    encoder = bert.build(CONFIG)
    shape = replace(encoder.shape, pooler=nn.Linear(8, 8))
    pooling = catalogue.build("pooling", "pooler", shape)
    head = catalogue.build("heads", "linear", pooling.width, 2)
    return {"task": TaskModel([Branch(encoder, pooling)], head)}


PARTS = st.lists(
    st.sampled_from(["all", "heads", "pooler", "embeddings", "top:0", "top:2", "top:9"]),
    min_size=1,
    unique=True,
)


@settings(max_examples=60, deadline=None)
@given(
    parts=PARTS,
    optimiser=st.sampled_from(["torch", "minbert"]),
    layer_decay=st.sampled_from([1.0, 0.95, 0.5]),
    head_multiplier=st.sampled_from([1.0, 10.0]),
    embedding_lr=st.sampled_from([None, 0.0, 5e-6]),
    decay_embeddings=st.booleans(),
)
def test_groups_partition_what_trains(parts: list[str], **rates: object) -> None:
    """By every combination of selectors and rates, in the optimiser and in the table of it."""
    models = tiny()
    phase = Phase(
        ("task",),
        1,
        1e-5,
        weight_decay=0.1,
        trainable="+".join(parts),
        rates=OptimiserSettings(**rates),  # type: ignore[arg-type]
    )
    state = FitState(models)
    freeze(models, phase, state.infos)
    optimiser = adamw(state.parameters, phase, state.infos)
    trained = [p for p in models["task"].parameters() if p.requires_grad]
    grouped = [p for group in optimiser.param_groups for p in group["params"]]
    assert sorted(map(id, grouped)) == sorted(map(id, trained))
    found = groups_of(optimiser, state.infos, phase.lr)
    assert sum(group.n_tensors for group in found) == len(trained)
    assert sum(group.n_parameters for group in found) == sum(p.numel() for p in trained)
    keys = [(group.role, group.depth, group.lr, group.weight_decay) for group in found]
    assert len(set(keys)) == len(keys)


def test_the_table_has_the_rates_of_each_depth() -> None:
    models = tiny()
    rates = OptimiserSettings(optimiser="minbert", layer_decay=0.5, head_multiplier=10)
    phase = Phase(("task",), 1, 0.01, weight_decay=0.1, rates=rates)
    state = FitState(models)
    found = groups_of(adamw(state.parameters, phase, state.infos), state.infos, phase.lr)
    block = 4 * (8 * 8 + 8) + 2 * 8 * 16 + 16 + 8 + 4 * 8
    assert [
        (each.role, each.depth, each.lr, each.weight_decay, each.n_parameters) for each in found
    ] == [
        ("tables", 0, 0.01, 0.1, (30 + 12) * 8),
        ("embeddings", 0, 0.01, 0.1, (2 + 2) * 8),
        ("block", 1, 0.0025, 0.1, block),
        ("block", 2, 0.005, 0.1, block),
        ("block", 3, 0.01, 0.1, block),
        ("pooler", None, 0.01, 0.1, 8 * 8 + 8),
        ("head", None, 0.1, 0.1, 8 * 2 + 2),
    ]


def started(tables: Tables, *settings: str) -> list[tuple[int, int, int, int, int]]:
    """Step, number, epochs, tensors and parameters of every phase that training enters."""
    prepared = tables.prepared(*settings)
    models = build_models(prepared)
    reports = train_loop(models, prepared.plan, prepared.streams, prepared.settings)
    return [
        (
            report.step,
            report.phase.number,
            report.phase.epochs,
            sum(group.n_tensors for group in report.phase.groups),
            len({group.depth for group in report.phase.groups if group.role == "block"}),
        )
        for report in reports
        if isinstance(report, StepReport) and report.phase is not None
    ]


def test_each_phase_is_announced_once_with_its_first_step(tables: Tables) -> None:
    """Gradual unfreezing of an encoder with two layers, a phase for every epoch of six steps."""
    found = started(tables, "plan.name=gradual_unfreezing", "plan.epochs=6")
    assert [each[:3] for each in found] == [(1 + 6 * n, n + 1, 1) for n in range(6)]
    n_tensors = [each[3] for each in found]
    assert [each[4] for each in found] == [0, 1, 2, 2, 2, 2]
    assert n_tensors[0] < n_tensors[1] < n_tensors[2] < n_tensors[3]
    assert n_tensors[3:] == [n_tensors[3]] * 3
    assert started(tables, "plan.epochs=2")[0][:3] == (1, 1, 2)


def state_of(plan: Sequence[Phase], *, phase: int, epochs: int, waited: int) -> FitState:
    """A state between two epochs."""
    state = FitState(tiny())
    state.phase, state.phase_epoch, state.phase_step, state.waited = phase, epochs, 7, waited
    return state


LP_FT = catalogue.build("plans", {"name": "lp_ft", "probe_epochs": 2, "epochs": 4})(("task",))
GRADUAL = catalogue.build("plans", {"name": "gradual_unfreezing", "epochs": 9})(("task",))


@pytest.mark.parametrize(
    ("plan", "phase", "epochs", "waited", "over", "following"),
    [
        (LP_FT, 0, 1, 0, False, None),
        (LP_FT, 0, 2, 0, True, 1),
        (LP_FT, 0, 1, 2, True, 1),  # stopped early: the second phase still comes
        (LP_FT, 1, 2, 1, False, None),
        (LP_FT, 1, 2, 2, True, 2),
        (LP_FT, 1, 4, 0, True, 2),
        (GRADUAL, 1, 1, 2, True, 2),  # a layer more
        (GRADUAL, 3, 1, 2, True, 4),  # the embeddings join
        (GRADUAL, 4, 1, 1, True, 5),
        (GRADUAL, 4, 1, 2, True, 9),  # of three layers all train: nothing more would
    ],
)
def test_early_stopping_ends_the_phase(
    plan: Sequence[Phase], phase: int, epochs: int, waited: int, over: bool, following: int | None
) -> None:
    state = state_of(plan, phase=phase, epochs=epochs, waited=waited)
    assert phases.is_over(state, plan, 2) is over
    assert phases.is_last(state, plan, 2) is (following == len(plan))
    if following is not None:
        phases.advance(state, plan, 2)
        assert (state.phase, state.phase_epoch, state.phase_step) == (following, 0, 0)
        assert state.waited == (0 if waited >= 2 else waited)
        assert not phases.is_over(state, [*plan, plan[-1]], 2), "a phase has one epoch at least"


def test_a_run_goes_on_behind_a_phase_that_was_stopped(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No epoch is better than the first: each phase ends after the next one."""
    figures = iter([0.5, *[0.4] * 20])
    monkeypatch.setattr("encore.training.loop._deciding", lambda stream, sets: next(figures))
    prepared = tables.prepared(
        "plan.name=gradual_unfreezing", "plan.every=3", "plan.epochs=15", "plan.keep=best"
    )
    models = build_models(prepared)
    limited = replace(prepared.settings, patience=1)
    found = list(train_loop(models, prepared.plan, prepared.streams, limited))
    entered = [
        report.phase.number
        for report in found
        if isinstance(report, StepReport) and report.phase is not None
    ]
    ends = [report for report in found if isinstance(report, EvalReport)]
    # Two layers: heads, one, two, embeddings too. The fifth phase would train what the fourth did.
    assert entered == [1, 2, 3, 4]
    assert [report.is_last for report in ends] == [False] * 4 + [True]
    assert [report.epoch for report in ends] == [1, 2, 3, 4, 5]
    assert [report.is_best for report in ends] == [True, False, False, False, False]
    assert math.isclose(ends[0].selected or 0, 0.5)

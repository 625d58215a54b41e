"""The estimate of a dry run: its counts are those of the run itself, its time and memory are of the
right size.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from encore import catalogue
from encore.api import prepared_from
from encore.model.parameters import unique_parameters
from encore.runs import cost as estimating
from encore.runs.cost import estimate_cost
from encore.runs.execute import execute
from encore.runs.prepare import build_models
from encore.runs.prepared import Prepared
from encore.training.loop import TrainSettings, train_loop
from encore.training.reports import StepReport
from encore.training.state import FitState

EVEN = catalogue.build("mixing", "even")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimating, "_PROBE_SECONDS", 0.05)


def prepared(tables: Any, *settings: str) -> Prepared:
    return prepared_from(
        tables.train,
        (*tables.settings, *settings),
        dev=str(tables.dev),
        text="text",
        label="verdict",
    )


PAIRS = ("data.text_pair=other", "pooling=cls")
COUNTED = {
    "plain": (),
    "batches": ("plan.batch_size=13", "plan.epochs=2"),
    "frozen": ("plan.freeze_encoder=true",),
    "frozen pooler": ("plan.freeze_encoder=true", "pooling={name: concat, of: [pooler, mha]}"),
    "either order": (*PAIRS, "pair={name: cross, order: random}"),
    "apart": (*PAIRS, "pair=siamese", "head=siamese_concat"),
}


@pytest.mark.parametrize("settings", COUNTED.values(), ids=COUNTED)
def test_counts_are_those_of_the_run(tables: Any, settings: tuple[str, ...]) -> None:
    one = prepared(tables, *settings)
    cost = estimate_cost(one)
    models = build_models(one)
    assert cost.parameters == sum(
        parameter.numel() for parameter in unique_parameters(models).values()
    )
    state = FitState(models)
    state.narrow(one.streams)
    steps = [
        report
        for report in train_loop(
            models, one.plan, one.streams, TrainSettings(seed=1, mixing=EVEN), state=state
        )
        if isinstance(report, StepReport)
    ]
    assert cost.steps == len(steps)
    assert cost.trained == sum(
        parameter.numel()
        for parameter in unique_parameters(models).values()
        if parameter.requires_grad
    )
    assert cost.tokens_per_epoch == sum(report.n_tokens for report in steps if report.epoch == 1)


def test_time_grows_with_what_is_asked_for(tables: Any) -> None:
    short, long = (prepared(tables, f"plan.epochs={epochs}") for epochs in (1, 400))
    assert estimate_cost(long).seconds > 5 + estimate_cost(short).seconds


@pytest.mark.nightly
def test_time_is_of_the_right_size(tables: Any, tmp_path: Path) -> None:
    """Within a factor of two on a quiet machine, which nobody promises the tests; so six."""
    one = prepared(tables, "plan.epochs=30")
    guessed = estimate_cost(one).seconds - estimating._PROGRAM_SECONDS
    spent = execute(one, tmp_path)
    trained = spent.epochs * estimate_cost(one).tokens_per_epoch / spent.tokens_per_second
    assert guessed / 6 < trained < guessed * 6


def test_the_machine_is_left_as_it_was(tables: Any) -> None:
    import torch

    one = prepared(tables)
    before = torch.get_num_threads(), torch.get_rng_state().tolist()
    estimate_cost(dataclasses.replace(one, threads=2))
    assert (torch.get_num_threads(), torch.get_rng_state().tolist()) == before


def test_a_loss_that_reads_a_batch_twice_costs_twice(
    tables: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seconds are counted with one per token and block forwards and backwards, none forwards."""
    monkeypatch.setattr(estimating, "_seconds_per_token", lambda *_: (1.0, 0.0))
    once = prepared(tables)
    plain = estimate_cost(once)
    twice = estimate_cost(prepared(tables, "losses={task: cross_entropy, again: simcse}"))
    (phase,) = once.plan
    n_layers = 2
    assert twice.seconds - plain.seconds == pytest.approx(
        plain.tokens_per_epoch * n_layers * phase.epochs
    )

"""A plan is a list of phases that can be printed."""

from __future__ import annotations

import pytest

from encore import catalogue
from encore.errors import RecipeError
from encore.techniques.curves.constant import ConstantCurve
from encore.techniques.curves.linear import LinearCurve
from encore.techniques.plans.fine_tune import FineTune
from encore.types import Phase

NAMES = catalogue.names("plans")


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_is_phases_over_the_tasks_that_it_is_given(name: str) -> None:
    plan = catalogue.build("plans", name)(("sts", "quora"))
    assert plan
    assert all(
        isinstance(phase, Phase) and phase.epochs >= 1 and set(phase.tasks) <= {"sts", "quora"}
        for phase in plan
    )
    assert set().union(*(phase.tasks for phase in plan)) == {"sts", "quora"}
    assert all(0 <= phase.curve(step, 7) <= 1 for phase in plan for step in range(7))


def test_fine_tune_is_one_phase_with_what_it_was_given() -> None:
    (phase,) = FineTune(
        epochs=3,
        lr=2e-5,
        batch_size=16,
        curve="constant",
        warmup_frac=0.25,
        weight_decay=0.1,
        clip_norm=None,
    )(("rte",))
    assert (
        phase.tasks,
        phase.epochs,
        phase.lr,
        phase.batch_size,
        phase.weight_decay,
        phase.clip_norm,
    ) == (("rte",), 3, 2e-5, 16, 0.1, None)
    assert phase.trainable == "all"
    assert isinstance(phase.curve, ConstantCurve)
    assert phase.curve.warmup_frac == 0.25


def test_fine_tune_alone_is_the_protocol_of_the_field() -> None:
    """Four epochs, 5e-5, batches of 32, a tenth of warm-up, linear decay, weight decay .01,
    gradients clipped at 1.
    """
    (phase,) = FineTune()(("rte",))
    assert (phase.epochs, phase.lr, phase.batch_size, phase.weight_decay, phase.clip_norm) == (
        4,
        5e-5,
        32,
        0.01,
        1.0,
    )
    assert isinstance(phase.curve, LinearCurve)
    assert phase.curve.warmup_frac == 0.1


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(RecipeError, match="warmup_frac"):
        FineTune(warmup_frac=1.0)

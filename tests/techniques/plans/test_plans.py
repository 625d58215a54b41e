"""A plan is a list of phases that can be printed."""

from __future__ import annotations

import pytest

from encore import catalogue
from encore.errors import RecipeError
from encore.techniques.curves.constant import ConstantCurve
from encore.techniques.curves.linear import LinearCurve
from encore.techniques.plans.fine_tune import FineTune
from encore.techniques.plans.gradual_unfreezing import GradualUnfreezing
from encore.techniques.plans.lp_ft import LpFt
from encore.types import Phase, Progress

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
    curves = [phase.curve for phase in plan if phase.curve is not None]
    assert all(0 <= curve(Progress(step, 7)) <= 1 for curve in curves for step in range(7))
    assert plan[-1].selects


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


def test_lp_ft_trains_heads_alone_and_then_everything_afresh() -> None:
    """METHODS 3.5: 10 epochs at 1e-3 with a frozen encoder, then the plan's own phase."""
    probe, tuned = LpFt(epochs=10, lr=1e-5, curve="constant", warmup_frac=0.0)(("sst",))
    assert (probe.epochs, probe.lr, probe.trainable, probe.curve) == (10, 1e-3, "heads", None)
    assert (tuned.epochs, tuned.lr, tuned.trainable) == (10, 1e-5, "all")
    assert tuned.fresh_optimiser
    assert (probe.selects, tuned.selects) == (False, True)


def test_gradual_unfreezing_adds_a_layer_after_every_so_many_epochs() -> None:
    plan = GradualUnfreezing(every=2, epochs=5)(("sst",))
    assert [(phase.trainable, phase.epochs) for phase in plan] == [
        ("heads+pooler", 2),
        ("heads+pooler+top:1", 2),
        ("heads+pooler+top:2", 1),
    ]
    assert all(phase.curve_spans == "plan" and not phase.fresh_optimiser for phase in plan)

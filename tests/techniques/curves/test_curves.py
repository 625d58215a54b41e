"""METHODS 3.3, and transformers' own schedules."""

from __future__ import annotations

import math

import pytest

from encore import catalogue
from encore.errors import RecipeError
from encore.techniques.curves.constant import ConstantCurve
from encore.techniques.curves.linear import LinearCurve

NAMES = catalogue.names("curves")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("total", [1, 2, 7, 101])
@pytest.mark.parametrize("warmup_frac", [0.0, 0.1, 0.37])
def test_a_factor_lies_between_0_and_1_and_reaches_1(
    name: str, total: int, warmup_frac: float
) -> None:
    curve = catalogue.build("curves", name, warmup_frac)
    factors = [curve(step, total) for step in range(total)]
    assert all(0 <= factor <= 1 for factor in factors)
    if math.ceil(warmup_frac * total) < total:
        assert max(factors) == 1.0
        assert factors.index(1.0) == math.ceil(warmup_frac * total)


@pytest.mark.parametrize("name", NAMES)
def test_a_bare_name_is_a_complete_choice(name: str) -> None:
    assert 0 <= catalogue.build("curves", name)(3, 10) <= 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("warmup_frac", [1.0, -0.1])
def test_an_impossible_warm_up_is_refused(name: str, warmup_frac: float) -> None:
    with pytest.raises(RecipeError, match=r"warmup_frac: expected a fraction in \[0, 1\)"):
        catalogue.build("curves", name, warmup_frac)


def test_linear_by_hand() -> None:
    assert [round(LinearCurve(warmup_frac=0.2)(step, 10), 3) for step in range(10)] == [
        0.0,
        0.5,
        1.0,
        0.875,
        0.75,
        0.625,
        0.5,
        0.375,
        0.25,
        0.125,
    ]


def test_constant_by_hand() -> None:
    assert [ConstantCurve(warmup_frac=0.3)(step, 10) for step in range(10)] == [
        0.0,
        1 / 3,
        2 / 3,
        1,
        1,
        1,
        1,
        1,
        1,
        1,
    ]


@pytest.mark.parametrize(("total", "warmup_frac"), [(60, 0.1), (37, 0.25), (11, 0.0)])
def test_linear_is_that_of_transformers(total: int, warmup_frac: float) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = transformers.get_linear_schedule_with_warmup(
        optimiser, math.ceil(warmup_frac * total), total
    )
    curve = LinearCurve(warmup_frac=warmup_frac)
    for step in range(total):
        assert curve(step, total) == pytest.approx(schedule.get_last_lr()[0], rel=1e-12, abs=0)
        optimiser.step()
        schedule.step()

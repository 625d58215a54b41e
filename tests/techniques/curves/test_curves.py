"""METHODS 3.3, and transformers' own schedules."""

from __future__ import annotations

import math

import pytest

from encore import catalogue
from encore.errors import RecipeError
from encore.techniques.curves.constant import ConstantCurve
from encore.techniques.curves.cosine import CosineCurve
from encore.techniques.curves.linear import LinearCurve
from encore.techniques.curves.linear_per_epoch import LinearPerEpochCurve
from encore.techniques.curves.slanted_triangular import SlantedTriangularCurve
from encore.types import Progress

NAMES = catalogue.names("curves")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("total", [1, 2, 7, 101])
@pytest.mark.parametrize("warmup_frac", [0.0, 0.1, 0.37])
def test_a_factor_lies_between_0_and_1_and_reaches_1(
    name: str, total: int, warmup_frac: float
) -> None:
    curve = catalogue.build("curves", name, warmup_frac)
    factors = [curve(Progress(step, total)) for step in range(total)]
    assert all(0 <= factor <= 1 for factor in factors)
    # the slanted triangle rounds its rise down, and to one step at least
    top = max(1, int(warmup_frac * total)) if name == "slanted_triangular" else None
    top = math.ceil(warmup_frac * total) if top is None else top
    if top < total:
        assert max(factors) == 1.0
        assert factors.index(1.0) == top


@pytest.mark.parametrize("name", NAMES)
def test_a_bare_name_is_a_complete_choice(name: str) -> None:
    assert 0 <= catalogue.build("curves", name)(Progress(3, 10)) <= 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("warmup_frac", [1.0, -0.1])
def test_an_impossible_warm_up_is_refused(name: str, warmup_frac: float) -> None:
    with pytest.raises(RecipeError, match=r"warmup_frac: expected a fraction in \[0, 1\)"):
        catalogue.build("curves", name, warmup_frac)


def test_linear_by_hand() -> None:
    assert [round(LinearCurve(warmup_frac=0.2)(Progress(step, 10)), 3) for step in range(10)] == [
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
    assert [ConstantCurve(warmup_frac=0.3)(Progress(step, 10)) for step in range(10)] == [
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
        assert curve(Progress(step, total)) == pytest.approx(
            schedule.get_last_lr()[0], rel=1e-12, abs=0
        )
        optimiser.step()
        schedule.step()


def test_slanted_triangular_is_that_of_methods() -> None:
    """METHODS 3.3: S = 100, 0.01 at most; and S = 95, where the printed formula turns negative."""
    curve = SlantedTriangularCurve()
    found = [0.01 * curve(Progress(step, 100)) for step in (0, 5, 10, 55, 100)]
    assert found == pytest.approx([3.125e-4, 5.15625e-3, 0.01, 5.15625e-3, 3.125e-4], rel=1e-12)
    assert 0.01 * curve(Progress(95, 95)) == pytest.approx(3.125e-4, rel=1e-12)
    assert min(curve(Progress(step, 95)) for step in range(95)) == 1 / 32
    assert [curve(Progress(step, 3)) for step in range(3)] == [1 / 32, 1.0, pytest.approx(33 / 64)]


def test_linear_per_epoch_falls_by_an_absolute_amount() -> None:
    """METHODS 3.3: 1e-5 − 4e-7·e, the last of 20 epochs at 2.4e-6, and never below 0."""
    curve = LinearPerEpochCurve()
    rates = [1e-5 * curve(Progress(7, 40, epoch, 20, 1e-5)) for epoch in range(20)]
    assert rates == pytest.approx([1e-5 - 4e-7 * epoch for epoch in range(20)], rel=1e-9)
    assert curve(Progress(0, 90, 30, 31, 1e-5)) == 0.0


@pytest.mark.parametrize("warmup_frac", [0.0, 0.1])
def test_cosine_is_that_of_transformers(warmup_frac: float) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    total = 37
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    warmup = math.ceil(warmup_frac * total)
    schedule = transformers.get_cosine_schedule_with_warmup(optimiser, warmup, total)
    curve = CosineCurve(warmup_frac=warmup_frac)
    for step in range(total):
        expected = pytest.approx(schedule.get_last_lr()[0], rel=1e-12, abs=1e-15)
        assert curve(Progress(step, total)) == expected
        optimiser.step()
        schedule.step()

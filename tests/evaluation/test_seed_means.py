"""Intervals of means over seeds: by hand, within the range of the metric, and their coverage."""

import math

import numpy as np
import pytest

from encore import catalogue
from encore.evaluation.seed_means import mean_interval

RATE, CORRELATION, AMOUNT = (0.0, 1.0), (-1.0, 1.0), (0.0, math.inf)


def test_a_rate_by_hand() -> None:
    """Mean .8, standard error .1 / √3, t = 4.30265, logit 1.38629, derivative 1 / .16."""
    found = mean_interval((0.7, 0.8, 0.9), RATE)
    half = 4.30265 * 0.1 / math.sqrt(3) / 0.16
    assert found.low == pytest.approx(1 / (1 + math.exp(half - math.log(4))), abs=1e-6)
    assert found.high == pytest.approx(1 / (1 + math.exp(-half - math.log(4))), abs=1e-6)


def test_a_correlation_is_on_fisher_s_scale() -> None:
    found = mean_interval((0.4, 0.5, 0.6), CORRELATION)
    half = 4.30265 * 0.1 / math.sqrt(3) / (1 - 0.5**2)
    assert found.low == pytest.approx(math.tanh(math.atanh(0.5) - half), abs=1e-6)
    assert found.high == pytest.approx(math.tanh(math.atanh(0.5) + half), abs=1e-6)


def test_an_amount_is_on_a_logarithmic_scale() -> None:
    found = mean_interval((1.0, 2.0, 3.0), AMOUNT)
    factor = math.exp(4.30265 / math.sqrt(3) / 2)
    assert (found.low, found.high) == (
        pytest.approx(2 / factor, abs=1e-5),
        pytest.approx(2 * factor, abs=1e-4),
    )


@pytest.mark.parametrize("values", [(), (0.7,), (0.528, 0.916)])
def test_no_interval_below_three_seeds(values: tuple[float, ...]) -> None:
    assert mean_interval(values, RATE) is None


@pytest.mark.parametrize("value", [0.0, 0.6, 1.0])
def test_seeds_that_change_nothing_have_an_interval_without_width(value: float) -> None:
    found = mean_interval((value,) * 3, RATE)
    assert (found.low, found.high) == (pytest.approx(value), pytest.approx(value))


@pytest.mark.parametrize("bounds", [RATE, CORRELATION, AMOUNT])
def test_no_interval_leaves_the_range(bounds: tuple[float, float]) -> None:
    """Also where seeds are faultless, or at chance."""
    draw = np.random.default_rng(0)
    top = bounds[1] if math.isfinite(bounds[1]) else 5.0
    for n_seeds in (3, 4, 10):
        for _ in range(200):
            values = draw.choice(np.linspace(bounds[0], top, 21), n_seeds) ** 1.0
            found = mean_interval(tuple(values), bounds)
            assert bounds[0] <= found.low <= values.mean() + 1e-12
            assert values.mean() - 1e-12 <= found.high <= bounds[1]


@pytest.mark.parametrize("n_seeds", [3, 5, 10])
@pytest.mark.parametrize(("mean", "sd"), [(0.72, 0.045), (0.95, 0.02), (0.2, 0.12)])
def test_it_covers_the_truth_as_its_docstring_says(mean: float, sd: float, n_seeds: int) -> None:
    draw = np.random.default_rng(1)
    size = mean * (1 - mean) / sd**2 - 1
    studies = draw.beta(mean * size, (1 - mean) * size, (2000, n_seeds))
    found = [mean_interval(tuple(values), RATE) for values in studies]
    covered = sum(one.low <= mean <= one.high for one in found) / len(found)
    assert covered == pytest.approx(0.95, abs=0.015)


def test_every_metric_has_bounds_that_hold_its_values() -> None:
    bounds = {name: catalogue.find("metrics", name).bounds for name in catalogue.names("metrics")}
    assert bounds["accuracy"] == bounds["lrap"] == bounds["normalised_pearson"] == RATE
    assert bounds["mcc"] == bounds["pearson"] == bounds["spearman"] == CORRELATION
    assert bounds["log_loss"] == bounds["rmse"] == AMOUNT

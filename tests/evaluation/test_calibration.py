"""The calibration error against a slow count by hand, and what chance alone makes of it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encore.errors import RecipeError
from encore.evaluation.calibration import confidences, pool_runs, reliability
from encore.types import LabelSpace

THREE = LabelSpace("multiclass", ("bad", "fair", "good"))
TAGS = LabelSpace("multilabel", ("price", "size"))


def slow_ece(probs: list[float], correct: list[bool], n_bins: int) -> float:
    """Bin by bin, row by row: Guo et al. 2017, eq. 3, with bins ((m − 1)/M, m/M]."""
    error = 0.0
    for number in range(1, n_bins + 1):
        inside = [
            at
            for at, p in enumerate(probs)
            if (number - 1) / n_bins < p <= number / n_bins or (p == 0 and number == 1)
        ]
        if inside:
            confidence = math.fsum(probs[at] for at in inside) / len(inside)
            accuracy = sum(correct[at] for at in inside) / len(inside)
            error += len(inside) / len(probs) * abs(accuracy - confidence)
    return error


def test_by_hand() -> None:
    # (0.4, 0.5]: 0.5, which did not come true; (0.5, 0.6]: 0.55, 0.58 → mean .565, one of two;
    # (0.9, 1]: 0.95, 1.0, 1.0 → mean .98333, all.
    found = reliability(
        np.array([0.5, 0.55, 0.58, 0.95, 1.0, 1.0]),
        np.array([False, True, False, True, True, True]),
        seed=1,
    )
    assert found.n.tolist() == [0, 0, 0, 0, 1, 2, 0, 0, 0, 3]
    assert found.confidence[[4, 5, 9]] == pytest.approx([0.5, 0.565, 2.95 / 3])
    assert found.accuracy[[4, 5, 9]].tolist() == [0.0, 0.5, 1.0]
    assert np.isnan(found.confidence[0])
    assert found.ece == pytest.approx(1 / 6 * 0.5 + 2 / 6 * 0.065 + 3 / 6 * (1 - 2.95 / 3))
    assert found.excess == pytest.approx((0.5 + 0.55 + 0.58 + 2.95 - 4) / 6)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60), st.integers(1, 17)
)
def test_it_is_the_slow_count(rows: list[tuple[float, bool]], n_bins: int) -> None:
    probs, correct = ([one[at] for one in rows] for at in (0, 1))
    edges = np.linspace(0, 1, n_bins + 1)
    # Where m/M as a double and the edge of linspace differ in the last bit, a probability between
    # the two has no right bin.
    rounded = [p for p in probs if np.abs(p - edges).min() < 1e-12 and p not in edges]
    if not rounded:
        found = reliability(np.array(probs), np.array(correct), seed=0, n_bins=n_bins).ece
        assert found == pytest.approx(slow_ece_at(edges, probs, correct), abs=1e-9)
        if not any(p in edges for p in probs):
            assert found == pytest.approx(slow_ece(probs, correct, n_bins), abs=1e-9)


def slow_ece_at(edges: np.ndarray, probs: list[float], correct: list[bool]) -> float:
    error = 0.0
    for low, high in itertools.pairwise(edges):
        inside = [at for at, p in enumerate(probs) if low < p <= high or (p == low == 0)]
        error += abs(
            sum(correct[at] for at in inside) - math.fsum(probs[at] for at in inside)
        ) / len(probs)
    return error


def test_a_calibrated_model_shows_what_chance_predicts() -> None:
    draw = np.random.default_rng(3)
    found = []
    for _ in range(300):
        probs = draw.uniform(0.5, 1, 53)
        found.append(reliability(probs, draw.random(53) < probs, seed=5))
    assert np.mean([one.ece for one in found]) == pytest.approx(
        np.mean([one.expected_ece[0] for one in found]), rel=0.05
    )
    beyond = np.mean([one.ece > one.expected_ece[1] for one in found])
    assert 0.02 < beyond < 0.09, "the 95 % quantile is passed in 5 % of all cases"
    assert np.mean([one.ece for one in found]) > 0.08, (
        "on 53 rows a perfect model's error is far from 0"
    )


def test_who_is_too_sure_is_found_out() -> None:
    draw = np.random.default_rng(4)
    probs = draw.uniform(0.8, 1, 400)
    found = reliability(probs, draw.random(400) < probs - 0.25, seed=5)
    assert found.ece > found.expected_ece[1]
    assert found.excess == pytest.approx(0.25, abs=0.06)


def test_what_is_claimed() -> None:
    scores = np.log([[0.2, 0.5, 0.3], [0.7, 0.2, 0.1]])
    probs, correct = confidences(scores, np.array([1, 2]), THREE)
    assert probs == pytest.approx([0.5, 0.7])
    assert correct.tolist() == [True, False]
    probs, correct = confidences(np.array([[0.0, math.log(3)]]), np.array([[0, 1]]), TAGS)
    assert probs == pytest.approx([0.5, 0.75])
    assert correct.tolist() == [False, True]
    with pytest.raises(RecipeError, match="no probabilities"):
        confidences(np.zeros((2, 1)), np.zeros(2), LabelSpace("regression"))


def test_errors_of_several_runs_do_not_cancel() -> None:
    sure = reliability(np.full(10, 0.8), np.zeros(10, bool), seed=0)
    unsure = reliability(np.full(10, 0.8), np.ones(10, bool), seed=0)
    both = pool_runs([sure, unsure])
    assert both.ece == pytest.approx((0.8 + 0.2) / 2)
    assert both.n.sum() == 20
    assert (both.confidence[7], both.accuracy[7]) == pytest.approx((0.8, 0.5))
    assert both.expected_ece == pytest.approx(
        np.mean([sure.expected_ece, unsure.expected_ece], axis=0)
    )
    assert pool_runs([sure]).ece == sure.ece

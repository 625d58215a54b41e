"""Shares of the rows by the classes between prediction and truth, where classes have an order."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from encore import catalogue
from encore.evaluation.bootstrap import bootstrap_interval
from encore.evaluation.distances import DistanceShare, has_distances, shares_by_distance
from encore.evaluation.estimates import Estimate
from encore.tables.distances import distances_of_variants, distances_table
from encore.types import LabelSpace

STARS = LabelSpace("multiclass", ("1", "2", "3", "4", "5"), ordered=True)


def scores_of(predicted: list[int], n: int = 5) -> np.ndarray:
    return np.eye(n)[predicted] * 2


def test_shares_by_hand() -> None:
    #          0  0  1  1  2  0  3  0
    truth = [0, 1, 2, 3, 4, 2, 1, 3]
    model = [0, 1, 1, 4, 2, 2, 4, 3]
    found = shares_by_distance(scores_of(model), np.array(truth), STARS, 0)
    assert [(one.words, one.n_rows, one.share.value) for one in found] == [
        ("0", 4, 0.5),
        ("1", 2, 0.25),
        ("2", 1, 0.125),
        ("3", 1, 0.125),
        ("4", 0, 0.0),
    ]


def test_shares_are_those_of_a_slow_loop_and_of_the_confusion_matrix() -> None:
    draw = np.random.default_rng(3)
    scores, targets = draw.normal(size=(311, 5)), draw.integers(0, 5, 311)
    found = shares_by_distance(scores, targets, STARS, 1)
    counts = dict.fromkeys(range(5), 0)
    for row, truth in zip(scores.tolist(), targets.tolist(), strict=True):
        counts[abs(row.index(max(row)) - truth)] += 1
    assert {one.distance: one.n_rows for one in found} == counts
    assert sum(one.share.value for one in found) == pytest.approx(1)
    matrix = confusion_matrix(targets, scores.argmax(axis=1))
    for one in found:
        above, below = (np.diagonal(matrix, side * one.distance).sum() for side in (1, -1))
        assert one.n_rows == (above + below if one.distance else above)
        spread = math.sqrt(one.share.value * (1 - one.share.value) / 311)
        assert one.share.low == pytest.approx(one.share.value - 1.96 * spread, abs=0.012)
        assert one.share.high == pytest.approx(one.share.value + 1.96 * spread, abs=0.012)
        assert not one.share.notes


def test_the_exact_share_is_the_accuracy_with_its_interval() -> None:
    draw = np.random.default_rng(4)
    scores, targets = draw.normal(size=(97, 5)), draw.integers(0, 5, 97)
    (exact, *_) = shares_by_distance(scores, targets, STARS, 6)
    accuracy = catalogue.find("metrics", "accuracy")
    ends = bootstrap_interval(accuracy, scores, targets, STARS, seed=6)
    assert (exact.share.value, exact.share.low, exact.share.high) == (
        pytest.approx(accuracy(scores, targets, STARS)),
        ends.low,
        ends.high,
    )


def test_intervals_draw_groups() -> None:
    """All rows of a group are alike here, so 400 rows tell what 40 do: √10 times the width."""
    draw = np.random.default_rng(5)
    truth, model = draw.integers(0, 5, 40), draw.integers(0, 5, 40)
    groups = np.repeat(np.arange(40), 10)
    scores, targets = scores_of(np.repeat(model, 10).tolist()), np.repeat(truth, 10)
    of_rows = shares_by_distance(scores, targets, STARS, 0)
    of_groups = shares_by_distance(scores, targets, STARS, 0, groups=groups)
    for row, group in zip(of_rows[:3], of_groups[:3], strict=True):
        assert (row.n_rows, row.share.value) == (group.n_rows, group.share.value)
        wider = (group.share.high - group.share.low) / (row.share.high - row.share.low)
        assert wider == pytest.approx(math.sqrt(10), rel=0.15)


def test_a_distance_that_no_row_has_is_told_with_what_may_be_true() -> None:
    found = shares_by_distance(scores_of([0, 1, 2] * 20), np.array([0, 1, 1] * 20), STARS, 0)
    highest = 100 * (1 - 0.05 ** (1 / 60))  # about 3 / rows
    assert highest == pytest.approx(4.87, abs=0.01)
    note = "none in 60 rows, so the interval has no width; the true share may well be 4.9 %"
    assert [one.share for one in found[2:]] == [Estimate(0.0, 0.0, 0.0, (note,))] * 3
    assert distances_table(found).notes[1:] == (f"off by 2, 3 and 4: {note}.",)
    groups = np.repeat(np.arange(12), 5)
    clustered = shares_by_distance(
        scores_of([0, 1, 2] * 20), np.array([0, 1, 1] * 20), STARS, 0, groups=groups
    )
    assert clustered[4].share.notes[0].startswith("none in 12 groups, ")
    assert clustered[4].share.notes[0].endswith("22.1 %")


def test_far_distances_are_one_line() -> None:
    labels = LabelSpace("multiclass", tuple(map(str, range(40))), ordered=True)
    targets = np.zeros(40, int)
    found = shares_by_distance(scores_of(list(range(40)), 40), targets, labels, 0, n_resamples=9)
    assert [(one.words, one.n_rows) for one in found] == [
        *((str(distance), 1) for distance in range(10)),
        ("10 or more", 30),
    ]
    eleven = LabelSpace("multiclass", labels.names[:11], ordered=True)
    found = shares_by_distance(np.eye(11), np.zeros(11, int), eleven, 0, n_resamples=9)
    assert (found[-1].words, found[-1].n_rows) == ("10", 1)


@pytest.mark.parametrize(
    "labels",
    [
        LabelSpace("multiclass", ("a", "b", "c")),
        LabelSpace("binary", ("0", "1"), ordered=True),
        LabelSpace("regression"),
        LabelSpace("multilabel", ("a", "b", "c")),
    ],
)
def test_none_without_an_order(labels: LabelSpace) -> None:
    assert not has_distances(labels)
    scores = np.zeros((3, labels.n_scores))
    assert shares_by_distance(scores, np.zeros(3), labels, 0) == ()


def test_tables_as_they_are_printed() -> None:
    shares = (
        DistanceShare(0, 6, Estimate(0.6, 0.3, 0.9)),
        DistanceShare(1, 3, Estimate(0.3, 0.1, 0.6)),
        DistanceShare(2, 1, Estimate(0.1, 0.0, 0.3), or_more=True),
    )
    assert str(distances_table(shares)).splitlines() == [
        "distance from the true class",
        "off by     rows                share",
        "0 (exact)     6  60.0 % [30.0, 90.0]",
        "1             3  30.0 % [10.0, 60.0]",
        "2 or more     1   10.0 % [0.0, 30.0]",
        "off by: classes between prediction and truth. [low, high]: 95 % bootstrap interval.",
    ]


def test_means_over_seeds() -> None:
    def run(*values: float) -> tuple[DistanceShare, ...]:
        return tuple(DistanceShare(at, 0, Estimate(value, 0, 1)) for at, value in enumerate(values))

    table = distances_of_variants(
        {"mean": [run(0.5, 0.5), run(0.6, 0.4)], "cls": [run(0.5, 0.5)] * 3}
    )
    assert table.columns == ("variant", "seeds", "exact", "off by 1")
    assert table.rows == (
        ("mean", "2", "55.0 %", "45.0 %"),
        ("cls", "3", "50.0 % [50.0, 50.0]", "50.0 % [50.0, 50.0]"),
    )

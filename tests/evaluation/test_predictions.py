"""The rule from scores to predictions, and the gate before every metric."""

from __future__ import annotations

import math

import numpy as np
import pytest

from encore.errors import DataError
from encore.evaluation.predictions import (
    check_finite,
    checked,
    predictions,
    probabilities,
    row_losses,
)
from encore.types import LabelSpace

BINARY = LabelSpace("binary", ("no", "yes"))
THREE = LabelSpace("multiclass", ("a", "b", "c"))
TAGS = LabelSpace("multilabel", ("p", "q"))
VALUE = LabelSpace("regression")


def test_the_highest_logit_wins_and_ties_go_to_the_first():
    assert predictions(np.array([[0.0, 0.0], [1, 2], [2, 1]]), BINARY).tolist() == [0, 1, 0]
    assert predictions(np.array([[1.0, 3, 3], [0, 0, 0], [-1, -2, 0]]), THREE).tolist() == [1, 0, 2]


def test_half_is_a_yes_for_a_label():
    scores = np.array([[0.0, -1e-30], [1e-30, -50]], dtype=np.float32)
    assert predictions(scores, TAGS).tolist() == [[1, 0], [1, 0]]
    assert probabilities(scores, TAGS)[0, 0] == 0.5


def test_regression_is_the_value():
    assert predictions(np.array([[2.5], [-1]]), VALUE).tolist() == [2.5, -1.0]
    assert probabilities(np.array([[2.5], [-1]]), VALUE).tolist() == [[2.5], [-1.0]]


def test_probabilities_by_hand():
    odds = np.log([[1.0, 3.0, 4.0]])
    np.testing.assert_allclose(probabilities(odds, THREE), [[0.125, 0.375, 0.5]])
    np.testing.assert_allclose(probabilities(np.log([[3.0, 1 / 3]]), TAGS), [[0.75, 0.25]])
    assert probabilities(np.array([[1e4, -1e4]], dtype=np.float32), BINARY).tolist() == [[1.0, 0.0]]


def test_row_losses_by_hand():
    np.testing.assert_allclose(
        row_losses(np.log([[1.0, 3.0, 4.0]] * 2), np.array([0, 2]), THREE),
        [math.log(8), math.log(2)],
    )
    np.testing.assert_allclose(
        row_losses(np.log([[3.0, 1 / 3]]), np.array([[1, 1]]), TAGS),
        [(math.log(4 / 3) + math.log(4)) / 2],
    )
    np.testing.assert_allclose(
        row_losses(np.array([[2.0], [1.0]]), np.array([5.0, 1.0]), VALUE), [9.0, 0.0]
    )


def test_the_gate_returns_clean_arrays_and_leaves_its_arguments_alone():
    scores, targets = np.zeros((3, 2), dtype=np.float32), np.array([0.0, 1, 1], dtype=np.float32)
    clean_scores, clean_targets = checked(scores, targets, BINARY)
    assert clean_scores is scores  # a copy in float64 would take twice their memory
    assert clean_targets.dtype == np.int64
    assert (scores.dtype, targets.dtype) == (np.float32, np.float32)
    values, targets = checked(np.zeros((3, 1), np.float32), np.zeros(3, np.float32), VALUE)
    assert (values.dtype, targets.dtype) == (np.float64, np.float64)


@pytest.mark.parametrize("labels", [THREE, TAGS, VALUE], ids=["classes", "labels", "values"])
def test_losses_of_many_rows_are_those_of_each(
    labels: LabelSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(3)
    scores = draw.normal(0, 3, (11, labels.n_scores)).astype(np.float32)
    targets = draw.integers(0, 2, (11, 2) if labels is TAGS else 11)
    whole = row_losses(scores, targets, labels)
    monkeypatch.setattr("encore.evaluation.predictions._SCORES_AT_ONCE", 4 * labels.n_scores)
    np.testing.assert_array_equal(row_losses(scores, targets, labels), whole)


@pytest.mark.parametrize(
    ("scores", "targets", "labels", "said"),
    [
        (np.zeros((3, 1)), np.zeros(3), BINARY, r"scores: expected shape \(3, 2\)"),
        (np.zeros(3), np.zeros(3), VALUE, r"expected shape \(3, 1\).*got \(3,\)"),
        (np.zeros((2, 2)), np.zeros(2), TAGS, r"targets: expected shape \(2, 2\)"),
        (np.zeros((0, 2)), np.zeros(0), BINARY, "at least one labelled row"),
        (
            np.zeros((2, 3)),
            np.array([0, 3]),
            THREE,
            "row 1: expected a whole number from 0 to 2, got 3",
        ),
        (np.zeros((2, 3)), np.array([-1, -1]), THREE, r"row 0: .* got -1 \(and 1 more rows\)"),
        (np.zeros((2, 3)), np.array([0, np.nan]), THREE, "row 1: .* got nan"),
        (
            np.array([[0, np.nan], [np.inf, 0], [0, 0]]),
            np.zeros(3),
            BINARY,
            r"scores, row 0: .* got nan \(and 1 more rows\)",
        ),
        (
            np.zeros((2, 1)),
            np.array([0, np.inf]),
            VALUE,
            "targets, row 1: expected a finite number, got inf",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(scores, targets, labels, said):
    with pytest.raises(DataError, match=said) as caught:
        checked(scores, targets, labels)
    assert all("\n" not in problem for problem in caught.value.lines)


def test_rows_whose_scores_are_not_finite_are_named():
    scores = np.zeros((1200, 2), dtype=np.float32)
    check_finite({"a": scores}, np.arange(1200), where="new.csv")
    scores[[1, 5, 7, 1199], 1] = [np.inf, np.nan, -np.inf, np.nan]
    places = np.arange(2, 1202)
    with pytest.raises(DataError) as caught:
        check_finite({"a": scores, "b": scores[:, :1]}, places, where="new.csv", what="line")
    assert caught.value.lines == (
        "task 'a': new.csv: the model's scores for 4 of 1,200 rows (lines 3, 7, 9, …) are not "
        "finite: expected numbers, got inf. Train it again with a lower plan.lr or with "
        "precision=fp32.",
    )
    with pytest.raises(DataError, match=r"^new.csv: .* for 1 of 2 rows \(row 2\) are not finite"):
        check_finite({"a": scores[:2]}, np.arange(1, 3), where="new.csv")

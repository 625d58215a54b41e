"""The report of a model that leaves out classes."""

import numpy as np
import pytest

from encore.evaluation.never_predicted import never_predicted
from encore.types import LabelSpace

BINARY = LabelSpace("binary", ("ham", "spam"))
FOUR = LabelSpace("multiclass", ("a", "b", "c", "d"))
TAGS = LabelSpace("multilabel", ("x", "y"))
MORE = "train longer or at a higher rate (plan.epochs, plan.lr)"
WEIGH = f"try class_weights=balanced, or {MORE}"


def hot(predicted: list[int], n: int) -> np.ndarray:
    return np.eye(n, dtype=np.float32)[predicted]


@pytest.mark.parametrize(
    ("predicted", "targets", "balanced", "found"),
    [
        (
            [0, 0, 0],
            [0, 0, 1],
            False,
            f"the model predicts 'ham' for every row, never the positive class 'spam': {WEIGH}",
        ),
        ([1, 1, 1], [0, 0, 1], False, f"the model predicts 'spam' for every row: {WEIGH}"),
        ([1, 1, 1], [0, 0, 1], True, f"the model predicts 'spam' for every row: {MORE}"),
        ([0, 0, 0], [0, 0, 0], False, None),
        ([0, 1, 0], [1, 0, 0], False, None),
    ],
)
def test_two_classes(predicted, targets, balanced, found) -> None:
    scores = hot(predicted, 2)
    assert never_predicted(scores, np.array(targets), BINARY, balanced=balanced) == found


def test_more_classes_count_where_they_occur() -> None:
    """Class d is in no row, so that nobody misses it."""
    scores, targets = hot([0, 0, 2, 2], 4), np.array([0, 1, 2, 1])
    assert never_predicted(scores, targets, FOUR, balanced=False) == (
        f"the model never predicts 1 of 4 classes ('b'): {WEIGH}"
    )
    assert never_predicted(scores, np.array([0, 0, 2, 2]), FOUR, balanced=False) is None


def test_labels_are_missed_one_by_one_or_altogether() -> None:
    """There are no class weights for several labels, so that none are proposed."""
    targets = np.array([[1, 0], [0, 1], [1, 1]])
    none = np.full((3, 2), -1.0)
    assert never_predicted(none, targets, TAGS, balanced=False) == (
        f"the model predicts no label for any row: {MORE}"
    )
    one = np.array([[1.0, -1.0], [-1.0, -1.0], [1.0, -1.0]])
    assert never_predicted(one, targets, TAGS, balanced=False) == (
        f"the model never predicts 1 of 2 labels ('y'): {MORE}"
    )


def test_one_number_for_every_row() -> None:
    value = LabelSpace("regression")
    targets = np.array([1.0, 2.0, 3.0])
    assert never_predicted(np.full((3, 1), 2.0), targets, value, balanced=False) == (
        f"the model predicts the same number for every row: {MORE}"
    )
    assert never_predicted(targets[:, None], targets, value, balanced=False) is None

"""Precision, recall and F1 of each class, by hand."""

import numpy as np

from encore.evaluation.estimates import confusion
from encore.tables.per_class import per_class_table
from encore.types import LabelSpace


def test_three_classes_of_which_one_is_never_predicted() -> None:
    labels = LabelSpace("multiclass", ("a", "b", "c"))
    predicted, targets = [0, 0, 0, 1, 1, 0], np.array([0, 0, 1, 1, 1, 2])
    matrix = confusion(np.eye(3)[predicted], targets, labels)
    assert per_class_table(matrix, labels).rows == (
        ("a", "2", "4", "50.0 %", "100.0 %", "66.7 %"),
        ("b", "3", "2", "100.0 %", "66.7 %", "80.0 %"),
        ("c", "1", "0", "–", "0.0 %", "0.0 %"),
    )


def test_the_labels_of_a_multilabel_task() -> None:
    labels = LabelSpace("multilabel", ("x", "y"))
    scores = np.array([[1.0, -1.0], [1.0, -1.0], [-1.0, -1.0]])
    targets = np.array([[1, 0], [0, 0], [1, 0]])
    assert per_class_table(confusion(scores, targets, labels), labels).rows == (
        ("x", "2", "2", "50.0 %", "50.0 %", "50.0 %"),
        ("y", "0", "0", "–", "–", "–"),
    )

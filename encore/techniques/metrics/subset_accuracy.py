"""Subset accuracy: the share of rows whose whole set of labels is right.

Source: scikit-learn, accuracy_score.
Differs: none.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import accuracy_score

from encore.evaluation.metric import Weighted, mean_of, metric
from encore.evaluation.predictions import predictions
from encore.types import LabelSpace

__all__ = ["subset_accuracy"]


def _weighted(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> Weighted:
    return mean_of((predictions(scores, labels) == targets).all(axis=1))


@metric("subset accuracy", kinds=("multilabel",), weighted=_weighted)
def subset_accuracy(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> float:
    """The share of rows whose whole set of labels is right."""
    return accuracy_score(targets, predictions(scores, labels))

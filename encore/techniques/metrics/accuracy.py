"""Accuracy: the share of rows whose highest score is the true class.

Source: scikit-learn, accuracy_score (METHODS 8.7).
Differs: none.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import accuracy_score

from encore.evaluation.metric import Weighted, mean_of, metric
from encore.evaluation.predictions import predictions
from encore.types import LabelSpace

__all__ = ["accuracy"]


def _weighted(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> Weighted:
    return mean_of(predictions(scores, labels) == targets)


@metric("accuracy", kinds=("binary", "multiclass"), weighted=_weighted)
def accuracy(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> float:
    """The share of rows whose highest score is the true class."""
    return accuracy_score(targets, predictions(scores, labels))

"""F1 of a binary task; the second label is the positive class. 0 where no row is positive, neither
in truth nor as predicted.

Source: scikit-learn, f1_score (METHODS 8.7).
Differs: none.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import f1_score

from encore.evaluation.metric import ConfusionCounts, metric
from encore.evaluation.predictions import predictions
from encore.types import LabelSpace

__all__ = ["f1"]


def _combine(
    hits: np.ndarray, predicted: np.ndarray, actual: np.ndarray, n_rows: np.ndarray
) -> np.ndarray:
    total = predicted[:, 1] + actual[:, 1]
    return 2 * hits[:, 1] / np.where(total > 0, total, 1)


@metric("F1", kinds=("binary",), weighted=ConfusionCounts(_combine))
def f1(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> float:
    """F1 of the positive class, which is the second label."""
    return f1_score(targets, predictions(scores, labels), pos_label=1, zero_division=0.0)

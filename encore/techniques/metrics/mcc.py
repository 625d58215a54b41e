"""Matthews correlation of two or more classes; 0 where its denominator is 0.

Source: Gorodkin 2004; scikit-learn, matthews_corrcoef (METHODS 8.7).
Differs: none.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import matthews_corrcoef

from encore.evaluation.metric import ConfusionCounts, metric
from encore.evaluation.predictions import predictions
from encore.types import LabelSpace

__all__ = ["mcc"]


def _combine(
    hits: np.ndarray, predicted: np.ndarray, actual: np.ndarray, n_rows: np.ndarray
) -> np.ndarray:
    covariance = hits.sum(axis=1) * n_rows - (predicted * actual).sum(axis=1)
    spread = np.sqrt(
        (n_rows**2 - (predicted**2).sum(axis=1)) * (n_rows**2 - (actual**2).sum(axis=1))
    )
    return covariance / np.where(spread > 0, spread, np.inf)


@metric(
    "MCC", kinds=("binary", "multiclass"), form="coefficient", weighted=ConfusionCounts(_combine)
)
def mcc(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> float:
    """Matthews correlation coefficient; 0 where all predictions, or all targets, are one class."""
    predicted = predictions(scores, labels)
    if (predicted == predicted[0]).all() or (targets == targets[0]).all():
        # scikit-learn says the same, with a warning about the shape of its confusion matrix
        return 0.0
    return matthews_corrcoef(targets, predicted)

"""Mean absolute error, in the unit of the targets. Lower is better.

Source: scikit-learn, mean_absolute_error.
Differs: none.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import mean_absolute_error

from encore.evaluation.metric import Weighted, mean_of, metric
from encore.types import LabelSpace

__all__ = ["mae"]


def _weighted(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> Weighted:
    return mean_of(np.abs(scores[:, 0] - targets))


@metric("MAE", kinds=("regression",), form="amount", higher_is_better=False, weighted=_weighted)
def mae(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> float:
    """Mean absolute error, in the unit of the targets."""
    return mean_absolute_error(targets, scores[:, 0])

"""Root mean squared error, in the unit of the targets. Lower is better.

Source: scikit-learn, root_mean_squared_error.
Differs: none.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import root_mean_squared_error

from encore.evaluation.metric import Weighted, additive, metric
from encore.types import LabelSpace

__all__ = ["rmse"]


def _weighted(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> Weighted:
    return additive(
        (scores - targets[:, None]) ** 2, lambda sums, n_rows: np.sqrt(sums[:, 0] / n_rows)
    )


@metric("RMSE", kinds=("regression",), form="amount", higher_is_better=False, weighted=_weighted)
def rmse(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> float:
    """Root mean squared error, in the unit of the targets."""
    return root_mean_squared_error(targets, scores[:, 0])

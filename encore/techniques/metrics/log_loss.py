"""Log loss: the mean of −log p(truth), in nats; over rows and labels for multi-label tasks. Lower
is better.

Source: scipy, log_softmax and log_expit.
Differs: scikit-learn's log_loss clips probabilities at 2e-16, which hides how wrong a sure mistake
is.
"""

from __future__ import annotations

import numpy as np

from encore.evaluation.metric import Weighted, mean_of, metric
from encore.evaluation.predictions import row_losses
from encore.types import LabelSpace

__all__ = ["log_loss"]


def _weighted(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> Weighted:
    return mean_of(row_losses(scores, targets, labels))


@metric(
    "log loss",
    kinds=("binary", "multiclass", "multilabel"),
    form="amount",
    higher_is_better=False,
    weighted=_weighted,
    needs_probabilities=True,
    decides=False,
)
def log_loss(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> float:
    """The mean of −log p(truth), in nats."""
    return row_losses(scores, targets, labels).mean()

"""Micro F1: F1 of all decisions pooled. For single-label tasks it equals the accuracy.

Source: scikit-learn, f1_score.
Differs: none.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import f1_score

from encore.evaluation.metric import ConfusionCounts, metric
from encore.evaluation.predictions import predictions
from encore.types import LabelSpace

__all__ = ["micro_f1"]


def _combine(
    hits: np.ndarray, predicted: np.ndarray, actual: np.ndarray, n_rows: np.ndarray
) -> np.ndarray:
    total = (predicted + actual).sum(axis=1)
    return 2 * hits.sum(axis=1) / np.where(total > 0, total, 1)


@metric(
    "micro F1", kinds=("binary", "multiclass", "multilabel"), weighted=ConfusionCounts(_combine)
)
def micro_f1(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> float:
    """F1 of all decisions pooled; 0 where there is no label, true or predicted."""
    return f1_score(
        targets,
        predictions(scores, labels),
        labels=range(labels.n_scores),
        average="micro",
        zero_division=0.0,
    )

"""Macro F1: the plain mean of each class's (or label's) F1, over those that occur in the targets or
the predictions.

Source: scikit-learn, f1_score.
Differs: a class that occurs in neither is left out; scikit-learn counts it as 0 unless given
otherwise.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import f1_score

from encore.evaluation.metric import ConfusionCounts, metric
from encore.evaluation.predictions import predictions
from encore.types import LabelSpace

__all__ = ["macro_f1"]


def _combine(
    hits: np.ndarray, predicted: np.ndarray, actual: np.ndarray, n_rows: np.ndarray
) -> np.ndarray:
    total = predicted + actual
    occurs = total > 0
    return (2 * hits / np.where(occurs, total, 1)).sum(axis=1) / np.maximum(occurs.sum(axis=1), 1)


@metric(
    "macro F1", kinds=("binary", "multiclass", "multilabel"), weighted=ConfusionCounts(_combine)
)
def macro_f1(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> float:
    """The mean F1 over the classes that occur in the targets or the predictions.

    0 where none occurs (a multi-label set without a single label, true or predicted).
    """
    predicted = predictions(scores, labels)
    if labels.kind == "multilabel" and not (predicted.any() or targets.any()):
        return 0.0
    return f1_score(
        targets, predicted, labels=range(labels.n_scores), average="macro", zero_division=np.nan
    )

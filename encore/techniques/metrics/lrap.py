"""Label-ranking average precision: for each true label of a row, the share of true ones among the
labels scored at least as high; averaged.

Source: scikit-learn, label_ranking_average_precision_score.
Differs: none: rows with no label, or with all, count 1. No threshold is involved, so it shows what
a multi-label model knows even where it predicts nothing.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import label_ranking_average_precision_score

from encore.evaluation.metric import Weighted, mean_of, metric
from encore.types import LabelSpace

__all__ = ["lrap"]


def _weighted(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> Weighted:
    n_true = targets.sum(axis=1)
    precision = np.zeros(len(targets))
    for name in range(
        labels.n_scores
    ):  # one label at a time: (rows, labels), never (rows, labels, labels)
        as_high = scores >= scores[:, [name]]
        precision += targets[:, name] * (as_high & (targets == 1)).sum(axis=1) / as_high.sum(axis=1)
    return mean_of(
        np.where(
            (n_true == 0) | (n_true == labels.n_scores), 1.0, precision / np.maximum(n_true, 1)
        )
    )


@metric(
    "LRAP",
    kinds=("multilabel",),
    form="coefficient",
    bounds=(0.0, 1.0),
    weighted=_weighted,
    decides=False,
)
def lrap(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> float:
    """Label-ranking average precision."""
    return label_ranking_average_precision_score(targets, scores)

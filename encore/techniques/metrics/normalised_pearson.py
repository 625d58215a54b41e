"""Pearson's r mapped to [0, 1]: (1 + r) / 2, to be averaged with accuracies.

Source: minBERT generalization, AdapterFusion (METHODS 8.7).
Differs: none; overall scores made with it are not comparable with those made with r itself.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import pearsonr

from encore.evaluation.metric import correlation_sums, metric, undefined
from encore.types import LabelSpace

__all__ = ["normalised_pearson"]


@metric(
    "(1 + r) / 2",
    kinds=("regression",),
    form="coefficient",
    bounds=(0.0, 1.0),
    weighted=correlation_sums(lambda r: (1 + r) / 2),
)
def normalised_pearson(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> float:
    """(1 + r) / 2; .5 (r counts as 0), with a MetricWarning, where the predictions or the targets
    are constant.
    """
    r = 0.0 if undefined(scores[:, 0], targets) else pearsonr(scores[:, 0], targets).statistic
    return (1 + r) / 2

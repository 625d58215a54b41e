"""Pearson correlation of values and targets; 0, with a warning, where either is constant.

Source: scipy, pearsonr (METHODS 8.7).
Differs: scipy's r of a constant is NaN.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import pearsonr

from encore.evaluation.metric import correlation_sums, metric, undefined
from encore.types import LabelSpace

__all__ = ["pearson"]


@metric("Pearson r", kinds=("regression",), form="coefficient", weighted=correlation_sums())
def pearson(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> float:
    """Pearson's r; 0, with a MetricWarning, where the predictions or the targets are constant."""
    return 0.0 if undefined(scores[:, 0], targets) else pearsonr(scores[:, 0], targets).statistic

"""Spearman correlation with average ranks; 0, with a warning, where values or targets are constant.

Source: scipy, spearmanr (METHODS 8.7).
Differs: scipy's correlation of a constant is NaN.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr

from encore.evaluation.metric import Weighted, metric, undefined
from encore.types import LabelSpace

__all__ = ["spearman"]


def _weighted(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> Weighted:
    """Ranks every resample anew, without sorting: in the order of the whole set, a value's average
    rank is the number of drawn rows before it plus half of those that share it.
    """
    places = [np.unique(values, return_inverse=True)[1] for values in (scores[:, 0], targets)]

    def value(counts: np.ndarray) -> np.ndarray:
        ranks = [_centred_ranks(counts, place) for place in places]
        (covariance, left, right) = (
            (counts * ranks[a] * ranks[b]).sum(axis=1) for a, b in ((0, 1), (0, 0), (1, 1))
        )
        spread = np.sqrt(left * right)
        return covariance / np.where(spread > 0, spread, np.inf)

    return Weighted(np.arange(len(targets)), len(targets), value)


def _centred_ranks(counts: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(resamples, rows): each row's average rank in each resample, less the mean rank. place:
    (rows,) position of each row's value among the distinct ones.
    """
    order = np.argsort(place, kind="stable")
    up_to = np.cumsum(counts[:, order], axis=1)  # drawn rows up to each row
    last = np.cumsum(np.bincount(place)) - 1  # the last row of each distinct value
    through = up_to[:, last]  # drawn rows with at most this value
    before = np.hstack([np.zeros((len(counts), 1)), through[:, :-1]])
    middle = (
        before + through - up_to[:, -1:]
    ) / 2  # (before + through + 1) / 2, less (rows + 1) / 2
    return middle[:, place]


@metric("Spearman ρ", kinds=("regression",), form="coefficient", weighted=_weighted)
def spearman(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> float:
    """Spearman's ρ with average ranks; 0, with a MetricWarning, where the predictions or the
    targets are constant.
    """
    return 0.0 if undefined(scores[:, 0], targets) else spearmanr(scores[:, 0], targets).statistic

"""The scores of the training rows of an epoch, in one array."""

from __future__ import annotations

import numpy as np

__all__ = ["EpochScores"]

_SCORES_AT_ONCE = 1 << 23  # of float32: 34 MB


class EpochScores:
    """Scores of rows in the order in which they are trained on. They are in memory once, also while
    they become more: with 10,000 classes, 30,000 rows take 1.2 GB.
    """

    def __init__(self, scores: np.ndarray | None = None) -> None:
        """scores: (rows, n_scores) of rows that are trained on already."""
        self._all = np.empty((0, 0), np.float32)
        self._n_added = 0
        if scores is not None:
            self.add(scores)

    @property
    def added(self) -> np.ndarray:
        """(rows, n_scores) float32: all scores that were added. No copy; not to be kept while
        scores are added.
        """
        return self._all[: self._n_added]

    def add(self, scores: np.ndarray) -> None:
        """Add the scores of the rows that follow, (some, n_scores)."""
        begin, end = self._n_added, self._n_added + len(scores)
        if not begin:
            self._all = scores.copy()
        elif end > len(self._all):
            more = max(len(scores), min(begin, _SCORES_AT_ONCE // scores.shape[1]))
            # Large arrays are moved by the kernel, page by page, without a copy.
            self._all.resize((begin + more, scores.shape[1]), refcheck=False)
        self._all[begin:end] = scores
        self._n_added = end

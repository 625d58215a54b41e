"""The rows of a cross-validation, each with the scores of the run that did not train on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from encore.evaluation.predictions import predictions, probabilities
from encore.types import LabelSpace

__all__ = ["OutOfFold"]


@dataclass(frozen=True)
class OutOfFold:
    """All rows in the order of the file.

    scores: (rows, n_scores) float32, raw. targets: (rows,) class ids or values, (rows, labels) 0/1
    for several labels. rows: (rows,) the row of each in the file, from 0, whose sha256 is `digest`.
    fold: (rows,) the fold that it is in, from 1. groups: (rows,) equal numbers for rows that belong
    together, None where no column says. labels: the names, in the order of the columns.
    """

    task: str
    scores: np.ndarray
    targets: np.ndarray
    rows: np.ndarray
    fold: np.ndarray
    labels: LabelSpace
    digest: str
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def predictions(self) -> np.ndarray:
        """Class ids, 0/1 for each of several labels, or values."""
        return predictions(self.scores, self.labels)

    @property
    def probabilities(self) -> np.ndarray:
        """(rows, n_scores) float64; the values themselves for regression."""
        return probabilities(self.scores, self.labels)

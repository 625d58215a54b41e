"""The scores of teachers, from which a student learns: of one model, or the mean of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encore.errors import TrainingError
from encore.evaluation.predictions import probabilities
from encore.types import LabelSpace

__all__ = ["TeacherScores", "mean_of_teachers"]

_CLAMP = 1e-7  # probabilities of several teachers stay this far from 0 and 1 (METHODS 5.6)


@dataclass(frozen=True)
class TeacherScores:
    """Raw scores of a student's training rows, before sigmoid or softmax.

    labels: of the columns. digest: of the rows. rows: (n,) int64, ascending. given: (n, n_scores)
    float32; turned: those of the same pairs turned round, None where no pair is.
    """

    labels: LabelSpace
    digest: str
    rows: np.ndarray
    given: np.ndarray
    turned: np.ndarray | None = None

    def of_examples(
        self, digest: str, rows: np.ndarray, swapped: np.ndarray | None = None
    ) -> np.ndarray:
        """(rows, n_scores) float32 of the examples (digest, row), of pairs in the order that
        `swapped`, (rows,) bool, says. Raises TrainingError where the teacher has not scored one.
        """
        at = np.minimum(np.searchsorted(self.rows, rows), max(len(self.rows) - 1, 0))
        known = np.zeros(len(rows), bool)
        if digest == self.digest and len(self.rows):
            known = self.rows[at] == rows
        if not known.all():
            missing = np.asarray(rows)[~known]
            raise TrainingError(
                f"the teacher has no scores of {len(missing):,} of these {len(rows):,} rows: the "
                f"first is row {missing[0]} of the file with sha256 {digest[:12]}…."
            )
        if swapped is None or not swapped.any():
            return self.given[at]
        if self.turned is None:
            raise TrainingError("the teacher has no scores of pairs that are turned round.")
        return np.where(swapped[:, None], self.turned[at], self.given[at])


def mean_of_teachers(scores: Sequence[np.ndarray], labels: LabelSpace) -> np.ndarray:
    """(rows, n_scores) float32 raw scores of several teachers as one: log p, or per label
    log(p / (1 − p)), of their mean probabilities; the mean of values. One alone stays as it is.
    """
    if len(scores) == 1:
        return scores[0]
    mean = np.mean([probabilities(each, labels) for each in scores], axis=0)
    if labels.kind != "regression":
        mean = np.clip(mean, _CLAMP, 1 - _CLAMP)
        mean = np.log(mean) - (np.log1p(-mean) if labels.kind == "multilabel" else 0)
    return mean.astype(np.float32)

"""Expected calibration error: the mean over predictions of |accuracy − confidence| of their bin,
ten bins of equal width. Lower is better.

Source: Guo et al. 2017, eq. 3; netcal's ECE.
Differs: multi-label: a prediction is that a row has a label, one for each row and label. Even a
perfectly calibrated model is above 0 on a finite number of rows, and a resample is above its rows,
so the interval lies high.
"""

from __future__ import annotations

import numpy as np

from encore.evaluation.calibration import N_BINS, bins_of, confidences
from encore.evaluation.metric import Weighted, additive, metric
from encore.types import LabelSpace

__all__ = ["ece"]


def _gaps(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """(rows, bins) float64: hits less confidences of a row's predictions, by their bin."""
    confidence, correct = confidences(scores, targets, labels)
    of_row = np.arange(len(confidence)) // (len(confidence) // len(scores))
    return np.bincount(
        of_row * N_BINS + bins_of(confidence), correct - confidence, len(scores) * N_BINS
    ).reshape(len(scores), N_BINS)


def _n_of_a_row(labels: LabelSpace) -> int:
    return labels.n_scores if labels.kind == "multilabel" else 1


def _weighted(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> Weighted:
    n = _n_of_a_row(labels)
    return additive(
        _gaps(scores, targets, labels), lambda sums, n_rows: np.abs(sums).sum(axis=1) / n / n_rows
    )


@metric(
    "ECE",
    kinds=("binary", "multiclass", "multilabel"),
    higher_is_better=False,
    weighted=_weighted,
    needs_probabilities=True,
    decides=False,
)
def ece(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> float:
    """The expected calibration error."""
    gaps = _gaps(scores, targets, labels).sum(axis=0)
    return np.abs(gaps).sum() / len(scores) / _n_of_a_row(labels)

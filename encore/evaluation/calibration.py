"""Calibration: the reliability diagram and the expected calibration error, which compare how often
a model is right with how probable it calls its predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encore import rng
from encore.errors import RecipeError
from encore.evaluation.predictions import checked, predictions, probabilities
from encore.types import LabelSpace

__all__ = ["N_BINS", "Reliability", "bins_of", "confidences", "pool_runs", "reliability"]

_N_RESAMPLES = 1_000
N_BINS = 10


@dataclass(frozen=True)
class Reliability:
    """Predictions sorted into bins of equal width by their confidence; a bin holds those above its
    lower edge and not above its upper one.

    edges: (bins + 1,). n: (bins,) predictions in each. confidence, accuracy: (bins,) mean
    probability and the share that is correct; nan where a bin is empty. ece: expected calibration
    error, the mean over predictions of |accuracy − confidence| of their bin. expected_ece: (mean,
    95 % quantile) of the ece that a perfectly calibrated model with these very probabilities would
    show, which is not 0 on a finite number of rows.
    """

    edges: np.ndarray
    n: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    ece: float
    expected_ece: tuple[float, float]

    @property
    def excess(self) -> float:
        """Mean confidence minus accuracy: above 0 where the model is overconfident."""
        filled = self.n > 0
        return float(
            (self.n[filled] * (self.confidence - self.accuracy)[filled]).sum() / self.n.sum()
        )


def confidences(
    scores: np.ndarray, targets: np.ndarray, labels: LabelSpace
) -> tuple[np.ndarray, np.ndarray]:
    """(predictions,) confidences, and (predictions,) booleans, True for correct ones.

    Single-label tasks: one prediction per row, that of its class. Multi-label tasks: one per row
    and label, that the row has the label. Raises RecipeError for regression, which has no
    probabilities; DataError where scores and targets cannot be compared.
    """
    if labels.kind == "regression":
        raise RecipeError(
            "a regression task has no probabilities, so it has no reliability diagram."
        )
    scores, targets = checked(scores, targets, labels)
    probs = probabilities(scores, labels)
    if labels.kind == "multilabel":
        return probs.reshape(-1), targets.reshape(-1) == 1
    return probs.max(axis=1), predictions(scores, labels) == targets


def bins_of(confidence: np.ndarray, n_bins: int = N_BINS) -> np.ndarray:
    """(predictions,) int64: the bin of each confidence, of `n_bins` of equal width."""
    edges = np.linspace(0, 1, n_bins + 1)
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, n_bins - 1)


def reliability(
    confidence: np.ndarray, correct: np.ndarray, *, seed: int, n_bins: int = N_BINS
) -> Reliability:
    """The reliability diagram of (predictions,) confidences in [0, 1] and (predictions,) booleans.

    expected_ece is simulated (1,000 draws, seeded): each prediction is correct with the probability
    of its confidence. Source: Guo et al. 2017, eq. 3 (ECE with bins of equal width).
    """
    edges, bin_of = np.linspace(0, 1, n_bins + 1), bins_of(confidence, n_bins)
    n = np.bincount(bin_of, minlength=n_bins)
    sums = np.bincount(bin_of, weights=confidence, minlength=n_bins)
    hits = np.bincount(bin_of, weights=correct, minlength=n_bins)
    # Σ over bins of n/N · |hits/n − sums/n| is Σ |hits − sums| / N.
    ece = float(np.abs(hits - sums).sum() / len(confidence))
    draw = rng.generator(seed, "reliability")
    drawn = np.array(
        [
            np.abs(
                np.bincount(bin_of, draw.random(len(confidence)) < confidence, n_bins) - sums
            ).sum()
            / len(confidence)
            for _ in range(_N_RESAMPLES)
        ]
    )
    with np.errstate(invalid="ignore"):
        return Reliability(
            edges,
            n,
            sums / n,
            hits / n,
            ece,
            (float(drawn.mean()), float(np.quantile(drawn, 0.95))),
        )


def pool_runs(runs: Sequence[Reliability]) -> Reliability:
    """Several runs as one diagram of all their predictions. The error and its expectation are means
    over runs: in one error of all predictions together, those of the runs would cancel.
    """
    n = np.sum([one.n for one in runs], axis=0)
    with np.errstate(invalid="ignore"):
        confidence, accuracy = (
            np.nansum([one.n * of_bins for one, of_bins in zip(runs, values, strict=True)], axis=0)
            / n
            for values in ([one.confidence for one in runs], [one.accuracy for one in runs])
        )
    mean, high = np.mean([one.expected_ece for one in runs], axis=0).tolist()
    return Reliability(
        runs[0].edges,
        n,
        confidence,
        accuracy,
        float(np.mean([one.ece for one in runs])),
        (mean, high),
    )

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

__all__ = ["Reliability", "confidences", "pool_runs", "reliability"]

_N_RESAMPLES = 1_000


@dataclass(frozen=True)
class Reliability:
    """Claims sorted into bins of equal width by their probability; a bin holds what is above its
    lower edge and not above its upper one.

    edges: (bins + 1,). n: (bins,) claims in each. claimed, came_true: (bins,) mean probability and
    the share that came true; nan where a bin is empty. ece: expected calibration error, the mean
    over claims of |came_true − claimed| of their bin. by_chance: (mean, 95 % quantile) of the ece
    that a perfectly calibrated model with these very probabilities would show, which is not 0 on a
    finite number of rows.
    """

    edges: np.ndarray
    n: np.ndarray
    claimed: np.ndarray
    came_true: np.ndarray
    ece: float
    by_chance: tuple[float, float]

    @property
    def excess(self) -> float:
        """Mean probability less the share that came true: above 0 where the model is too sure of
        itself.
        """
        filled = self.n > 0
        return float(
            (self.n[filled] * (self.claimed - self.came_true)[filled]).sum() / self.n.sum()
        )


def confidences(
    scores: np.ndarray, targets: np.ndarray, labels: LabelSpace
) -> tuple[np.ndarray, np.ndarray]:
    """(claims,) probabilities and (claims,) booleans, whether each came true.

    Of single-label tasks one per row: the predicted class is right. Of multi-label tasks one per
    row and label: the row has the label. Raises RecipeError for regression, which claims no
    probability; DataError where scores and targets cannot be compared.
    """
    if labels.kind == "regression":
        raise RecipeError(
            "a regression task gives no probabilities, so it has no reliability diagram."
        )
    scores, targets = checked(scores, targets, labels)
    chances = probabilities(scores, labels)
    if labels.kind == "multilabel":
        return chances.reshape(-1), targets.reshape(-1) == 1
    return chances.max(axis=1), predictions(scores, labels) == targets


def reliability(
    claimed: np.ndarray, came_true: np.ndarray, *, seed: int, n_bins: int = 10
) -> Reliability:
    """Source: Guo et al. 2017, eq. 3 (ECE with bins of equal width). claimed: (claims,) in [0, 1];
    came_true: (claims,) booleans.

    by_chance is drawn (1,000 times, seeded): each claim comes true with the probability that it
    states.
    """
    edges = np.linspace(0, 1, n_bins + 1)
    bin_of = np.clip(np.searchsorted(edges, claimed, side="left") - 1, 0, n_bins - 1)
    n = np.bincount(bin_of, minlength=n_bins)
    sums = np.bincount(bin_of, weights=claimed, minlength=n_bins)
    hits = np.bincount(bin_of, weights=came_true, minlength=n_bins)
    # Σ over bins of n/N · |hits/n − sums/n| is Σ |hits − sums| / N.
    ece = float(np.abs(hits - sums).sum() / len(claimed))
    draw = rng.generator(seed, "reliability")
    drawn = np.array(
        [
            np.abs(np.bincount(bin_of, draw.random(len(claimed)) < claimed, n_bins) - sums).sum()
            / len(claimed)
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
    """Several runs as one diagram: the claims of all of them; the error, and what chance makes of
    it, as means over runs, since one of all claims together would let the runs' errors cancel.
    """
    n = np.sum([one.n for one in runs], axis=0)
    with np.errstate(invalid="ignore"):
        claimed, came_true = (
            np.nansum([one.n * getattr(one, what) for one in runs], axis=0) / n
            for what in ("claimed", "came_true")
        )
    mean, high = np.mean([one.by_chance for one in runs], axis=0).tolist()
    return Reliability(
        runs[0].edges,
        n,
        claimed,
        came_true,
        float(np.mean([one.ece for one in runs])),
        (mean, high),
    )

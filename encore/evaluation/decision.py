"""The step from a model's scores to what it answers: calibrated probabilities, the labels that
thresholds give, and the rows that get none.

The one place where this is done. Scores may be of a model, or the logarithms of averaged
probabilities (for a multi-label task their log-odds): softmax of log p is p.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encore.evaluation.metric import Metric
from encore.evaluation.predictions import predictions, probabilities
from encore.types import LabelSpace

__all__ = ["PLAIN", "Answers", "Decision"]


@dataclass(frozen=True)
class Decision:
    """A rule for answers. Raises ValueError for values out of their range.

    temperature: what logits are divided by (Guo et al. 2017). thresholds: the calibrated
    probability from which a label is given: one for each label of a multi-label task, one for the
    second label of a binary one; empty for .5 of each, and for the most probable class. abstain:
    the confidence below which a row gets no label; 0 gives every row one.
    """

    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    abstain: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature: expected a number above 0, got {self.temperature}")
        if not all(0 < each < 1 for each in self.thresholds):
            raise ValueError(f"thresholds: expected probabilities, got {self.thresholds}")
        if not 0 <= self.abstain <= 1:
            raise ValueError(f"abstain: expected a number from 0 to 1, got {self.abstain}")

    def calibrated(self, scores: np.ndarray) -> np.ndarray:
        """(rows, n_scores) scores whose probabilities are calibrated; the same at 1."""
        if self.temperature == 1:
            return scores
        return np.asarray(scores, np.float64) / self.temperature

    def decided(self, scores: np.ndarray, labels: LabelSpace) -> np.ndarray:
        """(rows, n_scores) scores whose `predictions` are the labels given; the same without
        thresholds. They have no probabilities.
        """
        if not self.thresholds:
            return scores
        cuts = self.temperature * np.array([math.log(t) - math.log1p(-t) for t in self.thresholds])
        shifts = cuts if labels.kind == "multilabel" else np.array([0.0, *cuts])
        return np.asarray(scores, np.float64) - shifts

    def probabilities(self, scores: np.ndarray, labels: LabelSpace) -> np.ndarray:
        """(rows, n_scores) float64 calibrated probabilities."""
        return probabilities(self.calibrated(scores), labels)

    def predictions(self, scores: np.ndarray, labels: LabelSpace) -> np.ndarray:
        """The labels given, abstention aside, as `evaluation.predictions` has them."""
        return predictions(self.decided(scores, labels), labels)

    def confidence(self, scores: np.ndarray, labels: LabelSpace) -> np.ndarray:
        """(rows,) float64: the calibrated probability of the label given; of a multi-label task
        that of the least certain of a row's answers, yes or no.
        """
        sure, chosen = self.probabilities(scores, labels), self.predictions(scores, labels)
        if labels.kind == "multilabel":
            return np.where(chosen == 1, sure, 1 - sure).min(axis=1)
        return sure[np.arange(len(sure)), chosen]

    def covers(self, scores: np.ndarray, labels: LabelSpace) -> np.ndarray:
        """(rows,) booleans: True where a row gets a label. Without abstention all, of any task."""
        if not self.abstain:
            return np.ones(len(scores), bool)
        return self.confidence(scores, labels) >= self.abstain

    def read_by(self, metric: Metric, scores: np.ndarray, labels: LabelSpace) -> np.ndarray:
        """The scores that a metric is taken of: those of the labels given where it sees labels
        alone, else those of the calibrated probabilities.
        """
        return self.decided(scores, labels) if metric.decides else self.calibrated(scores)

    def answers(self, scores: np.ndarray, labels: LabelSpace) -> Answers:
        """All that this decision makes of (rows, n_scores) raw scores of classes."""
        return Answers(
            self.calibrated(scores),
            self.decided(scores, labels),
            self.confidence(scores, labels),
            self.covers(scores, labels),
        )

    def described(self, labels: LabelSpace) -> str:
        """The decision in a line of words; "" where it changes nothing."""
        parts = [f"temperature {self.temperature:.3g}"] if self.temperature != 1 else []
        names = labels.names if labels.kind == "multilabel" else labels.names[1:]
        if self.thresholds:
            parts.append(f"thresholds {_listed(names, self.thresholds)}")
        if self.abstain:
            parts.append(f"no label below a confidence of {self.abstain:.3g}")
        return ", ".join(parts)


PLAIN = Decision()
_MOST_LISTED = 8


def _listed(names: Sequence[str], thresholds: Sequence[float]) -> str:
    """Thresholds by the names of their labels."""
    each = [f"{name} {value:.3g}" for name, value in zip(names, thresholds, strict=True)]
    more = len(each) - _MOST_LISTED
    return "; ".join([*each[:_MOST_LISTED], *([f"{more} more"] if more > 0 else [])])


@dataclass(frozen=True)
class Answers:
    """The answers of a decision to rows. calibrated, decided: (rows, n_scores), as `Decision`
    makes them; confidence, covered: (rows,).
    """

    calibrated: np.ndarray
    decided: np.ndarray
    confidence: np.ndarray
    covered: np.ndarray

    def read_by(self, metric: Metric) -> np.ndarray:
        """The scores that a metric is taken of: those of the labels given where it sees labels
        alone, else those of the calibrated probabilities.
        """
        return self.decided if metric.decides else self.calibrated

"""How good scores are: metrics with intervals, confusion matrix, worst mistakes, metrics per slice; and the tables that show them.

Everything here takes raw scores (rows, n_scores) and targets, whoever made them: a model, a baseline, a stored file.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encore import catalogue
from encore.errors import RecipeError, did_you_mean
from encore.scores import checked, predictions, probabilities, row_losses
from encore.statistics import Metric, MetricWarning, bootstrap_interval
from encore.types import LabelSpace, TaskKind

__all__ = [
    "Estimate", "confusion", "evaluate", "metrics_for", "metrics_named", "predictions", "probabilities", "worst_mistakes",
]


@dataclass(frozen=True)
class Estimate:
    """A metric's value on some rows with its 95 % bootstrap interval, as fractions; `notes` say where it is not what it seems."""

    value: float
    low: float
    high: float
    notes: tuple[str, ...] = ()


def metrics_for(kind: TaskKind) -> tuple[str, ...]:
    """Names of the metrics that a kind of task can have, sorted. Imports all metrics."""
    return tuple(name for name in catalogue.names("metrics") if kind in catalogue.find("metrics", name).kinds)


def metrics_named(names: Sequence[str], kind: TaskKind) -> dict[str, Metric]:
    """The metrics of these names, in this order. Raises RecipeError for all that do not exist or do not fit the kind of task."""
    known = catalogue.names("metrics")
    fitting = metrics_for(kind)
    problems = [f"metrics: no metric called '{name}'. {did_you_mean(name, fitting)}" for name in names if name not in known]
    problems += [f"metrics: '{name}' does not fit a {kind} task. Take one of {', '.join(fitting)}." for name in names if name in known and name not in fitting]
    if problems:
        raise RecipeError(problems)
    return {name: catalogue.find("metrics", name) for name in names}


def evaluate(
    scores: np.ndarray, targets: np.ndarray, labels: LabelSpace, metric_names: Sequence[str], seed: int, *, n_resamples: int = 2000
) -> dict[str, Estimate]:
    """Each metric's value with its 95 % bootstrap interval, in the order asked for.

    Raises DataError where scores and targets cannot be compared or a score is not finite, RecipeError for unknown or unfitting metrics.
    """
    return {name: _estimate(metric, scores, targets, labels, seed, n_resamples) for name, metric in metrics_named(metric_names, labels.kind).items()}


def _estimate(metric: Metric, scores: np.ndarray, targets: np.ndarray, labels: LabelSpace, seed: int, n_resamples: int) -> Estimate:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MetricWarning)
        value = metric(scores, targets, labels)
    for other in caught:
        if not issubclass(other.category, MetricWarning):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    interval = bootstrap_interval(metric, scores, targets, labels, seed=seed, n_resamples=n_resamples)
    return Estimate(value, interval.low, interval.high, tuple(str(one.message) for one in caught if issubclass(one.category, MetricWarning)))


def confusion(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """(classes, classes) int64, row = truth, column = prediction; for multi-label (labels, 2, 2), one such matrix per label.

    Raises RecipeError for regression, which has none.
    """
    from sklearn.metrics import confusion_matrix, multilabel_confusion_matrix

    if labels.kind == "regression":
        raise RecipeError("a regression task has no confusion matrix; look at its worst mistakes instead.")
    scores, targets = checked(scores, targets, labels)
    predicted = predictions(scores, labels)
    if labels.kind == "multilabel":
        return multilabel_confusion_matrix(targets, predicted)
    return confusion_matrix(targets, predicted, labels=range(labels.n_scores))


def worst_mistakes(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace, k: int = 10) -> np.ndarray:
    """Up to k row indices, int64, the most wrong first: by −log p(truth), by squared error for regression; equal ones in row order.

    Only rows whose prediction is wrong, so there may be fewer than k, or none.
    """
    scores, targets = checked(scores, targets, labels)
    wrong = predictions(scores, labels) != targets
    rows = np.flatnonzero(wrong.any(axis=1) if wrong.ndim == 2 else wrong)
    return rows[np.argsort(-row_losses(scores, targets, labels)[rows], kind="stable")[:k]]

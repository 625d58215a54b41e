"""Evaluation of scores: metrics with intervals, confusion matrix, largest errors, slices.

Everything here takes raw scores (rows, n_scores) and targets, whatever they are from: a model, a
baseline, a stored file.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from encore import catalogue
from encore.data.label_cells import natural_order
from encore.errors import DataError, Problem, RecipeError, did_you_mean
from encore.evaluation.bootstrap import bootstrap_interval
from encore.evaluation.decision import PLAIN, Decision
from encore.evaluation.metric import Metric, MetricWarning
from encore.evaluation.predictions import checked, predictions, row_losses
from encore.types import LabelSpace, TaskKind

__all__ = [
    "Estimate",
    "Slice",
    "by_slice",
    "confusion",
    "estimate_metrics",
    "metrics_for",
    "metrics_named",
    "worst_mistakes",
]

_MOST_SLICES = 30


@dataclass(frozen=True)
class Estimate:
    """A metric's value on some rows with its 95 % bootstrap interval, as fractions; `notes` say
    where it is not what it seems.
    """

    value: float
    low: float
    high: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Slice:
    """The metrics of the rows that share one value of a column."""

    value: str
    n_rows: int
    estimates: Mapping[str, Estimate]


def metrics_for(kind: TaskKind) -> tuple[str, ...]:
    """Names of the metrics that a kind of task can have, sorted. Imports all metrics."""
    return tuple(
        name for name in catalogue.names("metrics") if kind in catalogue.find("metrics", name).kinds
    )


def metrics_named(names: Sequence[str], kind: TaskKind) -> dict[str, Metric]:
    """The metrics of these names, in this order. Raises RecipeError for all that do not exist or do
    not fit the kind of task.
    """
    known = catalogue.names("metrics")
    fitting = metrics_for(kind)
    problems = [
        Problem(
            setting="metrics",
            message=f"no metric called '{name}'.",
            remedy=did_you_mean(name, fitting),
        )
        for name in names
        if name not in known
    ]
    problems += [
        Problem(
            setting="metrics",
            message=f"'{name}' does not fit a {kind} task.",
            remedy=f"Take one of {', '.join(fitting)}.",
        )
        for name in names
        if name in known and name not in fitting
    ]
    if problems:
        raise RecipeError(problems)
    return {name: catalogue.find("metrics", name) for name in names}


def estimate_metrics(
    scores: np.ndarray,
    targets: np.ndarray,
    labels: LabelSpace,
    metric_names: Sequence[str],
    seed: int,
    *,
    n_resamples: int = 2000,
    groups: np.ndarray | None = None,
) -> dict[str, Estimate]:
    """Each metric's value with its 95 % bootstrap interval, in the order given. groups: (rows,)
    numbers of rows that belong together.

    Raises DataError where scores and targets cannot be compared or a score is not finite,
    RecipeError for unknown or unfitting metrics.
    """
    return {
        name: _estimate(metric, scores, targets, labels, seed, n_resamples, groups)
        for name, metric in metrics_named(metric_names, labels.kind).items()
    }


def _estimate(
    metric: Metric,
    scores: np.ndarray,
    targets: np.ndarray,
    labels: LabelSpace,
    seed: int,
    n_resamples: int,
    groups: np.ndarray | None,
) -> Estimate:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MetricWarning)
        value = metric(scores, targets, labels)
    for other in caught:
        if not issubclass(other.category, MetricWarning):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    interval = bootstrap_interval(
        metric, scores, targets, labels, seed=seed, n_resamples=n_resamples, groups=groups
    )
    notes = [str(one.message) for one in caught if issubclass(one.category, MetricWarning)]
    if metric.form == "percent" and interval.low == 1:
        # A bootstrap of faultless rows sees no fault. This is the chance of being right that leaves
        # one in twenty for so many in a row (about 1 − 3 / rows).
        lowest = 0.05 ** (1 / len(targets))
        rows = f"{len(targets):,} row{'s' if len(targets) > 1 else ''}"
        notes.append(
            f"no mistake in {rows}, so the interval has no width; the true value may well be "
            f"{100 * lowest:.1f} %"
        )
    return Estimate(value, interval.low, interval.high, tuple(notes))


def confusion(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """(classes, classes) int64, row = truth, column = prediction; for multi-label (labels, 2, 2),
    one such matrix per label.

    Raises RecipeError for regression, which has none.
    """
    from sklearn.metrics import confusion_matrix, multilabel_confusion_matrix

    if labels.kind == "regression":
        raise RecipeError(
            "a regression task has no confusion matrix; look at its largest errors instead."
        )
    scores, targets = checked(scores, targets, labels)
    predicted = predictions(scores, labels)
    if labels.kind == "multilabel":
        return multilabel_confusion_matrix(targets, predicted)
    return confusion_matrix(targets, predicted, labels=range(labels.n_scores))


def worst_mistakes(
    scores: np.ndarray,
    targets: np.ndarray,
    labels: LabelSpace,
    k: int = 10,
    *,
    decision: Decision = PLAIN,
) -> np.ndarray:
    """Up to k row indices, int64, the largest errors first: by −log p(truth), by squared error for
    regression; equal ones in row order.

    Only rows whose prediction is wrong, so there may be fewer than k, or none.
    """
    scores, targets = checked(scores, targets, labels)
    wrong = decision.predictions(scores, labels) != targets
    rows = np.flatnonzero(wrong.any(axis=1) if wrong.ndim == 2 else wrong)
    losses = row_losses(decision.calibrated(scores), targets, labels)
    return rows[np.argsort(-losses[rows], kind="stable")[:k]]


def by_slice(
    values: Sequence[Any],
    scores: np.ndarray,
    targets: np.ndarray,
    labels: LabelSpace,
    metric_names: Sequence[str],
    seed: int,
    *,
    n_resamples: int = 2000,
    groups: np.ndarray | None = None,
) -> tuple[Slice, ...]:
    """Metrics per value of a column, naturally sorted; an empty value is "(empty)". `values` has
    one entry per row. groups: as of `estimate_metrics`.

    With more than 30 different values the largest groups are shown and the rest are one
    slice, "(N other values)", at the end.
    """
    scores, targets = checked(scores, targets, labels)
    if len(values) != len(targets):
        raise DataError(
            f"slice: expected one value per row, {len(targets):,} in all, got {len(values):,}."
        )
    code: dict[str, int] = {}
    slice_of_row = np.fromiter(
        (code.setdefault(_word(value), len(code)) for value in values),
        dtype=np.int64,
        count=len(values),
    )
    words = list(code)
    order = np.argsort(-np.bincount(slice_of_row), kind="stable")
    kept = order if len(words) <= _MOST_SLICES else order[: _MOST_SLICES - 1]
    members = {words[index]: np.flatnonzero(slice_of_row == index) for index in kept.tolist()}
    ordered = {word: members[word] for word in natural_order(list(members))}
    if len(kept) < len(words):
        ordered[f"({len(words) - len(kept):,} other values)"] = np.flatnonzero(
            ~np.isin(slice_of_row, kept)
        )
    return tuple(
        Slice(
            word,
            len(rows),
            estimate_metrics(
                scores[rows],
                targets[rows],
                labels,
                metric_names,
                seed,
                n_resamples=n_resamples,
                groups=None if groups is None else groups[rows],
            ),
        )
        for word, rows in ordered.items()
    )


def _word(value: Any) -> str:
    """A cell of any column as the name of its slice."""
    value = value.as_py() if hasattr(value, "as_py") else value
    return "(empty)" if value is None or value != value or value == "" else str(value)

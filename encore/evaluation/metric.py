"""The definition of a metric, and its form for many resamples at once.

A metric is a function `(scores, targets, labels) → float`. It comes with the same metric as a
function of *how often each row occurs*, for thousands of resamples at once (`Weighted`): that is
what makes a bootstrap over 20,000 rows take a moment instead of a minute. The value itself always
comes from scikit-learn or scipy; the weighted form is checked against it on the same resamples.
"""

from __future__ import annotations

import functools
import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np

from encore.errors import RecipeError
from encore.evaluation.predictions import checked, predictions
from encore.types import Form, LabelSpace, Metric, TaskKind

__all__ = [
    "ConfusionCounts",
    "Form",
    "Metric",
    "MetricWarning",
    "Weigh",
    "Weighted",
    "additive",
    "correlation_sums",
    "mean_of",
    "metric",
    "undefined",
]


@dataclass(frozen=True)
class Weighted:
    """A metric as a function of how often each *kind of row* occurs, for many resamples at once.

    kind_of_row: (rows,) int64; rows that a metric cannot tell apart are one kind. value:
    (resamples, kinds) counts → (resamples,) values.
    """

    kind_of_row: np.ndarray
    n_kinds: int
    value: Callable[[np.ndarray], np.ndarray]


Weigh = Callable[[np.ndarray, np.ndarray, LabelSpace], Weighted]


class MetricWarning(UserWarning):
    """A metric has no defined value on these rows and returns what METHODS 8.7 says instead (0,
    mostly).
    """


# Of the values of a metric of each form, unless it says otherwise.
_BOUNDS: dict[Form, tuple[float, float]] = {
    "percent": (0.0, 1.0),
    "coefficient": (-1.0, 1.0),
    "amount": (0.0, math.inf),
}
_SUMS_AT_ONCE = 1 << 23  # in float64: 67 MB
Measure = Callable[[np.ndarray, np.ndarray, LabelSpace], float]


def metric(
    title: str,
    *,
    kinds: tuple[TaskKind, ...],
    form: Form = "percent",
    higher_is_better: bool = True,
    weighted: Weigh | None = None,
    needs_probabilities: bool = False,
    decides: bool = True,
    bounds: tuple[float, float] | None = None,
) -> Callable[[Measure], Metric]:
    """Make a function of clean arrays a metric: it refuses other kinds of task (RecipeError) and
    scores that are not numbers (DataError).
    """

    def wrap(measure: Measure) -> Metric:
        @functools.wraps(measure)
        def gate(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> float:
            if labels.kind not in kinds:
                raise RecipeError(
                    f"metric '{measure.__name__}' is for {' and '.join(kinds)} tasks, this "
                    f"task is {labels.kind}."
                )
            return float(measure(*checked(scores, targets, labels), labels))

        typed = cast(Metric, gate)
        typed.title, typed.kinds, typed.form, typed.higher_is_better, typed.weighted = (
            title,
            kinds,
            form,
            higher_is_better,
            weighted,
        )
        typed.needs_probabilities, typed.decides = needs_probabilities, decides
        typed.bounds = bounds or _BOUNDS[form]
        return typed

    return wrap


def undefined(predicted: np.ndarray, targets: np.ndarray) -> bool:
    """True, with a MetricWarning, where a correlation of the two (rows,) arrays does not exist.

    Constant means: spread below 1e-6 of the largest value. A collapsed model's float32 outputs
    still differ in the last bit, and their correlation is noise.
    """
    for name, values in (("predictions", predicted), ("targets", targets)):
        if np.ptp(values) <= 1e-6 * np.abs(values).max():
            rows = (
                f"all {len(values):,} {name} are the same"
                if len(values) > 1
                else "there is one row only"
            )
            warnings.warn(
                f"{rows}: the correlation is not defined and counts as 0",
                MetricWarning,
                stacklevel=4,
            )
            return True
    return False


def mean_of(values: np.ndarray) -> Weighted:
    """The weighted form of a metric that is the mean of one number per row, (rows,)."""
    distinct, kind_of_row = np.unique(values, return_inverse=True)
    return additive(distinct[:, None], lambda sums, n_rows: sums[:, 0] / n_rows, kind_of_row)


def additive(
    features: np.ndarray,
    combine: Callable[[np.ndarray, np.ndarray], np.ndarray],
    kind_of_row: np.ndarray | None = None,
    *,
    at_once: int = sys.maxsize,
) -> Weighted:
    """The weighted form of a metric that depends on the rows through sums only.

    features: (kinds, k), dense or scipy-sparse, what one row of each kind adds. combine: sums
    (resamples, k), rows (resamples,) → values (resamples,). at_once: resamples whose sums are in
    memory together.
    """
    n_kinds = features.shape[0]

    def value(counts: np.ndarray) -> np.ndarray:
        parts = np.array_split(counts, -(-len(counts) // at_once))
        found = [combine(np.asarray((features.T @ part.T).T), part.sum(axis=1)) for part in parts]
        return np.concatenate(found)

    return Weighted(np.arange(n_kinds) if kind_of_row is None else kind_of_row, n_kinds, value)


@dataclass(frozen=True)
class ConfusionCounts:
    """The weighted form of a metric of the confusion matrix, for single-label and multi-label tasks
    alike.

    combine: hits, predicted, actual, each (resamples, classes), and rows (resamples,) → values
    (resamples,). `hits` counts rows where a class is both predicted and true.
    """

    combine: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]

    def __call__(self, scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> Weighted:
        from scipy import sparse

        n, predicted = labels.n_scores, predictions(scores, labels)
        if labels.kind == "multilabel":
            seen, kind_of_row = np.unique(
                np.hstack([predicted, targets]), axis=0, return_inverse=True
            )
            chosen, true = sparse.csr_array(seen[:, :n]), sparse.csr_array(seen[:, n:])
        else:
            seen, kind_of_row = np.unique(predicted * n + targets, return_inverse=True)
            chosen, true = (
                sparse.csr_array(
                    (np.ones(len(seen)), ids, np.arange(len(seen) + 1)), shape=(len(seen), n)
                )
                for ids in divmod(seen, n)
            )
        features = sparse.hstack([chosen.multiply(true), chosen, true], format="csr")
        return additive(
            features,
            lambda sums, n_rows: self.combine(
                sums[:, :n], sums[:, n : 2 * n], sums[:, 2 * n :], n_rows
            ),
            kind_of_row.reshape(-1),
            at_once=max(2, _SUMS_AT_ONCE // (3 * n)),
        )


def correlation_sums(mapped: Callable[[np.ndarray], np.ndarray] = lambda r: r) -> Weigh:
    """The weighted form of Pearson's r, or of what `mapped` makes of it, from resampled moments; r
    is 0 where a resample is constant.
    """

    def weigh(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> Weighted:
        # Centred and scaled by the whole set, so that no digits are lost to a large mean.
        x, y = (
            (values - values.mean()) / (values.std() or 1.0) for values in (scores[:, 0], targets)
        )
        features = np.stack([x, y, x * x, y * y, x * y], axis=1)

        def correlation(sums: np.ndarray, n_rows: np.ndarray) -> np.ndarray:
            sum_x, sum_y, sum_xx, sum_yy, sum_xy = sums.T
            spread_x, spread_y = n_rows * sum_xx - sum_x**2, n_rows * sum_yy - sum_y**2
            exists = (spread_x > 1e-12 * n_rows**2) & (spread_y > 1e-12 * n_rows**2)
            r = (n_rows * sum_xy - sum_x * sum_y) / np.sqrt(
                np.where(exists, spread_x * spread_y, 1.0)
            )
            return mapped(np.where(exists, np.clip(r, -1, 1), 0.0))

        return additive(features, correlation)

    return weigh

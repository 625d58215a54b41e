"""Percentile bootstrap intervals over the rows of a data set."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from encore import rng
from encore.evaluation.clusters import cluster_codes
from encore.evaluation.metric import Metric, MetricWarning, Weighted
from encore.evaluation.predictions import checked
from encore.types import LabelSpace

__all__ = ["Interval", "bootstrap_interval", "resampled", "resampled_differences"]


@dataclass(frozen=True)
class Interval:
    """Two ends of a confidence interval, in the metric's own unit (fractions, never percent)."""

    low: float
    high: float


def bootstrap_interval(
    metric: Metric,
    scores: np.ndarray,
    targets: np.ndarray,
    labels: LabelSpace,
    *,
    seed: int,
    n_resamples: int = 2000,
    level: float = 0.95,
    groups: np.ndarray | None = None,
) -> Interval:
    """Percentile bootstrap interval over examples: `level` of the metric's values on resamples of
    the rows (drawn with replacement) lie inside. groups: (rows,) numbers; whole groups are drawn
    (`encore.evaluation.clusters`).

    Equal arguments give equal intervals. Raises DataError and RecipeError as the metric does.

    Percentile and not BCa, by a simulation (1,000 sets each, 1,000 resamples, nominal 95 %): from
    100 rows on the percentile interval covers the truth in 92-96 % of sets for accuracy, F1, macro
    F1, MCC, Pearson and Spearman, BCa in 92-97 %. BCa gains at most two points (MCC .93 on 100
    rows), needs the jackknife of every metric, and fails where the percentile fails too: with 30
    nearly faultless rows both cover 77 % (accuracy .95) or less (MCC .93: 58 %), because resamples
    of faultless rows are faultless. Tables say so below 30 rows and where no row is wrong.
    `scipy.stats.bootstrap` calls the metric for each resample, which takes a minute for 20,000 rows
    where the weighted forms of the metrics take a moment.
    """
    values = resampled(
        metric, scores, targets, labels, seed=seed, n_resamples=n_resamples, groups=groups
    )
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def resampled(
    metric: Metric,
    scores: np.ndarray,
    targets: np.ndarray,
    labels: LabelSpace,
    *,
    seed: int,
    n_resamples: int = 2000,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """(n_resamples,) values of a metric on resamples of the rows, or of their groups."""
    scores, targets = checked(scores, targets, labels)
    draw = rng.generator(seed, "bootstrap", metric.__name__)
    weigh, codes = metric.weighted, cluster_codes(groups)
    if weigh is None:
        drawn = _resampled_rows(len(targets), codes, draw, n_resamples)
        return _over_resamples(lambda row: metric(scores[row], targets[row], labels), drawn)
    return _of_weighted(weigh(scores, targets, labels), codes, draw, n_resamples)


def _resampled_rows(
    n: int, codes: np.ndarray | None, draw: np.random.Generator, n_resamples: int
) -> Iterator[np.ndarray]:
    """The row numbers of each resample: n rows, or all rows of as many groups as there are."""
    if codes is None:
        yield from (draw.integers(0, n, n) for _ in range(n_resamples))
        return
    members = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    for _ in range(n_resamples):
        chosen = draw.integers(0, len(members), len(members))
        yield np.concatenate([members[group] for group in chosen.tolist()])


def _over_resamples(value: Callable[[np.ndarray], float], rows: Iterator[np.ndarray]) -> np.ndarray:
    """(resamples,) values of a function of row numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetricWarning)
        return np.array([value(row) for row in rows])


def resampled_differences(
    metric: Metric,
    scores: np.ndarray,
    others: np.ndarray,
    targets: np.ndarray,
    labels: LabelSpace,
    *,
    seed: int,
    n_resamples: int = 2000,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """(n_resamples,) differences of a metric, that of `scores` less that of `others`, both on the
    same resamples of the rows, or of their groups: what makes both better or worse on a resample
    cancels.
    """
    scores, targets = checked(scores, targets, labels)
    others, _ = checked(others, targets, labels)
    draw = rng.generator(seed, "paired bootstrap", metric.__name__)
    weigh, codes = metric.weighted, cluster_codes(groups)
    if weigh is None:
        return _over_resamples(
            lambda row: (
                metric(scores[row], targets[row], labels)
                - metric(others[row], targets[row], labels)
            ),
            _resampled_rows(len(targets), codes, draw, n_resamples),
        )
    both = _difference(weigh(scores, targets, labels), weigh(others, targets, labels))
    return _of_weighted(both, codes, draw, n_resamples)


def _difference(one: Weighted, other: Weighted) -> Weighted:
    """The difference of two metrics of the same rows; a kind of row here is one of both."""
    from scipy import sparse

    codes = one.kind_of_row.astype(np.int64) * other.n_kinds + other.kind_of_row
    kinds, kind_of_row = np.unique(codes, return_inverse=True)
    to_one, to_other = (
        sparse.csr_array(
            (np.ones(len(kinds)), (np.arange(len(kinds)), of)), shape=(len(kinds), form.n_kinds)
        )
        for form, of in zip((one, other), divmod(kinds, other.n_kinds), strict=True)
    )
    return Weighted(
        kind_of_row.reshape(-1),
        len(kinds),
        lambda counts: one.value(counts @ to_one) - other.value(counts @ to_other),
    )


def _of_weighted(
    form: Weighted, codes: np.ndarray | None, draw: np.random.Generator, n_resamples: int
) -> np.ndarray:
    """(n_resamples,) values of a metric on resamples of the rows, or of their groups."""
    counted = (
        _resampled_counts(form, draw, n_resamples)
        if codes is None
        else _counts_of_groups(form, codes, draw, n_resamples)
    )
    return np.concatenate([form.value(counts) for counts in counted])


def _counts_of_groups(
    form: Weighted, codes: np.ndarray, draw: np.random.Generator, n_resamples: int
) -> Iterator[np.ndarray]:
    """As `_resampled_counts`, of resamples of groups: each as many groups as there are, so that the
    number of rows differs.
    """
    from scipy import sparse

    n_groups = int(codes.max()) + 1
    rows_of_group = sparse.csr_array(
        (np.ones(len(codes)), (codes, form.kind_of_row)), shape=(n_groups, form.n_kinds)
    )
    at_once = max(1, 2**20 // max(n_groups, form.n_kinds))
    for start in range(0, n_resamples, at_once):
        n = min(at_once, n_resamples - start)
        drawn = draw.integers(0, n_groups, size=(n, n_groups)) + n_groups * np.arange(n)[:, None]
        times = np.bincount(drawn.ravel(), minlength=n * n_groups).reshape(n, n_groups)
        yield times.astype(np.float64) @ rows_of_group


def _resampled_counts(
    form: Weighted, draw: np.random.Generator, n_resamples: int
) -> Iterator[np.ndarray]:
    """(some, kinds) float64 counts of each kind of row, until there are n_resamples of them; about
    8 MB at a time.
    """
    n_rows, n_kinds = len(form.kind_of_row), form.n_kinds
    sizes = np.bincount(form.kind_of_row, minlength=n_kinds)
    at_once = max(1, 2**20 // n_rows)
    for start in range(0, n_resamples, at_once):
        n = min(at_once, n_resamples - start)
        # A multinomial draw over few kinds is the same distribution as drawing rows, at a fraction
        # of the cost; a binomial variate costs about 16 row draws.
        if n_kinds * 16 <= n_rows:
            yield draw.multinomial(n_rows, sizes / n_rows, size=n).astype(np.float64)
        else:
            kinds = (
                form.kind_of_row[draw.integers(0, n_rows, size=(n, n_rows))]
                + n_kinds * np.arange(n)[:, None]
            )
            yield (
                np.bincount(kinds.ravel(), minlength=n * n_kinds)
                .reshape(n, n_kinds)
                .astype(np.float64)
            )

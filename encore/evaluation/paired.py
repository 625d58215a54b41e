"""Two models on the same rows: the difference of each metric, with a paired interval and a verdict.

The rows are drawn, the models are not: the verdict is about these two models on more rows like
these, and about no other seed of either.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encore.evaluation.bootstrap import resampled_differences
from encore.evaluation.claims import Verdict
from encore.evaluation.estimates import metrics_named
from encore.evaluation.metric import Metric, MetricWarning
from encore.evaluation.predictions import predictions
from encore.types import LabelSpace

__all__ = ["PairedDifference", "paired_differences"]

# Fewer answers that differ are no evidence: the exact sign test of 5 that all go one way has
# p = .06, where the bootstrap of 4 would already exclude 0.
_FEWEST_ANSWERS = 6


@dataclass(frozen=True)
class PairedDifference:
    """A metric of a model and of another one on the same rows, in the metric's own unit.

    delta: value − other. low, high: its 95 % paired bootstrap interval over the rows. verdict: of
    the model against the other one.
    """

    value: float
    other: float
    delta: float
    low: float
    high: float
    verdict: Verdict
    notes: tuple[str, ...] = ()


def paired_differences(
    scores: np.ndarray,
    others: np.ndarray,
    targets: np.ndarray,
    labels: LabelSpace,
    metric_names: Sequence[str],
    seed: int,
    *,
    n_resamples: int = 2000,
    groups: np.ndarray | None = None,
) -> dict[str, PairedDifference]:
    """The difference of each metric between two models, in the order given. scores, others:
    (rows, n_scores), raw, of the same rows; groups: (rows,) numbers of those that belong together.
    Raises DataError and RecipeError as `estimate_metrics`
    does.
    """
    found = {}
    for name, metric in metrics_named(metric_names, labels.kind).items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MetricWarning)
            value, other = (metric(each, targets, labels) for each in (scores, others))
        drawn = resampled_differences(
            metric,
            scores,
            others,
            targets,
            labels,
            seed=seed,
            n_resamples=n_resamples,
            groups=groups,
        )
        low, high = map(float, np.quantile(drawn, [0.025, 0.975]))
        n_differ = _n_answers_that_differ(metric, scores, others, labels)
        few = n_differ is not None and n_differ < _FEWEST_ANSWERS
        sign = 1 if metric.higher_is_better else -1
        verdict: Verdict = "no evidence"
        if not few and (low > 0 or high < 0):
            verdict = "better" if sign * (low + high) > 0 else "worse"
        notes = (_few(n_differ or 0),) if few else ()
        found[name] = PairedDifference(value, other, value - other, low, high, verdict, notes)
    return found


def _n_answers_that_differ(
    metric: Metric, scores: np.ndarray, others: np.ndarray, labels: LabelSpace
) -> int | None:
    """The rows that the models answer differently; None where the metric sees more than that."""
    if metric.needs_probabilities or labels.kind == "regression":
        return None
    differ = predictions(scores, labels) != predictions(others, labels)
    return int((differ.any(axis=1) if differ.ndim == 2 else differ).sum())


def _few(n_rows: int) -> str:
    if not n_rows:
        return "both runs give every row the same answer"
    answers = "row" if n_rows == 1 else "rows"
    return f"the runs answer {n_rows} {answers} differently, too few for a verdict"

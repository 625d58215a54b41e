"""The runs of one way of training on one dev set, and the metric of each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from encore.errors import DataError
from encore.evaluation.influence import jackknife_pseudovalues
from encore.evaluation.metric import Metric
from encore.evaluation.predictions import predictions
from encore.types import LabelSpace

__all__ = ["Arm", "SeedRuns", "collapse", "measure_variant"]


@dataclass(frozen=True)
class SeedRuns:
    """The runs of one way of training on one dev set.

    scores: seed → (rows, n_scores) raw scores. failed: seed → why there are none (crashed,
    missing). not_applicable: why this way cannot be run at all.
    """

    name: str
    scores: Mapping[int, np.ndarray]
    failed: Mapping[int, str] = field(default_factory=dict)
    not_applicable: str | None = None


@dataclass(frozen=True)
class Arm:
    """One way of training, measured. `values` are in the order of `seeds`, which is ascending;
    nothing is dropped but `failed`.

    sd: sample standard deviation over seeds (ddof=1, METHODS 2), None with one seed. best: the
    maximum, or the minimum where lower is better. collapsed: seed → why. shares: (seeds, rows),
    what each row adds to each value.
    """

    name: str
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    mean: float | None
    sd: float | None
    best: float | None
    collapsed: Mapping[int, str]
    failed: Mapping[int, str]
    not_applicable: str | None
    shares: np.ndarray = field(repr=False, compare=False)


def measure_variant(runs: SeedRuns, targets: np.ndarray, labels: LabelSpace, metric: Metric) -> Arm:
    """The metric of every run. Scores that are not finite make a run a failed one; scores of
    another shape are a DataError, one line per run.
    """
    shape = (len(targets), labels.n_scores)
    scores = {seed: np.asarray(runs.scores[seed]) for seed in sorted(runs.scores)}
    wrong = [
        f"{runs.name}, seed {seed}: expected scores of shape {shape}, got {one.shape}. Was it "
        f"evaluated on the same dev set?"
        for seed, one in scores.items()
        if one.shape != shape
    ]
    if wrong:
        raise DataError(wrong)
    failed = dict(runs.failed) | {
        seed: "its scores are not finite"
        for seed, one in scores.items()
        if not np.isfinite(one).all()
    }
    seeds = tuple(seed for seed in scores if seed not in failed)
    measured = [jackknife_pseudovalues(metric, scores[seed], targets, labels) for seed in seeds]
    values = tuple(float(value) for value, _ in measured)
    best = (max if metric.higher_is_better else min)(values, default=None)
    reasons = {seed: collapse(scores[seed], targets, labels) for seed in seeds}
    return Arm(
        runs.name,
        seeds,
        values,
        mean=float(np.mean(values)) if values else None,
        sd=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        best=best,
        collapsed={seed: reason for seed, reason in reasons.items() if reason},
        failed=dict(sorted(failed.items())),
        not_applicable=runs.not_applicable,
        shares=np.stack([shares for _, shares in measured])
        if measured
        else np.empty((0, len(targets))),
    )


def collapse(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> str | None:
    """The reason to call a run collapsed, or None: one answer for every row, or no more right
    answers than the commonest class of the dev set would give.

    Multi-label: label by label, taken together. Regression: values that do not rise with the
    targets (r ≤ 0). The metric that decides does not matter here.
    """
    predicted, targets = predictions(scores, labels), np.asarray(targets)
    if np.ptp(predicted, axis=0).max() <= (
        1e-6 * np.abs(predicted).max() if labels.kind == "regression" else 0
    ):
        return "one answer for every row"
    if labels.kind == "regression":
        if np.ptp(targets) == 0:
            return None
        r = float(np.corrcoef(predicted, targets)[0, 1])
        return None if r > 0 else f"its values do not rise with the targets (r = {r:.2f})"
    n_right = int((predicted == targets).sum())
    if labels.kind == "multilabel":
        n_with = targets.sum(axis=0)
        n_majority = int(np.maximum(n_with, len(targets) - n_with).sum())
    else:
        n_majority = int(np.bincount(targets.astype(np.int64)).max())
    if n_right > n_majority:
        return None
    right, majority = (f"{100 * n / targets.size:.1f} %" for n in (n_right, n_majority))
    return f"{right} right, the majority class alone {majority}"

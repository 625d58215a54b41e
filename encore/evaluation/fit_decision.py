"""Fits a decision on scores and labels, and measures it by cross-fitting: the rows are dealt into
parts, and each part is decided as all others say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from encore import catalogue, rng
from encore.errors import RecipeError
from encore.evaluation.clusters import units
from encore.evaluation.decision import PLAIN, Answers, Decision
from encore.evaluation.metric import ConfusionCounts, Metric
from encore.evaluation.predictions import checked, predictions, probabilities
from encore.recipe.decision_recipe import DecisionRecipe, Wanted
from encore.types import LabelSpace

__all__ = [
    "CrossFitted",
    "cross_fit",
    "fit_abstention",
    "fit_decision",
    "fit_temperature",
    "fit_thresholds",
    "parts_of_rows",
    "right_rows",
    "threshold_metric",
]

_AT_ONCE = 1 << 22  # scores that are computed with at once
_MOST_CUTS = 1_000  # thresholds of a label that are tried
_MOST_SWEEPS = 20
_FEW_ROWS, _FEW_WITH_LABEL = 200, 20


def fit_temperature(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> float | None:
    """The temperature with the lowest log loss; None where there is none, because every row is
    right (the lower the better), or because scores say nothing about the labels (the higher).

    The log loss is convex in b = 1/T, and its derivative there, Σ (Σ_k p_k·z_k − z_y), is 0 at the
    one minimum; multi-label: Σ z·(p − y), over rows and labels. Source: Guo et al. 2017, §4.2.
    """
    from scipy.optimize import brentq

    scores, targets = checked(scores, targets, labels)
    exact = np.asarray(scores, np.float64)
    scale = float(np.abs(exact).max())
    if scale == 0:
        return None
    slope = _slope(exact / scale, targets, labels)
    if slope(0.0) >= 0 or slope(np.inf) <= 0:
        return None
    low, high = -1.0, 1.0
    while slope(np.exp(low)) > 0 and low > -40:
        low -= 2
    while slope(np.exp(high)) < 0 and high < 40:
        high += 2
    if high >= 40 or low <= -40:  # flat but for rounding
        return None
    return scale / float(np.exp(brentq(lambda at: slope(np.exp(at)), low, high, xtol=1e-12)))


def _slope(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> Callable[[float], float]:
    """The derivative of the summed log loss of scores·b as a function of b; of infinity, its
    limit.
    """
    at_once = max(1, _AT_ONCE // labels.n_scores)

    def limits(part: np.ndarray) -> np.ndarray:
        if labels.kind == "multilabel":
            return (part > 0) + 0.5 * (part == 0)
        highest = part == part.max(axis=1, keepdims=True)
        return highest / highest.sum(axis=1, keepdims=True)

    def slope(b: float) -> float:
        total = 0.0
        for start in range(0, len(scores), at_once):
            part, truth = scores[start : start + at_once], targets[start : start + at_once]
            p = limits(part) if b == np.inf else probabilities(part * b, labels)
            of_truth = (
                part * truth if labels.kind == "multilabel" else part[np.arange(len(part)), truth]
            )
            total += float((part * p).sum() - of_truth.sum())
        return total

    return slope


def threshold_metric(name: str, labels: LabelSpace) -> Metric:
    """The metric of this name, if thresholds can be tuned for it. Raises RecipeError, one line."""
    metric: Metric = catalogue.find("metrics", name)
    if labels.kind not in ("binary", "multilabel"):
        raise RecipeError(
            f"thresholds: a {labels.kind} task gives each row its most probable class, and has no "
            f"thresholds. They are for binary and multi-label tasks."
        )
    fits = labels.kind in metric.kinds and metric.decides
    if not fits or not (labels.kind == "binary" or isinstance(metric.weighted, ConfusionCounts)):
        known = [
            other
            for other in catalogue.names("metrics")
            for one in [catalogue.find("metrics", other)]
            if labels.kind in one.kinds
            and one.decides
            and (labels.kind == "binary" or isinstance(one.weighted, ConfusionCounts))
        ]
        raise RecipeError(
            f"thresholds: those of a {labels.kind} task cannot be tuned for '{name}'. Name one of "
            f"{', '.join(known)}."
        )
    return metric


def fit_thresholds(
    probs: np.ndarray, targets: np.ndarray, labels: LabelSpace, metric: Metric
) -> tuple[float, ...]:
    """The thresholds with the best value of a metric. probs: (rows, n_scores) calibrated.

    A threshold lies midway between two neighbouring probabilities of the rows, or beyond all of
    them; of equally good ones it is the one nearest .5. Binary: the best of all. Multi-label: label
    by label until none gets better, from .5, which for macro F1 is the best of all too. With more
    than 1,000 different probabilities of a label, 1,000 of them in equal steps. metric: one of
    `threshold_metric`.
    """
    sign = 1 if metric.higher_is_better else -1
    if labels.kind == "binary":
        cuts = _cuts(probs[:, 1])
        values = _binary_values(probs[:, 1], targets, cuts, labels, metric)
        return (_best(cuts, sign * values),)
    assert isinstance(metric.weighted, ConfusionCounts)
    n_rows, n_labels = probs.shape
    found = np.full(n_labels, 0.5)
    on = probs >= found
    hits, predicted = (on & (targets == 1)).sum(axis=0), on.sum(axis=0)
    actual = targets.sum(axis=0)
    cuts_of = [_cuts(probs[:, label]) for label in range(n_labels)]
    for _ in range(_MOST_SWEEPS):
        before = found.copy()
        for label, cuts in enumerate(cuts_of):
            own = _counts(probs[:, label], targets[:, label], cuts, "left")
            counts = [np.tile(one, (len(cuts), 1)) for one in (hits, predicted, actual)]
            counts[0][:, label], counts[1][:, label] = own
            n = np.full(len(cuts), n_rows)
            values = metric.weighted.combine(counts[0], counts[1], counts[2], n)
            at = int(np.searchsorted(cuts, _best(cuts, sign * values)))
            found[label], hits[label], predicted[label] = cuts[at], own[0][at], own[1][at]
        if (found == before).all():
            break
    return tuple(found.tolist())


def _cuts(probs: np.ndarray) -> np.ndarray:
    """Thresholds that tell (rows,) probabilities apart, in rising order, .5 among them."""
    distinct = np.unique(np.clip(probs, 1e-9, 1 - 1e-9))
    ends = np.array([distinct[0] / 2, *((distinct[:-1] + distinct[1:]) / 2), 0.5, 0.0])
    ends[-1] = (1 + distinct[-1]) / 2
    if len(ends) > _MOST_CUTS:
        at = np.unique(np.linspace(0, len(ends) - 3, _MOST_CUTS).astype(np.int64))
        ends = np.array([*ends[at], *ends[-2:]])
    return np.unique(ends)


def _counts(
    probs: np.ndarray, targets: np.ndarray, cuts: np.ndarray, side: Literal["left", "right"]
) -> tuple[np.ndarray, np.ndarray]:
    """(cuts,) rows that get the label at each cut: those that have it, and all of them. side: left
    where a probability of the cut itself is enough, as for a label of many.
    """
    order = np.argsort(probs, kind="stable")
    above = len(probs) - np.searchsorted(probs[order], cuts, side=side)
    have = np.concatenate([[0], np.cumsum(targets[order][::-1])])
    return have[above], above


def _binary_values(
    probs: np.ndarray, targets: np.ndarray, cuts: np.ndarray, labels: LabelSpace, metric: Metric
) -> np.ndarray:
    """(cuts,) values of a metric of predictions, by its weighted form on the four kinds of row."""
    scores = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    four = np.array([0, 1, 0, 1])
    hits, above = _counts(probs, targets, cuts, "right")
    positive = int(targets.sum())
    missed = positive - hits
    rows = np.stack([len(probs) - above - missed, missed, above - hits, hits], axis=1)
    if metric.weighted is None:
        return np.array([metric(scores.repeat(n, 0), four.repeat(n), labels) for n in rows])
    form = metric.weighted(scores, four, labels)
    counts = np.zeros((len(cuts), form.n_kinds))
    for at, kind in enumerate(form.kind_of_row.tolist()):
        counts[:, kind] += rows[:, at]
    return form.value(counts)


def _best(cuts: np.ndarray, values: np.ndarray) -> float:
    best = cuts[values >= values.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - 0.5))])


def right_rows(decided: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """(rows,) booleans: True where the labels given are the true ones, of a multi-label task all
    of them.
    """
    right = predictions(decided, labels) == targets
    return right.all(axis=1) if right.ndim == 2 else right


def fit_abstention(confidence: np.ndarray, right: np.ndarray, wanted: Wanted) -> float | None:
    """The confidence below which no label is given. wanted: itself; {"accuracy": a}: the lowest for
    which a share a of the (rows,) with a label is right; {"coverage": c}: that leaves a share c of
    them. None where no confidence reaches the accuracy.
    """
    if not isinstance(wanted, dict):
        return wanted
    ((kind, share),) = wanted.items()
    lowest = np.sort(confidence)
    if kind == "coverage":
        n = int(np.ceil(share * len(lowest) - 1e-9))
        return 0.0 if n == len(lowest) else float(lowest[-n]) if n else 1.0
    order = np.argsort(-confidence, kind="stable")
    values, last = confidence[order], np.arange(1, len(order) + 1)
    ends = np.append(values[:-1] > values[1:], True)  # equal ones get a label together
    enough = ends & (np.cumsum(right[order]) >= share * last - 1e-9)
    if not enough.any():
        return None
    at = int(np.flatnonzero(enough)[-1])
    return 0.0 if at == len(order) - 1 else float(values[at])


def fit_decision(
    scores: np.ndarray,
    targets: np.ndarray,
    labels: LabelSpace,
    settings: DecisionRecipe,
    metric: Metric | None,
) -> tuple[Decision, tuple[str, ...]]:
    """The decision that fits (rows, n_scores) raw scores and their targets best, and notes on what
    could not be fitted. metric: of the thresholds, None for none.
    """
    scores, targets = checked(scores, targets, labels)
    decision, notes = PLAIN, list(_cautions(targets, labels, metric))
    if settings.temperature:
        temperature = fit_temperature(scores, targets, labels)
        if temperature is None:
            notes.append(
                "no temperature lowers the log loss to a minimum (every row is right, or the scores"
                " say nothing about the labels), so it stays 1"
            )
        decision = replace(decision, temperature=temperature or 1.0)
    if metric is not None:
        probs = decision.probabilities(scores, labels)
        decision = replace(decision, thresholds=fit_thresholds(probs, targets, labels, metric))
    if settings.abstain is not None:
        right = right_rows(decision.decided(scores, labels), targets, labels)
        confidence = decision.confidence(scores, labels)
        found = fit_abstention(confidence, right, settings.abstain)
        if found is None:
            notes.append(
                f"abstain: no confidence reaches an accuracy of {_share(settings.abstain)}, so "
                f"every row gets a label"
            )
        decision = replace(decision, abstain=found or 0.0)
    return decision, tuple(notes)


def _share(wanted: Wanted) -> str:
    return (
        ", ".join(f"{100 * share:g} %" for share in wanted.values())
        if isinstance(wanted, dict)
        else f"{wanted:g}"
    )


def _cautions(targets: np.ndarray, labels: LabelSpace, metric: Metric | None) -> Iterator[str]:
    """Notes on too few rows."""
    n_rows = len(targets)
    if n_rows < _FEW_ROWS:
        rows = f"{n_rows:,} row{'' if n_rows == 1 else 's'}"
        yield f"fitted on {rows}: few, so other rows may give other values"
    if metric is None:
        return
    columns = targets if labels.kind == "multilabel" else targets[:, None]
    names = labels.names if labels.kind == "multilabel" else labels.names[1:]
    rare = [
        f"{name} {int(count):,}"
        for name, count in zip(names, columns.sum(axis=0), strict=True)
        if count < _FEW_WITH_LABEL
    ]
    if rare:
        more = f", and {len(rare) - 5} more labels" if len(rare) > 5 else ""
        yield f"thresholds that rest on few rows: {', '.join(rare[:5])}{more}"


@dataclass(frozen=True)
class CrossFitted:
    """Rows, each answered by a decision that was fitted without it. part_of: (rows,) its part.
    decisions: of each part, fitted on all others.
    """

    answers: Answers
    part_of: np.ndarray
    decisions: tuple[Decision, ...]


def parts_of_rows(
    n_rows: int, n_parts: int, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """(rows,) int64: the part of each row. Parts are as large as one another, or by one row; with
    groups, (rows,) numbers of rows that belong together, by one group.
    """
    unit_of = units(n_rows, groups)
    n_units = int(unit_of.max(initial=-1)) + 1
    return (rng.generator(seed, "decision").permutation(n_units) % min(n_parts, n_units))[unit_of]


def cross_fit(
    scores: np.ndarray,
    targets: np.ndarray,
    labels: LabelSpace,
    settings: DecisionRecipe,
    metric: Metric | None,
    seed: int,
    *,
    groups: np.ndarray | None = None,
) -> CrossFitted:
    """Fit on all parts but one and decide that one, for each. groups: (rows,) numbers of rows that
    belong together, which no part parts. Raises RecipeError for one row.
    """
    scores, targets = checked(scores, targets, labels)
    if len(targets) < 2:
        raise RecipeError("decision: expected a dev set of two rows or more, got 1.")
    part_of = parts_of_rows(len(targets), settings.parts, seed, groups)
    calibrated, decided = (np.zeros(scores.shape) for _ in range(2))
    confidence, covered = np.zeros(len(targets)), np.zeros(len(targets), bool)
    decisions = []
    for part in range(int(part_of.max()) + 1):
        own = part_of == part
        decision, _ = fit_decision(scores[~own], targets[~own], labels, settings, metric)
        found = decision.answers(scores[own], labels)
        calibrated[own], decided[own] = found.calibrated, found.decided
        confidence[own], covered[own] = found.confidence, found.covered
        decisions.append(decision)
    return CrossFitted(Answers(calibrated, decided, confidence, covered), part_of, tuple(decisions))

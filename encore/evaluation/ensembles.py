"""Ensembles of models on the same rows: how scores are combined, and which models take part.

Everything here takes raw scores, (rows, n_scores) for each model, and gives raw scores again, so
that metrics, intervals and tables treat an ensemble as one model (METHODS 8.1, 8.2).
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from encore import rng
from encore.errors import RecipeError
from encore.evaluation.clusters import units
from encore.evaluation.metric import Metric, MetricWarning
from encore.evaluation.predictions import predictions
from encore.types import LabelSpace

__all__ = [
    "METHODS",
    "Choosing",
    "Mixture",
    "Space",
    "combine",
    "cross_fitted",
    "fit_weights",
    "halves",
]

Method = Literal["simple", "greedy", "selective", "best", "regression", "vote"]
METHODS: tuple[Method, ...] = ("simple", "greedy", "selective", "best", "regression", "vote")
Space = Literal["probability", "logit"]
_MOST_SELECTIVE = 12  # models; 4,095 sets of them


@dataclass(frozen=True)
class Mixture:
    """An ensemble for one task. members: numbers of the models that take part. how: what is
    averaged. weights: one for each member, of a weighted sum of logits; () for a plain mean.
    of_probabilities: the sum is one of probabilities, which then count as logits.
    """

    members: tuple[int, ...]
    how: Literal["probability", "logit", "vote"] = "probability"
    weights: tuple[float, ...] = ()
    of_probabilities: bool = False

    def of(self, scores: Sequence[np.ndarray], labels: LabelSpace) -> np.ndarray:
        """(rows, n_scores) float32. scores: of all models that `members` are numbers of."""
        return combine([scores[number] for number in self.members], labels, self)


def combine(scores: Sequence[np.ndarray], labels: LabelSpace, mixture: Mixture) -> np.ndarray:
    """The scores of an ensemble, (rows, n_scores) float32. scores: of its members, in their order.

    Softmax (or sigmoid) makes the mean probabilities of a mean of probabilities; votes are counted,
    the first of equal classes wins. Of regression always the mean value. One member without a
    weight is passed through to the bit.
    """
    exact = [np.asarray(each, dtype=np.float64) for each in scores]
    if mixture.weights:
        if mixture.of_probabilities:
            exact = [np.exp(_log_probabilities(each, labels)) for each in exact]
        found = sum(weight * each for weight, each in zip(mixture.weights, exact, strict=True))
    elif mixture.how == "vote":
        found = _votes(exact, labels)
    elif len(exact) == 1:
        return np.asarray(scores[0], dtype=np.float32)
    elif labels.kind == "regression" or mixture.how == "logit":
        found = np.mean(exact, axis=0)
    else:
        found = _mean_probability(exact, labels)
    return np.asarray(found, dtype=np.float32)


def _log_probabilities(exact: np.ndarray, labels: LabelSpace) -> np.ndarray:
    from scipy.special import log_expit, log_softmax

    return log_expit(exact) if labels.kind == "multilabel" else log_softmax(exact, axis=1)


def _mean_probability(exact: Sequence[np.ndarray], labels: LabelSpace) -> np.ndarray:
    """Logarithms of the mean probabilities; of a multi-label task their log-odds."""
    from scipy.special import log_expit, logsumexp

    n = np.log(len(exact))
    if labels.kind != "multilabel":
        return logsumexp([_log_probabilities(each, labels) for each in exact], axis=0) - n
    on, off = (logsumexp([log_expit(sign * each) for each in exact], axis=0) for sign in (1, -1))
    return on - off


def _votes(exact: Sequence[np.ndarray], labels: LabelSpace) -> np.ndarray:
    """The number of votes for each class; of a multi-label task, for a label less those against."""
    votes = np.stack([predictions(each, labels) for each in exact])
    if labels.kind == "multilabel":
        return 2.0 * votes.sum(axis=0) - len(exact)
    return (votes[:, :, None] == np.arange(labels.n_scores)).sum(axis=0).astype(np.float64)


def halves(
    n_rows: int, seed: int, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of dev-train and dev-dev, each sorted: every row in one of them, drawn with this
    seed, the smaller half first. groups: (rows,) numbers of rows that belong together, of which
    half the groups are then in each.
    """
    unit_of = units(n_rows, groups)
    n_units = int(unit_of.max(initial=-1)) + 1
    order = rng.generator(seed, "ensemble", "halves").permutation(n_units)
    first = np.isin(unit_of, order[: n_units // 2])
    return np.flatnonzero(first), np.flatnonzero(~first)


def fit_weights(
    scores: Sequence[np.ndarray],
    targets: np.ndarray,
    labels: LabelSpace,
    *,
    as_described: bool = False,
) -> Mixture:
    """One weight for each model, without a constant, so that the weighted sum of their logits has
    the lowest cross-entropy. Weights may be negative.

    By L-BFGS to convergence; as_described: by the loop of minBERT-generalization §4.6 (METHODS
    8.2), 50 steps down the whole gradient from 1 / models, at a rate of 0.2 for two classes and 1.5
    for more, which are weighed by probabilities in the place of logits.
    """
    everyone = tuple(range(len(scores)))
    start = np.full(len(scores), 1 / len(scores))
    if as_described:
        several = labels.kind == "multiclass"
        exact = [np.asarray(each, dtype=np.float64) for each in scores]
        given = [np.exp(_log_probabilities(each, labels)) for each in exact] if several else exact
        rows, weights = np.stack(given), start
        for _ in range(50):
            weights = weights - (1.5 if several else 0.2) * _cost(weights, rows, targets, labels)[1]
        return Mixture(everyone, "logit", tuple(map(float, weights)), several)
    from scipy.optimize import minimize

    found = minimize(
        _cost,
        start,
        args=(np.stack(scores).astype(np.float64), targets, labels),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-8},
    )
    return Mixture(everyone, "logit", tuple(map(float, found.x)))


def _cost(
    weights: np.ndarray, rows: np.ndarray, targets: np.ndarray, labels: LabelSpace
) -> tuple[float, np.ndarray]:
    """The mean cross-entropy of a weighted sum, and its gradient. rows: (models, rows, scores)."""
    from scipy.special import expit, log_expit, log_softmax, softmax

    summed = np.tensordot(weights, rows, axes=1)
    if labels.kind == "multilabel":
        cost = -log_expit(np.where(targets == 1, summed, -summed)).mean()
        slope = (expit(summed) - targets) / summed.size
    else:
        picked = np.arange(len(summed)), targets
        cost = -log_softmax(summed, axis=1)[picked].mean()
        slope = softmax(summed, axis=1)
        slope[picked] -= 1
        slope /= len(summed)
    return float(cost), np.tensordot(rows, slope, axes=2)


@dataclass(frozen=True)
class Choosing:
    """A rule that makes an ensemble of scored rows. names: of the models, which decide among equal
    ones. metric: the one that decides. at_least: only models whose figure reaches it take part. If
    there are none, the best one does. groups: (rows,) numbers of the dev rows that belong together,
    which no half parts.
    """

    method: Method
    names: tuple[str, ...]
    labels: LabelSpace
    metric: Metric
    space: Space = "probability"
    seed: int = 11
    at_least: float | None = None
    as_described: bool = False
    groups: np.ndarray | None = None

    def halves(self, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the two halves of the dev set."""
        return halves(n_rows, self.seed, self.groups)

    def choose(self, scores: Sequence[np.ndarray], targets: np.ndarray) -> Mixture:
        """The ensemble of this rule, chosen on all rows that are given. Weights of a regression
        ensemble are fitted on the first half of them, and the second half is not looked at.
        """
        how: Any = "vote" if self.method == "vote" else self.space
        if self.method == "regression" and self.labels.kind != "regression":
            return self.weigh(scores, targets, self.halves(len(targets))[0])
        order = self._candidates(scores, targets)
        if self.method == "best":
            return Mixture(order[:1], how)
        if self.method == "greedy":
            return self._greedy(order, scores, targets, how)
        if self.method == "selective":
            return self._selective(order, scores, targets, how)
        return Mixture(tuple(sorted(order)), how)

    def weigh(self, scores: Sequence[np.ndarray], targets: np.ndarray, rows: np.ndarray) -> Mixture:
        """The weighted ensemble, fitted (and its models chosen) on these rows alone."""
        own, truth = [each[rows] for each in scores], targets[rows]
        everyone = tuple(sorted(self._candidates(own, truth)))
        found = fit_weights(
            [own[number] for number in everyone],
            truth,
            self.labels,
            as_described=self.as_described,
        )
        return replace(found, members=everyone)

    def value(self, scores: np.ndarray, targets: np.ndarray) -> float:
        """The figure that decides; the worst there is where it has no value."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MetricWarning)
            found = self.metric(scores, targets, self.labels)
        return found if np.isfinite(found) else -self._sign * np.inf

    @property
    def _sign(self) -> int:
        return 1 if self.metric.higher_is_better else -1

    def _not_worse(self, value: float, than: float) -> bool:
        return self._sign * value >= self._sign * than

    def _candidates(self, scores: Sequence[np.ndarray], targets: np.ndarray) -> tuple[int, ...]:
        """The models that may take part, the best first, equal ones by name."""
        values = [self.value(each, targets) for each in scores]
        order = sorted(
            range(len(scores)),
            key=lambda number: (-self._sign * values[number], self.names[number]),
        )
        if self.at_least is None:
            return tuple(order)
        reach = [number for number in order if self._not_worse(values[number], self.at_least)]
        return tuple(reach or order[:1])

    def _greedy(
        self, order: Sequence[int], scores: Sequence[np.ndarray], targets: np.ndarray, how: Any
    ) -> Mixture:
        """The best model; then each next one that does not make the ensemble worse."""
        found = Mixture((order[0],), how)
        best = self.value(found.of(scores, self.labels), targets)
        for number in order[1:]:
            larger = Mixture((*found.members, number), how)
            value = self.value(larger.of(scores, self.labels), targets)
            if self._not_worse(value, best):
                found, best = larger, value
        return found

    def _selective(
        self, order: Sequence[int], scores: Sequence[np.ndarray], targets: np.ndarray, how: Any
    ) -> Mixture:
        """The best of all sets of models; of equal ones the smallest, then the one whose models are
        better by themselves.
        """
        if len(order) > _MOST_SELECTIVE:
            raise RecipeError(
                f"--method selective: tries every set of models, so it takes up to "
                f"{_MOST_SELECTIVE}, got {len(order)}. Take --method greedy, or --at-least to keep "
                f"the better ones."
            )
        found, best = None, 0.0
        for size in range(1, len(order) + 1):
            for members in itertools.combinations(order, size):
                one = Mixture(members, how)
                value = self.value(one.of(scores, self.labels), targets)
                if found is None or self._sign * value > self._sign * best:
                    found, best = one, value
        assert found is not None, "there is a model"
        return found


def cross_fitted(
    rule: Choosing, scores: Sequence[np.ndarray], targets: np.ndarray
) -> tuple[np.ndarray, tuple[Mixture, Mixture]]:
    """(rows, n_scores) float32, in which each row is scored by an ensemble that was chosen on the
    other half of the rows; and these two ensembles, the one chosen on the first half first.
    """
    parts = rule.halves(len(targets))
    made = []
    found = np.zeros(np.shape(scores[0]), np.float32)
    for chosen_on, scored in (parts, parts[::-1]):
        own = [each[chosen_on] for each in scores]
        if rule.method == "regression" and rule.labels.kind != "regression":
            # The half is fitted as a whole: what is held out is the other one.
            one = rule.weigh(scores, targets, chosen_on)
        else:
            one = rule.choose(own, targets[chosen_on])
        found[scored] = one.of([each[scored] for each in scores], rule.labels)
        made.append(one)
    return found, (made[0], made[1])

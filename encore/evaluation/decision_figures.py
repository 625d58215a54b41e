"""Figures of a decision beside those of the model without it, on the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from encore import rng
from encore.evaluation.bootstrap import resampled
from encore.evaluation.clusters import cluster_codes
from encore.evaluation.decision import Answers
from encore.evaluation.estimates import Estimate, estimate_metrics, metrics_named
from encore.evaluation.fit_decision import right_rows
from encore.evaluation.metric import Metric
from encore.evaluation.paired import PairedDifference, paired_differences
from encore.types import LabelSpace

__all__ = ["DecisionFigures", "accuracy_by_coverage", "measure_decision"]

_ALWAYS = ("log_loss", "ece")
_N_RESAMPLES = 2000


@dataclass(frozen=True)
class DecisionFigures:
    """The figures of a decision on some rows. plain, decided: metric → estimate, without and with
    it, of all rows, the label that abstention withholds included. differences: with it − without.
    coverage: the share of rows with a label; accuracy: the share of these that is right, of a
    multi-label task in all labels; None where no row has one. grouped: the intervals draw groups
    of rows.
    """

    n_rows: int
    plain: Mapping[str, Estimate]
    decided: Mapping[str, Estimate]
    differences: Mapping[str, PairedDifference]
    coverage: Estimate
    accuracy: Estimate | None
    grouped: bool = False

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> DecisionFigures:
        """The figures that `asdict` made plain data of. Raises KeyError or TypeError."""
        n_rows, plain, decided, differences, coverage, accuracy = (
            stored[field.name] for field in fields(cls)[:-1]
        )
        return cls(
            n_rows,
            {name: _stored(one) for name, one in plain.items()},
            {name: _stored(one) for name, one in decided.items()},
            {
                name: PairedDifference(**{**one, "notes": tuple(one.get("notes"))})
                for name, one in differences.items()
            },
            _stored(coverage),
            None if accuracy is None else _stored(accuracy),
            bool(stored.get("grouped")),
        )


def _stored(one: Mapping[str, Any]) -> Estimate:
    return Estimate(**{**one, "notes": tuple(one.get("notes", ()))})


def measure_decision(
    scores: np.ndarray,
    answers: Answers,
    targets: np.ndarray,
    labels: LabelSpace,
    metrics: Sequence[str],
    seed: int,
    *,
    groups: np.ndarray | None = None,
) -> DecisionFigures:
    """Measure answers beside the (rows, n_scores) raw scores that they are made of. metrics: those
    of the task; log loss and ECE come with them. groups: (rows,) numbers of rows that belong
    together. Raises as `estimate_metrics` does.
    """
    names = tuple(dict.fromkeys((*metrics, *_ALWAYS)))
    plain: dict[str, Estimate] = {}
    decided: dict[str, Estimate] = {}
    differences: dict[str, PairedDifference] = {}
    for name, metric in metrics_named(names, labels.kind).items():
        found = answers.read_by(metric)
        for each, scored in ((decided, found), (plain, scores)):
            each[name] = _estimated(metric, scored, targets, labels, seed, groups)
        differences |= paired_differences(
            found, scores, targets, labels, [name], seed, groups=groups
        )
    right = right_rows(answers.decided, targets, labels)
    coverage, accuracy = _shares(answers.covered, right, seed, cluster_codes(groups))
    drawn = groups is not None
    return DecisionFigures(len(targets), plain, decided, differences, coverage, accuracy, drawn)


def _estimated(
    metric: Metric,
    scores: np.ndarray,
    targets: np.ndarray,
    labels: LabelSpace,
    seed: int,
    groups: np.ndarray | None,
) -> Estimate:
    """A metric's value with its interval. The ECE of a resample is above that of its rows, because
    chance adds to it: its interval is moved down by the mean excess.
    """
    name = metric.__name__
    [found] = estimate_metrics(scores, targets, labels, [name], seed, groups=groups).values()
    if name != "ece":
        return found
    drawn = resampled(metric, scores, targets, labels, seed=seed, groups=groups)
    excess = float(drawn.mean()) - found.value
    return replace(found, low=max(0.0, found.low - excess), high=max(0.0, found.high - excess))


def _shares(
    covered: np.ndarray, right: np.ndarray, seed: int, codes: np.ndarray | None
) -> tuple[Estimate, Estimate | None]:
    """The share of rows that are covered, and of these that are right, each with its 95 %
    bootstrap interval. Drawing rows is drawing how many there are of the three kinds; codes: the
    groups that are drawn whole.
    """
    n_covered, n_right, n_rows = int(covered.sum()), int((covered & right).sum()), len(covered)
    counts = np.array([n_rows - n_covered, n_covered - n_right, n_right])
    draw = rng.generator(seed, "bootstrap", "coverage")
    drawn: np.ndarray
    if codes is None:
        drawn = draw.multinomial(n_rows, counts / n_rows, size=_N_RESAMPLES)
    else:
        kinds = np.where(covered, 1 + right, 0)
        of_group = np.zeros((int(codes.max()) + 1, 3))
        np.add.at(of_group, (codes, kinds), 1)
        shares = np.full(len(of_group), 1 / len(of_group))
        drawn = draw.multinomial(len(of_group), shares, size=_N_RESAMPLES) @ of_group
    with_label = drawn[:, 1] + drawn[:, 2]
    coverage = _estimate(n_covered / n_rows, with_label / drawn.sum(axis=1))
    if not n_covered:
        return coverage, None
    some = with_label > 0
    return coverage, _estimate(n_right / n_covered, drawn[some, 2] / with_label[some])


def _estimate(value: float, drawn: np.ndarray) -> Estimate:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def accuracy_by_coverage(
    confidence: np.ndarray, right: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The points of the curve of accuracy by coverage, from the surest rows to all: (points,)
    coverage, accuracy, and the confidence from which rows have a label. Rows of the same confidence
    come together.
    """
    order = np.argsort(-confidence, kind="stable")
    values = confidence[order]
    ends = np.flatnonzero(np.append(values[:-1] > values[1:], True))
    accuracy = np.cumsum(right[order])[ends] / (ends + 1)
    return (ends + 1) / len(values), accuracy, values[ends]

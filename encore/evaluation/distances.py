"""Classes between prediction and truth, where the classes have an order: exact, off by one, off by
two, and so on, as shares of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from encore import catalogue
from encore.evaluation.bootstrap import bootstrap_interval
from encore.evaluation.clusters import cluster_codes
from encore.evaluation.estimates import Estimate
from encore.evaluation.metric import Metric, Weighted, mean_of, metric
from encore.evaluation.predictions import checked, predictions
from encore.types import LabelSpace

__all__ = ["DistanceShare", "has_distances", "shares_by_distance"]

_MOST = 10  # a row for each distance below it; from it on they are one


@dataclass(frozen=True)
class DistanceShare:
    """The rows whose prediction is `distance` classes from the truth (`or_more` classes: that many
    or more), as a share of all rows with its 95 % bootstrap interval.
    """

    distance: int
    n_rows: int
    share: Estimate
    or_more: bool = False

    @property
    def words(self) -> str:
        """The distance as tables name it: "0", "1", "10 or more"."""
        return f"{self.distance} or more" if self.or_more else str(self.distance)


def has_distances(labels: LabelSpace) -> bool:
    """True where the classes have an order and there are three or more."""
    return labels.kind == "multiclass" and labels.ordered and len(labels.names) > 2


def shares_by_distance(
    scores: np.ndarray,
    targets: np.ndarray,
    labels: LabelSpace,
    seed: int,
    *,
    n_resamples: int = 2000,
    groups: np.ndarray | None = None,
) -> tuple[DistanceShare, ...]:
    """The share of each distance that these classes can have, 0 first; empty where they have no
    order. groups: (rows,) numbers of rows that belong together; intervals draw whole groups.

    An interval over rows none of which is so far off has no width, so a note then gives the share
    at which so many rows (or groups) in a row would miss it once in twenty times.
    """
    if not has_distances(labels):
        return ()
    scores, targets = checked(scores, targets, labels)
    last = min(len(labels.names) - 1, _MOST)
    away = _distances(scores, targets, labels)
    codes = cluster_codes(groups)
    n_units = len(targets) if codes is None else int(codes.max()) + 1
    found = []
    for distance in range(last + 1):
        metric, n_rows = _off_by(distance), int((away == distance).sum())
        ends = bootstrap_interval(
            metric, scores, targets, labels, seed=seed, n_resamples=n_resamples, groups=groups
        )
        notes = () if n_rows else (_none_seen(n_units, grouped=n_units < len(targets)),)
        share = Estimate(n_rows / len(targets), ends.low, ends.high, notes)
        found.append(
            DistanceShare(distance, n_rows, share, distance == last < len(labels.names) - 1)
        )
    return tuple(found)


def _distances(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """(rows,) int64 classes between prediction and truth, at most `_MOST`."""
    return np.minimum(np.abs(predictions(scores, labels) - targets), _MOST)


def _off_by(distance: int) -> Metric:
    """The share of rows at this distance, as a metric; the share at 0 is the accuracy, with its
    resamples.
    """
    if distance == 0:
        return catalogue.find("metrics", "accuracy")

    def weighted(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> Weighted:
        return mean_of(_distances(scores, targets, labels) == distance)

    @metric(f"off by {distance}", kinds=("multiclass",), weighted=weighted)
    def off_by(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> float:
        return float((_distances(scores, targets, labels) == distance).mean())

    return off_by


def _none_seen(n_units: int, *, grouped: bool) -> str:
    what = "group" if grouped else "row"
    units = f"{n_units:,} {what}{'' if n_units == 1 else 's'}"
    highest = 1 - 0.05 ** (1 / n_units)
    return (
        f"none in {units}, so the interval has no width; the true share may well be "
        f"{100 * highest:.1f} %"
    )

"""The dev rows of one run, or those of the runs of all folds, put together in the order of the
file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from encore.data.groups import group_numbers
from encore.runs.folder import DevPredictions
from encore.training.streams import Rows

__all__ = ["PooledRows", "pooled", "pooled_predictions"]


@dataclass(frozen=True)
class PooledRows:
    """As of Rows, without tokens. fold: (rows,) the part that each row is from, from 1. order:
    (rows,) where each row lies when the parts follow each other.
    """

    digest: str
    numbers: np.ndarray
    targets: np.ndarray
    groups: pa.ChunkedArray | None
    fold: np.ndarray
    order: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def clusters(self) -> np.ndarray | None:
        """(rows,) int64: equal numbers for rows that belong together, for intervals."""
        return group_numbers(self.groups)

    def scores(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """The scores of all rows. parts: (rows, n_scores) of each part, in the order of its run."""
        return np.concatenate(list(parts))[self.order]


def pooled_predictions(parts: Sequence[DevPredictions]) -> DevPredictions:
    """The predictions of the runs of all folds, in the order of the file; those of a single run as
    they are. Groups, which no intervals are drawn of here, are left out.
    """
    if len(parts) == 1:
        return parts[0]
    rows = np.concatenate([one.rows for one in parts])
    order = np.argsort(rows, kind="stable")
    scores = np.concatenate([one.scores for one in parts])[order]
    targets = np.concatenate([one.targets for one in parts])[order]
    return DevPredictions(scores, targets, parts[0].digest, rows[order])


def pooled(parts: Sequence[Rows]) -> PooledRows:
    """The rows of several runs on parts of one file; those of a single run as they are."""
    numbers = np.concatenate([one.numbers for one in parts])
    several = len(parts) > 1
    order = np.argsort(numbers, kind="stable") if several else np.arange(len(numbers))
    named = [one.groups for one in parts if one.groups is not None]
    groups = pa.chunked_array([chunk for one in named for chunk in one.chunks]) if named else None
    return PooledRows(
        parts[0].digest,
        numbers[order],
        np.concatenate([one.targets for one in parts])[order],
        None if groups is None else groups.take(pa.array(order)),
        np.repeat(np.arange(1, len(parts) + 1), [len(one) for one in parts])[order],
        order,
    )

"""Precision, recall and F1 of each class."""

from __future__ import annotations

import numpy as np

from encore.tables.formatting import shorten
from encore.tables.listing import Listing
from encore.types import LabelSpace

__all__ = ["per_class_table"]


def per_class_table(matrix: np.ndarray, labels: LabelSpace, *, title: str = "by class") -> Listing:
    """One line per class or label: rows that are of it, rows predicted as it, precision, recall
    and F1; – where there is no row to divide by.

    matrix: the counts of `confusion`, (classes, classes) or (labels, 2, 2) for multi-label.
    """
    if labels.kind == "multilabel":
        hits, actual, predicted = matrix[:, 1, 1], matrix[:, 1].sum(axis=1), matrix[:, :, 1].sum(1)
    else:
        hits, actual, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    columns = ("class", "rows", "predicted", "precision", "recall", "F1")
    rows = tuple(
        (
            shorten(name, 30),
            f"{true:,}",
            f"{chosen:,}",
            _percent(hit, chosen),
            _percent(hit, true),
            _percent(2 * hit, true + chosen),
        )
        for name, hit, true, chosen in zip(
            labels.names, hits.tolist(), actual.tolist(), predicted.tolist(), strict=True
        )
    )
    return Listing(title, columns, rows, (), frozenset(range(1, len(columns))))


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"

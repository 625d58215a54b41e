"""Rows in bins of about the same number, by a whole number that each row has: the length of its
text, the words that its two texts share.
"""

from __future__ import annotations

import numpy as np

__all__ = ["row_bins"]

_ROWS_PER_BIN = 20


def row_bins(values: np.ndarray, most: int) -> list[str] | None:
    """For each row the bin that its value is in, "12–20", all of about as many rows; None where
    there are too few rows or values for two. values: (rows,) int64. most: the number of bins, fewer
    where a bin would have less than 20 rows.
    """
    n_bins = min(most, len(values) // _ROWS_PER_BIN)
    if n_bins < 2:
        return None
    edges = np.unique(np.quantile(values, np.linspace(0, 1, n_bins + 1)[1:-1], method="lower"))
    edges = edges[edges < values.max()]
    if not len(edges):
        return None
    bin_of = np.searchsorted(edges, values, side="left")
    spans = [
        (int(values[bin_of == number].min()), int(values[bin_of == number].max()))
        for number in range(len(edges) + 1)
    ]
    return [
        f"{low}–{high}" if low < high else f"{low}"
        for low, high in (spans[number] for number in bin_of.tolist())
    ]

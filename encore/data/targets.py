"""Turns label cells into targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from encore.data.columns import Columns, require_label
from encore.data.label_cells import (
    NUMBER,
    distinct_values,
    fold_label,
    label_counts,
    split_cell,
    without_zeros,
)
from encore.data.label_columns import with_label_column
from encore.data.row_problems import RowProblems
from encore.data.table import Table, join_limited, reject
from encore.errors import Problem

__all__ = ["read_targets", "unknown_labels"]

_MOST_LISTED = 12


def read_targets(table: Table, columns: Columns) -> tuple[np.ndarray | None, RowProblems]:
    """The label column as targets, and the problems of its rows.

    Targets: (rows,) int64 for classes, (rows, labels) float32 of 0 and 1 for multilabel, (rows,)
    float32 for regression; a wrong row holds 0. None without labels. Raises DataError where the
    column cannot hold labels of this kind.
    """
    if columns.label is None:
        return None, RowProblems()
    column = table.columns[columns.label]
    require_label(table, columns.label)
    if columns.kind == "multilabel":
        return _multilabel_targets(table, columns, column)
    if pa.types.is_list(column.type):
        reject(
            table.name,
            f"column '{columns.label}' holds lists; expected one value per row, as the training "
            f"labels are.",
        )
    found = distinct_values(column)
    values = _values(found.words, columns)
    problems: dict[int, Problem] = {}
    wrong_codes = [code for code, value in enumerate(values) if value is None and found.words[code]]
    for row in np.flatnonzero(np.isin(found.codes, wrong_codes)).tolist():
        got = repr(found.words[found.codes[row]])
        problems[row] = table.bad_row(row, columns.label, expected=_expected(columns), got=got)
    empty_codes = [-1, *(code for code, word in enumerate(found.words) if not word)]
    missing = np.flatnonzero(np.isin(found.codes, empty_codes)).tolist()
    numbers = np.array([0.0 if value is None else value for value in values] + [0.0])
    targets = numbers[found.codes].astype(np.float32 if columns.kind == "regression" else np.int64)
    return targets, RowProblems(problems, {columns.label: missing} if missing else {})


def _values(words: Sequence[str], columns: Columns) -> list[float | None]:
    """The target of each word; None for a word that is none."""
    if columns.kind == "regression":
        largest = float(np.finfo(np.float32).max)
        return [
            float(word) if NUMBER.fullmatch(word) and abs(float(word)) <= largest else None
            for word in words
        ]
    known = _Lookup(columns)
    return [known.index(word) for word in words]


class _Lookup:
    """Finds the label that a word is a spelling of."""

    def __init__(self, columns: Columns) -> None:
        self._cells = columns.cells
        self._folded: Mapping[str, int] = (
            {fold_label(cell): index for cell, index in columns.cells.items()}
            if columns.merge_labels
            else {}
        )

    def index(self, word: str) -> int | None:
        """The index of the label's name; None for an unknown word."""
        for cell in (word, without_zeros(word)):
            if cell in self._cells:
                return self._cells[cell]
        return self._folded.get(fold_label(word))


def _expected(columns: Columns) -> str:
    if columns.kind == "regression":
        return "a finite number"
    cells = [cell for cell in columns.cells if cell not in columns.labels]
    ids = f" (or {', '.join(cells[:_MOST_LISTED])})" if cells else ""
    return f"one of {join_limited(columns.labels, _MOST_LISTED)}{ids}"


def unknown_labels(table: Table, columns: Columns) -> dict[str, int]:
    """{word: rows} of the label cells that hold none of the labels. Words among numbers are not in
    it: they are mistakes. Raises DataError where the column cannot hold labels.
    """
    table = with_label_column(table, columns.label, columns.kind)
    if columns.label is None or columns.label not in table.columns.column_names:
        return {}
    require_label(table, columns.label)
    column = table.columns[columns.label]
    if columns.kind == "multilabel":
        counts = label_counts(column, columns.separator)
    else:
        found = distinct_values(column) if not pa.types.is_list(column.type) else None
        counts = {} if found is None else dict(zip(found.words, found.counts.tolist(), strict=True))
    known, numbers = _Lookup(columns), all(map(NUMBER.fullmatch, columns.labels))
    return {
        without_zeros(word): count
        for word, count in counts.items()
        if word and known.index(word) is None and (not numbers or NUMBER.fullmatch(word))
    }


def _multilabel_targets(
    table: Table, columns: Columns, column: pa.ChunkedArray
) -> tuple[np.ndarray, RowProblems]:
    assert columns.label is not None
    expected = f"any of {join_limited(columns.labels, _MOST_LISTED)}"
    targets = np.zeros((len(column), len(columns.labels)), dtype=np.float32)
    problems: dict[int, Problem] = {}
    missing = []
    known = _Lookup(columns)
    for row, parts in enumerate(_labels_of_rows(column, columns.separator)):
        if parts is None:
            missing.append(row)
            continue
        found = [known.index(part) for part in parts]
        if None in found:
            got = repr(parts[found.index(None)])
            problems[row] = table.bad_row(row, columns.label, expected=expected, got=got)
        else:
            targets[row, [at for at in found if at is not None]] = 1.0
    return targets, RowProblems(problems, {columns.label: missing} if missing else {})


def _labels_of_rows(column: pa.ChunkedArray, separator: str) -> list[Sequence[str] | None]:
    """The labels of each row; None where there is no value."""
    if pa.types.is_list(column.type):
        rows = [value for chunk in column.chunks for value in chunk.to_pylist()]
        return [
            None
            if items is None
            else [word for item in items if item is not None and (word := str(item).strip())]
            for items in rows
        ]
    found = distinct_values(column)
    parts_of = [split_cell(word, separator) for word in found.words]
    return [None if code < 0 else parts_of[code] for code in found.codes.tolist()]

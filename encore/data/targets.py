"""Turns label cells into targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from encore.data.columns import Columns, require_label
from encore.data.label_cells import NUMBER, distinct_values, split_cell, without_zeros
from encore.data.table import Table, join_limited, reject
from encore.errors import Problem

__all__ = ["read_targets"]

_MOST_LISTED = 12


def read_targets(table: Table, columns: Columns) -> tuple[np.ndarray | None, dict[int, Problem]]:
    """The label column as targets, and {row: its problem}.

    Targets: (rows,) int64 for classes, (rows, labels) float32 of 0 and 1 for multilabel, (rows,)
    float32 for regression; a wrong row holds 0. None without labels. Raises DataError where the
    column cannot hold labels of this kind.
    """
    if columns.label is None:
        return None, {}
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
    fine = [_is_known(word, columns) for word in found.words]
    values = np.array(
        [
            _value(word, columns) if known else 0.0
            for word, known in zip(found.words, fine, strict=True)
        ]
        + [0.0]
    )
    problems: dict[int, Problem] = {}
    wrong_codes = [code for code, known in enumerate(fine) if not known] + [-1]
    for row in np.flatnonzero(np.isin(found.codes, wrong_codes)).tolist():
        word = found.words[found.codes[row]] if found.codes[row] >= 0 else ""
        problems[row] = table.bad_row(
            row,
            columns.label,
            expected=_expected(columns),
            got=repr(word) if word else "nothing (the cell is empty)",
        )
    targets = values[found.codes]
    return targets.astype(np.float32 if columns.kind == "regression" else np.int64), problems


def _is_known(word: str, columns: Columns) -> bool:
    if columns.kind == "regression":
        largest = float(np.finfo(np.float32).max)
        return NUMBER.fullmatch(word) is not None and abs(float(word)) <= largest
    return word in columns.cells or without_zeros(word) in columns.cells


def _value(word: str, columns: Columns) -> float:
    if columns.kind == "regression":
        return float(word)
    return columns.cells[word if word in columns.cells else without_zeros(word)]


def _expected(columns: Columns) -> str:
    if columns.kind == "regression":
        return "a finite number"
    cells = [cell for cell in columns.cells if cell not in columns.labels]
    ids = f" (or {', '.join(cells[:_MOST_LISTED])})" if cells else ""
    return f"one of {join_limited(columns.labels, _MOST_LISTED)}{ids}"


def _multilabel_targets(
    table: Table, columns: Columns, column: pa.ChunkedArray
) -> tuple[np.ndarray, dict[int, Problem]]:
    assert columns.label is not None
    known = f"any of {join_limited(columns.labels, _MOST_LISTED)}"
    targets = np.zeros((len(column), len(columns.labels)), dtype=np.float32)
    problems: dict[int, Problem] = {}
    for row, parts in enumerate(_labels_of_rows(column)):
        if parts is None and pa.types.is_list(column.type):
            expected, got = "a list of labels (it may be empty)", "nothing"
        elif parts is None:
            expected, got = "labels (an empty cell is fine: none)", "null"
        elif unknown := next((part for part in parts if part not in columns.cells), None):
            expected, got = known, repr(unknown)
        else:
            targets[row, [columns.cells[part] for part in parts]] = 1.0
            continue
        problems[row] = table.bad_row(row, columns.label, expected=expected, got=got)
    return targets, problems


def _labels_of_rows(column: pa.ChunkedArray) -> list[Sequence[str] | None]:
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
    parts_of = [split_cell(word) for word in found.words]
    return [None if code < 0 else parts_of[code] for code in found.codes.tolist()]

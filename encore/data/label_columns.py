"""Reads several columns of 0 and 1 as one label column: `--label toxic,insult,threat`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from encore.data.columns import require_label
from encore.data.label_cells import distinct_values, without_zeros
from encore.data.table import Table, reject_all
from encore.errors import Problem
from encore.types import TaskKind

__all__ = ["label_columns", "with_label_column"]

_MARKS = {"0": False, "false": False, "1": True, "true": True}


def label_columns(names: Sequence[str], label: str | None) -> tuple[str, ...]:
    """The columns that the setting `label` names: one, or several with commas between. names: the
    columns of the table.

    >>> label_columns(["text", "toxic", "insult"], "toxic, insult")
    ('toxic', 'insult')
    """
    if label is None:
        return ()
    if label in names or "," not in label:
        return (label,)
    return tuple(dict.fromkeys(part for word in label.split(",") if (part := word.strip())))


def with_label_column(table: Table, label: str | None, kind: TaskKind | None = None) -> Table:
    """The table with one column in the place of several: called `label`, with the names of the
    columns that hold 1 in a row. kind: the task's; None: one class per row where every row holds
    exactly one 1, lists of labels else.

    Raises DataError where a cell holds anything but 0 and 1.
    """
    parts = label_columns(table.columns.column_names, label)
    if label is None or len(parts) < 2 or set(parts) - set(table.columns.column_names):
        return table
    marks, problems = np.zeros((len(table), len(parts)), dtype=bool), []
    for position, name in enumerate(parts):
        require_label(table, name)
        found = distinct_values(table.columns[name])
        values = [_MARKS.get(without_zeros(word).lower()) for word in found.words]
        known = np.array([value is not None for value in values] + [False])[found.codes]
        marks[:, position] = np.array([value is True for value in values] + [False])[found.codes]
        if not known.all():
            problems.append(_wrong_mark(table, name, int(np.argmin(known))))
    if problems:
        reject_all(problems)
    lists = [[parts[at] for at in np.flatnonzero(row)] for row in marks]
    one_each = kind in ("binary", "multiclass") or (
        kind is None and bool((marks.sum(axis=1) == 1).all())
    )
    column = (
        pa.array([", ".join(names) for names in lists], pa.string())
        if one_each
        else pa.array(lists, pa.list_(pa.string()))
    )
    return replace(table, columns=table.columns.append_column(label, column))


def _wrong_mark(table: Table, name: str, row: int) -> Problem:
    value = table.columns[name][row].as_py()
    got = "an empty cell" if value in (None, "") else repr(value)
    found = table.bad_row(row, name, expected="0 or 1 in each cell of a label's column", got=got)
    remedy = "Write 0 or 1, or leave the column out of:"
    return replace(found, remedy=remedy, setting="data.label", change="NAME,NAME")

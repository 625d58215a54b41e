"""Collects the problems of the rows of a table: wrong cells one by one, missing ones together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from encore.data.table import Table
from encore.errors import Problem

__all__ = ["RowProblems"]

_MOST_PLACES = 3


@dataclass(frozen=True)
class RowProblems:
    """The rows of a table that cannot be used. wrong: {row: its problem}. missing: {column: the
    rows without a value there}. Rows are positions in the table, from 0.
    """

    wrong: Mapping[int, Problem] = field(default_factory=dict)
    missing: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @property
    def rows(self) -> np.ndarray:
        """(bad rows,) int64, ascending."""
        found = {*self.wrong, *(row for rows in self.missing.values() for row in rows)}
        return np.array(sorted(found), dtype=np.int64)

    def listed(self, table: Table) -> list[Problem]:
        """One problem for all empty rows, one for all missing cells of a column, and one for each
        wrong cell.
        """
        empty = _empty_rows(table, {row for rows in self.missing.values() for row in rows})
        problems = []
        if empty:
            are = "row is" if len(empty) == 1 else "rows are"
            message = f"{len(empty):,} {are} empty ({_places(table, sorted(empty))})."
            problems.append(_skippable(table, message, remedy="Remove them, or pass"))
        for column, rows in self.missing.items():
            rest = [row for row in rows if row not in empty]
            if rest:
                are = "cell is" if len(rest) == 1 else "cells are"
                message = f"{len(rest):,} {are} empty ({_places(table, rest)})."
                remedy = "Fill them in, or pass"
                problems.append(_skippable(table, message, column=column, remedy=remedy))
        return [*problems, *(self.wrong[row] for row in sorted(self.wrong) if row not in empty)]


def _skippable(table: Table, message: str, *, remedy: str, column: str = "") -> Problem:
    return Problem(
        where=table.name,
        column=column,
        message=message,
        remedy=remedy,
        setting="data.on_bad_row",
        change="skip",
    )


def _places(table: Table, rows: Sequence[int]) -> str:
    """The lines of the first rows, or their numbers from 1 where there are no lines."""
    first = [
        int(table.rows[row]) + 1 if table.lines is None else int(table.lines[row])
        for row in rows[:_MOST_PLACES]
    ]
    noun = ("row" if table.lines is None else "line") + ("s" if len(rows) > 1 else "")
    more = ", …" if len(rows) > _MOST_PLACES else ""
    return f"{noun} {', '.join(map(str, first))}{more}"


def _empty_rows(table: Table, candidates: set[int]) -> set[int]:
    """Those of the rows that hold nothing in any column."""
    left = np.array(sorted(candidates), dtype=np.int64)
    for column in table.columns.columns:
        if not len(left):
            break
        cells = column.take(pa.array(left))
        blank = pc.is_null(cells)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            blank = pc.equal(pc.utf8_trim_whitespace(pc.fill_null(cells, "")), "")
        left = left[blank.to_numpy().astype(bool)]
    return set(left.tolist())

"""A table as it was read, and how its rows and problems are named."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa

from encore.errors import DataError, Problem
from encore.types import Note

__all__ = [
    "CHUNK_CHARACTERS",
    "CHUNK_ROWS",
    "MOST_PROBLEMS",
    "ParsedRows",
    "Table",
    "bad_row",
    "display_path",
    "join_limited",
    "plural",
    "recorded_path",
    "reject",
    "reject_all",
    "skipped_note",
]

MOST_PROBLEMS = 20  # printed in full
CHUNK_ROWS = 8192
CHUNK_CHARACTERS = 1 << 23  # of a block; its last rows may go beyond


@dataclass(frozen=True)
class Table:
    """The rows of one file. csv cells are all strings ("01" stays "01"); jsonl and parquet keep
    their types.

    name: the path as a message prints it. digest: sha256 of the file's bytes, hex. lines: (rows,)
    int64, the 1-based line where each row starts; None for parquet. rows: (rows,) int64, the
    0-based number of each row in the file, counting the rows that were skipped, so that
    (digest, row) names an example for ever. how_read: delimiter, encoding and the like, a phrase
    each. skipped: the rows that could not be read, if any.
    """

    path: Path
    columns: pa.Table
    digest: str
    lines: np.ndarray | None
    rows: np.ndarray
    name: str
    how_read: tuple[str, ...] = ()
    skipped: Note | None = None

    def __len__(self) -> int:
        return self.columns.num_rows

    @property
    def notes(self) -> tuple[Note, ...]:
        """Notes that qualify figures of these rows."""
        return () if self.skipped is None else (self.skipped,)

    def bad_row(
        self, index: int, column: str, *, message: str = "", expected: str = "", got: str = ""
    ) -> Problem:
        """A problem with the cell of row `index` (0-based position in the table): at its line, or
        where there are no lines, at its row in the file, counted from 1.
        """
        if self.lines is None:
            where, line = f"{self.name} row {self.rows[index] + 1}", None
        else:
            where, line = self.name, int(self.lines[index])
        return bad_row(where, line, column=column, message=message, expected=expected, got=got)


@dataclass
class ParsedRows:
    """The good rows that a parser found in a file or a block of it, their lines and numbers, and
    the problems of the others.

    n_rows: good rows, also where a survey keeps none of them. quotes_close: False
    where a cell begins with a quote and does not end with one. how_read: as in `Table`.
    """

    columns: pa.Table
    lines: list[int]
    rows: list[int]
    problems: list[Problem] = field(default_factory=list)
    n_rows: int = 0
    quotes_close: bool = True
    how_read: list[str] = field(default_factory=list)


def bad_row(
    where: str,
    line: int | None,
    *,
    column: str = "",
    message: str = "",
    expected: str = "",
    got: str = "",
    hint: str = "",
) -> Problem:
    """A problem with one row, which `on_bad_row: skip` leaves out. `hint`: a sentence that comes
    before the remedy.
    """
    fix = "Fix the row, or pass"
    return Problem(
        where=where,
        line=line,
        column=column,
        message=message,
        expected=expected,
        got=got,
        remedy=f"{hint} {fix}" if hint else fix,
        setting="data.on_bad_row",
        change="skip",
    )


def reject(name: str, message: str, remedy: str = "", *, line: int | None = None) -> NoReturn:
    """Raise a DataError with one problem of the file `name`."""
    raise DataError(Problem(where=name, line=line, message=message, remedy=remedy))


def reject_all(problems: Iterable[Problem]) -> NoReturn:
    """Raise a DataError with all problems, the first 20 in full."""
    listed = list(problems)
    shown = listed[:MOST_PROBLEMS]
    if len(listed) > MOST_PROBLEMS:
        shown.append(Problem(message=f"… and {len(listed) - MOST_PROBLEMS:,} more"))
    raise DataError(shown)


def display_path(path: str | Path) -> str:
    """The path as a message prints it: relative to the working directory where that is shorter."""
    if str(path) == "-":
        return "standard input"
    with contextlib.suppress(ValueError):  # another drive
        relative = os.path.relpath(path)
        if len(relative) < len(str(path)) and not relative.startswith(f"..{os.sep}..{os.sep}.."):
            return relative
    return str(path)


def recorded_path(path: str | Path) -> str:
    """The path as a run's files record it: the names of its folder and of itself, however it was
    spelt and wherever the command was given.
    """
    return (
        "standard input" if str(path) == "-" else "/".join(Path(os.path.abspath(path)).parts[-2:])
    )


def skipped_note(name: str, problems: Sequence[Problem], *, n_rows: int) -> Note:
    """The note on the rows that `on_bad_row: skip` left out, `n_rows` of them, and the first
    reasons. name: the path as a message prints it; the note has its last part.
    """
    file = Path(name).name
    first = "; ".join(
        str(replace(problem, where=file, remedy="", setting="", change="")).rstrip(".")
        for problem in problems[:3]
    )
    more = f"; … and {len(problems) - 3:,} more" if len(problems) > 3 else ""
    return Note(f"{plural(n_rows, 'bad row')} skipped ({first}{more})", about=file)


def join_limited(names: Sequence[str], most: int = 8) -> str:
    """The first names with commas between.

    >>> join_limited(["a", "b", "c"], 2)
    'a, b, …'
    """
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def plural(count: int, noun: str) -> str:
    """A count and its noun.

    >>> plural(1, "row"), plural(1_200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"

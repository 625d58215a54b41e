"""A table as it was read, and how its rows and problems are named."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np
import pyarrow as pa

from encore.errors import DataError

__all__ = [
    "CHUNK_ROWS",
    "LINE_ENDS",
    "OnBadRow",
    "ParsedRows",
    "SKIP",
    "Table",
    "complain",
    "display_path",
    "join_limited",
    "place",
    "single_line",
    "skipped_note",
]

OnBadRow = Literal["fail", "skip"]

_MOST_PROBLEMS = 20
CHUNK_ROWS = 8192
SKIP = "Fix the row, or pass --on-bad-row skip."  # the end of every complaint about a row


@dataclass(frozen=True)
class Table:
    """The rows of one file. csv cells are all strings ("01" stays "01"); jsonl and parquet keep
    their types.

    digest: sha256 of the file's bytes, hex. lines: (rows,) int64, the 1-based line where each row
    starts; None for parquet. rows: (rows,) int64, the 0-based number of each row in the file,
    counting the rows that were skipped, so that (digest, row) names an example for ever.
    """

    path: Path
    columns: pa.Table
    digest: str
    lines: np.ndarray | None
    rows: np.ndarray
    notes: tuple[str, ...] = ()
    name: str = ""  # the path as a message prints it
    skipped: str = ""  # the one of the notes that says which rows could not be read

    def __len__(self) -> int:
        return self.columns.num_rows


@dataclass
class ParsedRows:
    """What a parser found: the good rows, where they stood, and what was wrong with the others."""

    columns: pa.Table
    lines: list[int]
    rows: list[int]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def complain(problems: Sequence[str]) -> NoReturn:
    """Raise a DataError with all problems, the first 20 in full, one line each."""
    kept = [single_line(problem) for problem in problems[:_MOST_PROBLEMS]]
    if len(problems) > _MOST_PROBLEMS:
        kept.append(f"… and {len(problems) - _MOST_PROBLEMS:,} more")
    raise DataError(kept)


def single_line(text: str) -> str:
    """A message as one line: a line end in the name of a label or column becomes a blank."""
    return LINE_ENDS.sub(" ", text)


def display_path(path: str | Path) -> str:
    """The path as a message prints it: relative to the working directory where that is shorter."""
    if str(path) == "-":
        return "standard input"
    with contextlib.suppress(ValueError):  # another drive
        relative = os.path.relpath(path)
        if len(relative) < len(str(path)) and not relative.startswith(f"..{os.sep}..{os.sep}.."):
            return relative
    return str(path)


def place(table: Table, index: int) -> str:
    """Where row `index` of a table stands in its file: 'reviews.csv:118', or 'reviews.parquet row
    117' (counted from 1) where there are no lines.
    """
    return (
        f"{table.name}:{table.lines[index]}"
        if table.lines is not None
        else f"{table.name} row {table.rows[index] + 1}"
    )


def skipped_note(name: str, problems: Sequence[str]) -> str:
    """What a run says of the rows that `on_bad_row: skip` dropped: how many, and the first reasons
    in full.
    """
    first = "; ".join(problem.replace(f" {SKIP}", "").rstrip(".") for problem in problems[:3])
    more = f"; … and {len(problems) - 3:,} more" if len(problems) > 3 else ""
    return single_line(
        f"{name}: {len(problems):,} bad row{'s' if len(problems) > 1 else ''} skipped "
        f"({first}{more})"
    )


def join_limited(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")


LINE_ENDS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")

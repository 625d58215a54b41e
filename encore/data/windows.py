"""Cuts a stream of rows into windows that take about the same memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from encore.data.table import Table

__all__ = ["windows"]


def windows(tables: Iterable[Table], *, most_rows: int, most_bytes: int) -> Iterator[Table]:
    """All rows in their order, as tables of `most_rows` rows, or of fewer where the columns of
    these take `most_bytes`, which a window exceeds by less than one of `tables`. The windows are a
    function of the arguments.
    """
    pending: list[Table] = []
    for table in tables:
        start = 0
        while start < len(table):
            room = most_rows - sum(map(len, pending))
            pending.append(_slice(table, start, start + room))
            start += len(pending[-1])
            full = sum(map(len, pending)) == most_rows
            if full or sum(part.columns.nbytes for part in pending) >= most_bytes:
                yield _joined(pending)
                pending = []
    if pending:
        yield _joined(pending)


def _slice(table: Table, start: int, stop: int) -> Table:
    return replace(
        table,
        columns=table.columns.slice(start, stop - start),
        lines=None if table.lines is None else table.lines[start:stop],
        rows=table.rows[start:stop],
    )


def _joined(tables: list[Table]) -> Table:
    lines = [table.lines for table in tables if table.lines is not None]
    return replace(
        tables[0],
        columns=pa.concat_tables([table.columns for table in tables]),
        lines=np.concatenate(lines) if lines else None,
        rows=np.concatenate([table.rows for table in tables]),
    )

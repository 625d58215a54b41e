"""Puts the blocks of a file together: all its rows, or what a survey finds out about them."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from encore.data.jsonl import joined_columns
from encore.data.table import MOST_PROBLEMS, ParsedRows
from encore.errors import Problem

__all__ = ["collect_rows"]

_ONE_MORE = Problem()  # counts a problem that nobody will read


def collect_rows(blocks: Iterable[ParsedRows], *, keep: bool) -> ParsedRows:
    """All rows of the blocks, or without `keep` a survey of them: their number, their problems, of
    which the first are kept, and an empty table with the columns of the whole file. A survey takes
    memory that does not depend on the number of rows.
    """
    found = ParsedRows(pa.table({}), [], [])
    tables: list[pa.Table] = []
    shapes = dict[pa.Schema, None]()
    for block in blocks:
        if keep:
            tables.append(block.columns)
            found.lines += block.lines
            found.rows += block.rows
        shapes.setdefault(block.columns.schema)
        room = len(block.problems) if keep else max(0, MOST_PROBLEMS - len(found.problems))
        found.problems += block.problems[:room]
        found.problems += [_ONE_MORE] * len(block.problems[room:])
        found.n_rows += block.n_rows
        found.quotes_close &= block.quotes_close
    found.columns = _joined(tables or [schema.empty_table() for schema in shapes])
    return found


def _joined(tables: list[pa.Table]) -> pa.Table:
    """One table of blocks that may differ in their columns and types."""
    if tables and all(table.schema == tables[0].schema for table in tables):
        joined = pa.concat_tables(tables)
        if not any(pa.types.is_null(kind) for kind in joined.schema.types):
            return joined
    return joined_columns(tables)

"""Reads the header of a table of text cells, and collects its rows."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from encore.data.table import CHUNK_ROWS, ParsedRows, reject_all
from encore.errors import DataError, Problem

__all__ = ["TextBlocks", "column_names", "reject_title"]


def column_names(header: Sequence[str], name: str, *, line: int) -> list[str]:
    """The names in the cells of a header; `column_2` for an empty one. Raises DataError where two
    columns share a name.
    """
    names = [" ".join(cell.split()) or f"column_{number}" for number, cell in enumerate(header, 1)]
    twice = sorted({word for word in names if names.count(word) > 1})
    if twice:
        reject_all(
            Problem(
                where=name,
                line=line,
                message=f"{names.count(word)} columns are called '{word}'; every column needs a "
                f"name of its own.",
                remedy="Rename them in the header line.",
            )
            for word in twice
        )
    return names


def reject_title(name: str, header: Sequence[str], line: int, parsed: ParsedRows) -> None:
    """Raise DataError where the line that was taken for the header is a title: it has one filled
    cell, of several. line: its line. parsed: the rows below it.
    """
    unnamed = [word == f"column_{number}" for number, word in enumerate(header, 1)]
    if len(header) < 2 or sum(unnamed) != len(header) - 1:
        return
    title = header[unnamed.index(False)]
    first = parsed.columns.slice(0, 20).to_pylist()
    full = [sum(bool(cell and cell.strip()) for cell in row.values()) > 1 for row in first]
    table_line = parsed.lines[full.index(True)] if True in full else line + 1
    raise DataError(
        Problem(
            where=name,
            line=line,
            message=f"only one of {len(header)} cells is filled ({title[:60]!r}): a title, no "
            f"column names.",
            remedy="Skip it:",
            setting="data.skip_lines",
            change=str(table_line - 1),
        )
    )


class TextBlocks:
    """Rows of cells, of which each block is turned into arrays."""

    def __init__(self, header: Sequence[str]) -> None:
        self._schema = pa.schema([(column, pa.string()) for column in header])
        self._batches: list[pa.RecordBatch] = []
        self._rows: list[list[str]] = []

    def append(self, row: list[str]) -> None:
        """Add a row, with a cell for each column."""
        self._rows.append(row)
        if len(self._rows) == CHUNK_ROWS:
            self._flush()

    def table(self) -> pa.Table:
        """All rows, as columns of strings."""
        self._flush()
        return pa.Table.from_batches(self._batches, schema=self._schema)

    def _flush(self) -> None:
        if self._rows:
            arrays = [pa.array(cells, pa.string()) for cells in zip(*self._rows, strict=True)]
            self._batches.append(pa.record_batch(arrays, schema=self._schema))
            self._rows.clear()

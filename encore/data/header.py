"""Reads the header of a table of text cells, and collects its rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from encore.data.table import CHUNK_ROWS, reject_all
from encore.errors import DataError, Problem

__all__ = ["TITLE_ROWS", "TextBlocks", "column_names", "reject_title", "text_columns"]

TITLE_ROWS = 20  # rows among which the first below a title is looked for


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


def reject_title(
    name: str, header: Sequence[str], line: int, first: Sequence[tuple[int, Sequence[str]]]
) -> None:
    """Raise DataError where the line that was taken for the header is a title: it has one filled
    cell, of several. line: its line. first: the first `TITLE_ROWS` rows below it, with their lines.
    """
    unnamed = [word == f"column_{number}" for number, word in enumerate(header, 1)]
    if len(header) < 2 or sum(unnamed) != len(header) - 1:
        return
    title = header[unnamed.index(False)]
    full = (number for number, row in first if sum(bool(cell.strip()) for cell in row) > 1)
    table_line = next(full, line + 1)
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


def text_columns(rows: Iterable[Sequence[str]]) -> list[pa.Array]:
    """The cells of each column as strings."""
    return [pa.array(cells, pa.string()) for cells in zip(*rows, strict=True)]


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
            self._batches.append(pa.record_batch(text_columns(self._rows), schema=self._schema))
            self._rows.clear()

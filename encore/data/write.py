"""Writes tables as csv, JSON lines or parquet."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from encore import files
from encore.data.endings import TABLE_ENDINGS
from encore.data.spreadsheet import text_cell
from encore.data.table import CHUNK_ROWS, display_path, reject
from encore.errors import printable

__all__ = ["check_target", "table_of", "write_rows", "write_tables", "writing"]


def check_target(path: str | Path, *, overwrite: bool = False) -> None:
    """Check, before anything is computed, that `write_rows` can write there. Raises DataError."""
    file, name = Path(path), display_path(path)
    if str(path) == "-":
        return
    if file.suffix.lower() not in TABLE_ENDINGS:
        reject(
            name,
            f"cannot tell the format from '{file.suffix or file.name}'; expected a name that ends "
            f"in .csv, .tsv, .jsonl or .parquet.",
        )
    if file.is_dir():
        inside = display_path(file / "predictions.csv")
        reject(name, f"this is a folder; name a file in it, such as {inside}.")
    if file.exists() and not overwrite:
        reject(
            name, "exists already and is left as it is.", "Name another file, or pass --overwrite."
        )
    if not file.parent.is_dir():
        folder = display_path(file.parent)
        reject(name, f"the folder {folder} does not exist.", f"Make it first: mkdir -p {folder}")


def write_rows(
    path: str | Path,
    columns: Mapping[str, Sequence[Any] | np.ndarray | pa.Array | pa.ChunkedArray],
    *,
    overwrite: bool = False,
    raw: bool = False,
) -> None:
    """Write columns as `write_tables` does."""
    write_tables(path, [table_of(columns)], overwrite=overwrite, raw=raw)


def table_of(
    columns: Mapping[str, Sequence[Any] | np.ndarray | pa.Array | pa.ChunkedArray],
) -> pa.Table:
    """The columns as an Arrow table."""
    return pa.table(
        {
            name: values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
            for name, values in columns.items()
        }
    )


def write_tables(
    path: str | Path, tables: Iterable[pa.Table], *, overwrite: bool = False, raw: bool = False
) -> None:
    """Write tables of the same columns, one below the other, as csv, tsv, jsonl or parquet, by
    suffix ("-": csv on standard output). The file appears whole or not at all, and no more than one
    of the tables is in memory.

    Lists (multi-label) become `;`-separated cells in csv. raw: leave texts as they are that a
    spreadsheet would take for formulas. Raises DataError where the file exists and `overwrite` is
    False, where its folder does not exist, where the suffix is none of these, and where the disk
    is full.
    """
    safe: Callable[[Any], Any] = (lambda value: value) if raw else text_cell
    if str(path) == "-":
        sys.stdout.flush()
        shown = _printable_cell if sys.stdout.isatty() else (lambda value: value)
        _write_csv(tables, sys.stdout.buffer, ",", lambda value: shown(safe(value)))
        sys.stdout.buffer.flush()
        return
    file = Path(path)
    writers: dict[str, Callable[[Iterable[pa.Table], BinaryIO], None]] = {
        ".csv": lambda rows, out: _write_csv(rows, out, ",", safe),
        ".tsv": lambda rows, out: _write_csv(rows, out, "\t", safe),
        ".jsonl": _write_jsonl,
        ".parquet": _write_parquet,
    }
    check_target(path, overwrite=overwrite)
    mask = os.umask(0)
    os.umask(mask)
    with writing(path):
        files.put(file, partial(writers[file.suffix.lower()], tables), mode=0o666 & ~mask)


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Raise an OSError inside as a DataError: `path` could not be written."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        reject(display_path(path), f"could not be written ({why}); nothing was changed.")


def _write_csv(
    tables: Iterable[pa.Table], out: BinaryIO, delimiter: str, shown: Callable[[Any], Any]
) -> None:
    """shown: (value of a cell) → the value to write."""
    text = io.TextIOWrapper(out, encoding="utf-8", newline="")
    try:
        writer = csv.writer(_ShortEnds(text), delimiter=delimiter)
        for number, table in enumerate(tables):
            if number == 0:
                writer.writerow(map(shown, table.column_names))
            for batch in table.to_batches(max_chunksize=CHUNK_ROWS):
                columns = [_cells(column, shown) for column in batch.columns]
                writer.writerows(zip(*columns, strict=True))
        text.flush()
    finally:
        text.detach()


class _ShortEnds:
    r"""Ends the csv module's rows with \n. The module quotes a cell that holds \r only where \r is
    part of its line end.
    """

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text

    def write(self, row: str) -> int:
        return self._text.write(row.removesuffix("\r\n") + "\n")


def _cells(column: pa.Array, shown: Callable[[Any], Any]) -> Iterable[Any]:
    kind, values = column.type, column.to_pylist()
    if kind == pa.float64() and column.null_count == 0 and not _has_nan(column):
        return values  # as probabilities are: a call per cell takes longer than writing it
    return [shown(_cell(value)) for value in values]


def _has_nan(column: pa.Array) -> bool:
    return bool(pc.any(pc.is_nan(column)).as_py())


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return ";".join(map(str, value))
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def _printable_cell(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value


def _write_jsonl(tables: Iterable[pa.Table], out: BinaryIO) -> None:
    for table in tables:
        for batch in table.to_batches(max_chunksize=CHUNK_ROWS):
            for record in batch.to_pylist():
                clean = {
                    key: None if isinstance(value, float) and not math.isfinite(value) else value
                    for key, value in record.items()
                }
                out.write(json.dumps(clean, ensure_ascii=False).encode() + b"\n")


def _write_parquet(tables: Iterable[pa.Table], out: BinaryIO) -> None:
    writer = None
    try:
        for table in tables:
            writer = writer or pq.ParquetWriter(out, table.schema, compression="zstd")
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()

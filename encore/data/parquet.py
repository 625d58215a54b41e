"""Reads parquet files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from encore.data.byte_source import ByteSource
from encore.data.table import CHUNK_ROWS, ParsedRows, join_limited, reject, reject_all
from encore.errors import Problem

__all__ = ["parquet_blocks"]


def parquet_blocks(data: ByteSource, name: str) -> Iterator[ParsedRows]:
    """The rows of a parquet file, block by block. name: the file, for messages. Raises DataError:
    damaged, no rows, columns that share a name.
    """
    row_number = 0
    with _explained(name), data.open() as file:
        opened = pq.ParquetFile(file, buffer_size=1 << 20)
        _check_columns(opened.schema_arrow.names, opened.metadata.num_rows, name)
        for batch in opened.iter_batches(batch_size=CHUNK_ROWS, use_threads=False):
            columns = pa.Table.from_batches([batch])
            for index, column in enumerate(columns.columns):
                kind = _usual_type(column.type)
                if kind != column.type:
                    where = columns.column_names[index]
                    columns = columns.set_column(index, where, column.cast(kind))
            rows = list(range(row_number, row_number + len(columns)))
            yield ParsedRows(columns, [], rows, n_rows=len(rows))
            row_number += len(columns)


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0].split(". ")[0][:120]
        reject(name, f"a damaged parquet file ({reason}).", "Copy or write it again.")


def _check_columns(names: list[str], n_rows: int, name: str) -> None:
    if not n_rows:
        reject(name, f"the columns {join_limited(names)} and no rows.")
    twice = sorted({word for word in names if names.count(word) > 1})
    if twice:
        reject_all(
            Problem(
                where=name,
                message=f"more than one column is called '{word}'; every column needs a name of "
                f"its own.",
            )
            for word in twice
        )


def _usual_type(kind: pa.DataType) -> pa.DataType:
    """The plain type of the same values, so that later code meets one type per kind of value."""
    if pa.types.is_dictionary(kind):
        return _usual_type(kind.value_type)
    if pa.types.is_null(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_decimal(kind):
        return pa.float64()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        item = _usual_type(kind.value_type)
        plain = (
            pa.types.is_string(item)
            or pa.types.is_large_string(item)
            or pa.types.is_integer(item)
            or pa.types.is_boolean(item)
        )
        return pa.list_(pa.string()) if plain else pa.list_(item)
    return kind

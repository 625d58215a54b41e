"""Reads parquet files."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from encore.data.table import ParsedRows, join_limited, reject, reject_all
from encore.errors import Problem

__all__ = ["read_parquet"]


def read_parquet(data: bytes, name: str) -> ParsedRows:
    """Parse the bytes of a parquet file. name: the file, for messages. Raises DataError: damaged,
    no rows, columns that share a name.
    """
    try:
        columns = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0].split(". ")[0][:120]
        reject(name, f"a damaged parquet file ({reason}).", "Copy or write it again.")
    if not columns.num_rows:
        reject(name, f"the columns {join_limited(columns.column_names)} and no rows.")
    twice = sorted({word for word in columns.column_names if columns.column_names.count(word) > 1})
    if twice:
        reject_all(
            Problem(
                where=name,
                message=f"more than one column is called '{word}'; every column needs a name of "
                f"its own.",
            )
            for word in twice
        )
    for index, column in enumerate(columns.columns):
        kind = _usual_type(column.type)
        if kind != column.type:
            columns = columns.set_column(index, columns.column_names[index], column.cast(kind))
    return ParsedRows(columns, [], list(range(columns.num_rows)))


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

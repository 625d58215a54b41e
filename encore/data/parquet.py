"""Reads parquet files."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from encore.data.table import ParsedRows, complain, join_limited
from encore.errors import DataError

__all__ = ["read_parquet"]


# ------------------------------------------------------------------------------------------ parquet


def read_parquet(data: bytes, name: str) -> ParsedRows:
    try:
        columns = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0].split(". ")[0][:120]
        raise DataError(
            f"{name}: a damaged parquet file ({reason}). Copy or write it again."
        ) from None
    if not columns.num_rows:
        complain([f"{name}: the columns {join_limited(columns.column_names)} and no rows."])
    twice = sorted({word for word in columns.column_names if columns.column_names.count(word) > 1})
    if twice:
        complain(
            [
                f"{name}: more than one column is called '{word}'; every column needs a name "
                f"of its own."
                for word in twice
            ]
        )
    for index, column in enumerate(columns.columns):
        kind = _usual_type(column.type)
        if kind != column.type:
            columns = columns.set_column(index, columns.column_names[index], column.cast(kind))
    return ParsedRows(columns, [], list(range(columns.num_rows)))


def _usual_type(kind: pa.DataType) -> pa.DataType:
    """Types that hold the same values in another arrangement are read as the plain one, so that
    nobody downstream meets more than one of each.
    """
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

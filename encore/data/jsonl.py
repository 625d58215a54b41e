"""Reads JSON lines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from encore.data.byte_source import ByteSource
from encore.data.encodings import decode
from encore.data.table import CHUNK_CHARACTERS, CHUNK_ROWS, ParsedRows, bad_row, reject
from encore.errors import Problem

__all__ = ["cast_column", "joined_columns", "json_blocks"]


def json_blocks(data: ByteSource, codec: str, name: str) -> Iterator[ParsedRows]:
    """The rows of a file of one JSON object per line, block by block; the last block may be empty.

    A column of a block is int64, double, bool or list of string where all its values are; string
    else; `joined_columns` finds those of the whole file. name: the file, for messages. Raises
    DataError where there is no row; problems of rows are in the blocks.
    """
    block, row_number, characters = _empty(), 0, 0
    records: list[dict[str, Any]] = []
    for line_number, line in enumerate(decode(data, codec), 1):
        if not line.strip():
            continue
        record = _parse_line(line, name, line_number)
        if isinstance(record, Problem):
            block.problems.append(record)
        else:
            records.append(record)
            block.lines.append(line_number)
            block.rows.append(row_number)
            characters += len(line)
        row_number += 1
        if len(records) == CHUNK_ROWS or characters >= CHUNK_CHARACTERS:
            yield replace(block, columns=_json_block(records), n_rows=len(records))
            block, records, characters = _empty(), [], 0
    if not row_number:
        reject(name, "the file holds no rows; expected one JSON object per line.")
    yield replace(block, columns=_json_block(records), n_rows=len(records))


def _empty() -> ParsedRows:
    return ParsedRows(pa.table({}), [], [])


def _parse_line(line: str, name: str, number: int) -> dict[str, Any] | Problem:
    shown = _short(line.strip())
    try:
        record = json.loads(line.rstrip("\r\n"), object_pairs_hook=_without_duplicates)
        if not isinstance(record, dict) or not record:
            return bad_row(
                name, number, expected='an object such as {"text": …, "label": …}', got=shown
            )
        # Only an escape can make half of a surrogate pair, which Arrow does not take.
        if "\\ud" in line.lower():
            json.dumps(record, ensure_ascii=False).encode()
        else:
            line.encode()
    except json.JSONDecodeError as error:
        why = f"not JSON ({error.msg} at column {error.colno}): {shown}."
    except UnicodeEncodeError:
        why = "half of a surrogate pair (\\ud800–\\udfff), which is no character."
    except RecursionError:
        why = "nested too deeply; expected a flat object."
    except ValueError as error:
        why = f"{error}."
    else:
        return record
    return bad_row(name, number, message=why)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object; raises ValueError where a key occurs twice, which `json` would let pass."""
    record = dict(pairs)
    if len(record) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise ValueError(
            f"the key {_short(next(key for key, n in counts.items() if n > 1))} occurs twice in "
            f"one object"
        )
    return record


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "…")


def _json_block(records: Sequence[Mapping[str, Any]]) -> pa.Table:
    keys = dict.fromkeys(key for record in records for key in record)
    return pa.table({key: _json_array([record.get(key) for record in records]) for key in keys})


def _json_array(values: list[Any]) -> pa.Array:
    """int64, double, bool or list of string where every value is of that type; strings else: what a
    person would type for it.
    """
    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    if kinds == {list}:
        return pa.array(
            [None if value is None else [_word(item) for item in value] for value in values],
            pa.list_(pa.string()),
        )
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds == {int} and all(-(2**63) <= value < 2**63 for value in present):
        return pa.array(values, pa.int64())
    if (
        kinds
        and kinds <= {int, float}
        and all(not isinstance(value, int) or abs(value) <= 2**53 for value in present)
    ):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if not kinds:
        return pa.nulls(len(values))
    return pa.array([None if value is None else _word(value) for value in values], pa.string())


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def joined_columns(tables: Sequence[pa.Table]) -> pa.Table:
    """One table from blocks that may differ in columns and types: a column that does not agree
    becomes strings.
    """
    # A dictionary each: pyarrow looks a name up in time that grows with the number of columns.
    found = [dict(zip(table.column_names, table.columns, strict=True)) for table in tables]
    columns: dict[str, pa.ChunkedArray] = {}
    for name in dict.fromkeys(name for each in found for name in each):
        parts = [
            each[name] if name in each else pa.chunked_array([pa.nulls(table.num_rows)])
            for each, table in zip(found, tables, strict=True)
        ]
        kinds = {part.type for part in parts} - {pa.null()}
        if not kinds:
            kind = pa.string()
        elif len(kinds) == 1:
            (kind,) = kinds
        elif kinds == {pa.int64(), pa.float64()}:
            kind = pa.float64()
        else:
            kind = pa.string()
        chunks = [cast_column(chunk, kind) for part in parts for chunk in part.chunks]
        columns[name] = pa.chunked_array(chunks, type=kind)
    return pa.table(columns)


def cast_column(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The values of a block's column as those of the whole file."""
    if array.type == kind:
        return array
    if array.type == pa.null():
        return pa.nulls(len(array), kind)
    if kind == pa.string():
        return pa.array(
            [None if value is None else _word(value) for value in array.to_pylist()], kind
        )
    return array.cast(kind)

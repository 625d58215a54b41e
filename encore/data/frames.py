"""Tables and columns that other libraries hold in memory, read without importing these libraries.

They come through the Arrow C stream (pandas, polars, pyarrow, DuckDB, …), the dataframe interchange
protocol, or as Hugging Face `datasets`; plain Python has a dict of columns and a list of dicts. All
become JSON lines, so that a table means the same whether it is given or written to a file first,
whichever library holds it.
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.interchange as interchange

from encore import files
from encore.data.byte_source import ByteSource
from encore.data.collect import collect_rows
from encore.data.jsonl import json_blocks
from encore.data.table import CHUNK_ROWS, Table, reject
from encore.errors import did_you_mean, first_line

__all__ = ["as_arrow", "frame_table", "is_frame", "store_frames"]

_NAME = "the given table"
_UNREADABLE = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_struct, pa.types.is_map)


@runtime_checkable
class _Streams(Protocol):
    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


@runtime_checkable
class _IsArray(Protocol):
    def __arrow_c_array__(self, requested_schema: object = None) -> object: ...


@runtime_checkable
class _Interchanges(Protocol):
    def __dataframe__(self, nan_as_null: bool = False, allow_copy: bool = True) -> Any: ...


@runtime_checkable
class _Formats(Protocol):
    """A data set of Hugging Face `datasets`, whose rows may be a selection of its Arrow table."""

    def with_format(self, type: str) -> Any: ...


def is_frame(value: object) -> bool:
    """True for a table in memory. A mapping is one if each of its values is a column."""
    if isinstance(value, Mapping):
        return bool(value) and all(map(_is_column, value.values()))
    if isinstance(value, list):
        return bool(value) and all(isinstance(row, Mapping) for row in value)
    return isinstance(value, _Streams | _Interchanges | _Formats)


def _is_column(value: object) -> bool:
    return isinstance(value, Sequence | np.ndarray | _Streams | _IsArray) and not isinstance(
        value, str | bytes
    )


def as_arrow(value: Any) -> pa.Table | pa.ChunkedArray | None:
    """The Arrow table or column that a value of another library holds, None where it holds neither.
    Raises DataError where it cannot be read.
    """
    try:
        if isinstance(value, _Streams):
            # A frame streams structs, one for each row; a single column does not.
            try:
                return pa.table(value)
            except pa.ArrowInvalid:
                return pa.chunked_array(value)
        if isinstance(value, _IsArray):
            return pa.chunked_array([pa.array(value)])
        if isinstance(value, _Formats):
            return value.with_format("arrow")[:]
        if isinstance(value, _Interchanges):
            return interchange.from_dataframe(value)
        if is_frame(value):
            return pa.table(dict(value)) if isinstance(value, Mapping) else _of_rows(value)
    except (pa.ArrowException, UnicodeError, ValueError, TypeError) as error:
        reject(_NAME, f"cannot be read as a table ({first_line(error, 200)}).")
    return None


def _of_rows(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def frame_table(value: Any) -> Table:
    """The rows of a table in memory, as those of a JSON lines file that holds the same. Raises
    DataError.
    """
    given = _readable(value)
    content = b"".join(_lines(given))
    columns = pa.table({name: pa.array([], pa.string()) for name in given.column_names})
    if content:
        blocks = json_blocks(ByteSource(content), "utf-8", _NAME)
        columns = collect_rows(blocks, keep=True).columns
    return Table(
        path=Path(_NAME),
        columns=columns,
        digest=hashlib.sha256(content).hexdigest(),
        lines=None,
        rows=np.arange(len(given)),
        name=_NAME,
    )


def store_frames(
    what: Any, settings: Mapping[str, Any], folder: Path, name: str
) -> tuple[Any, dict[str, Any]]:
    """`what` and `settings` with each table in memory written to a file, in whose place its path
    is: `folder/DIGEST/name.jsonl`, left as it is where it holds the same already. Of a mapping with
    the tables train, validation (or dev) and test, the others are the settings `dev` and `test`.
    Raises DataError, also where one of these is the table to train on.
    """
    given = dict(settings)
    if isinstance(what, Mapping) and is_frame(what.get("train")):
        parts = {"train": "train", "validation": "dev", "dev": "dev", "test": "test"}
        unknown = [key for key in what if key not in parts]
        if unknown:
            reject(_NAME, f"no set is called '{unknown[0]}'.", did_you_mean(unknown[0], [*parts]))
        given = {parts[key]: table for key, table in what.items()} | given
        what = given.pop("train")
    stored = {
        key: _store(value, folder, key) if is_frame(value) else value
        for key, value in given.items()
    }
    if not is_frame(what):
        return what, stored
    train = _store(what, folder, name)
    same = [f"{key}=" for key in given if is_frame(given[key]) and _holds_same(stored[key], train)]
    if same:
        reject(
            _NAME,
            f"{' and '.join(same)} got the same rows as are trained on.",
            "Give other rows, or leave it out: for dev, a part of the rows serves then.",
        )
    return train, stored


def _holds_same(file: Path, other: Path) -> bool:
    """True where two files that `_store` wrote hold the same rows: their folders say so."""
    return file.parent == other.parent


def _store(value: Any, folder: Path, name: str) -> Path:
    content = b"".join(_lines(_readable(value)))
    if not content:
        reject(_NAME, "it has no rows.")
    file = folder / hashlib.sha256(content).hexdigest()[:16] / f"{name}.jsonl"
    try:
        if not (file.is_file() and file.read_bytes() == content):
            file.parent.mkdir(parents=True, exist_ok=True)
            files.put(file, content, mode=0o600)
    except OSError as error:
        reject(str(file), f"could not be written ({error.strerror or error}).")
    return file


def _readable(value: Any) -> pa.Table:
    """The columns that a file of JSON lines can hold."""
    table = as_arrow(value)
    if not isinstance(table, pa.Table):
        reject(_NAME, f"expected a table with named columns, got {type(value).__name__}.")
    names = [
        name
        for name, kind in zip(table.column_names, table.schema.types, strict=True)
        # The index of a pandas table has no name of its own.
        if not name.startswith("__index_level_") and not any(test(kind) for test in _UNREADABLE)
    ]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        reject(_NAME, f"more than one column is called '{twice[0]}'; rename one.")
    return table.select(names)


def _lines(table: pa.Table) -> Iterator[bytes]:
    """Each row as a line of JSON."""
    classes = _class_names(table)
    for batch in table.to_batches(max_chunksize=CHUNK_ROWS):
        for record in batch.to_pylist():
            for name, words in classes.items():
                number = record[name]
                record[name] = words[number] if number is not None and number >= 0 else None
            for name, cell in record.items():
                if isinstance(cell, float) and not math.isfinite(cell):
                    record[name] = None
            yield json.dumps(record, ensure_ascii=False, default=_plain).encode() + b"\n"


def _class_names(table: pa.Table) -> dict[str, list[str]]:
    """Column → the names of its classes, which `datasets` keeps beside numbers in the metadata. A
    class of -1 is a missing one.
    """
    written = (table.schema.metadata or {}).get(b"huggingface")
    known = {} if written is None else json.loads(written)
    features = known.get("info", {}).get("features", {})
    return {
        name: feature.get("names", [])
        for name, feature in features.items()
        if name in table.column_names
        and isinstance(feature, Mapping)
        and feature.get("_type") == "ClassLabel"
    }


def _plain(value: Any) -> float | str:
    """A number or a text for a cell that JSON does not have."""
    if isinstance(value, decimal.Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, datetime.date) else str(value)

"""Reads rows for a trained model: labelled ones to evaluate it on, texts to predict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pyarrow as pa

from encore.data.build import (
    build_dataset,
    describe_reading,
    missing_columns,
    normalise_column,
    read_texts,
)
from encore.data.columns import Columns
from encore.data.dataset import Dataset
from encore.data.frames import as_arrow, frame_table, is_frame
from encore.data.read import read_table
from encore.data.settings import Reading
from encore.data.table import Table, reject, reject_all
from encore.errors import DataError, Problem
from encore.types import Note

__all__ = ["read_labelled", "read_unlabelled", "rows_to_predict"]


def read_labelled(
    source: Any,
    columns: Columns,
    *,
    normalise: str | None = None,
    name: str = "labelled",
    keep: Sequence[str] = (),
    **reading: Unpack[Reading],
) -> Dataset:
    """Read a labelled file, or a table in memory, as the training file was read: same columns, same
    label names.

    keep: further columns wanted in `extra` (to slice metrics by). Raises DataError with all
    problems.
    """
    table = frame_table(source) if is_frame(source) else read_table(source, **reading)
    missing = missing_columns(table, columns, keep=keep)
    if missing:
        reject_all(missing)
    dataset, problems = build_dataset(
        table,
        columns,
        name,
        normalise=normalise,
        on_bad_row=reading.get("on_bad_row", "fail"),
        keep=keep,
    )
    if problems:
        reject_all(problems)
    return dataset


def read_unlabelled(
    source: Any,
    columns: Columns,
    *,
    normalise: str | None = None,
    keep_all: bool = False,
    **reading: Unpack[Reading],
) -> Dataset:
    """Read texts to predict, one row per row of the source, in its order: a file ("-": standard
    input), a table in memory, or texts given directly (pairs where the task has pairs).

    A blank text is a row like any other. Where the task has single texts, the column of a file
    with one column may have any name (noted). keep_all: every column of the file is in `extra`.
    Raises DataError with all problems.
    """
    if isinstance(source, str | Path):
        table = read_table(source, **reading)
    else:
        given = as_arrow(source)
        if not isinstance(given, pa.Table):
            return _given_texts(source if given is None else given, columns, normalise)
        table = frame_table(given)
    return rows_to_predict(table, columns, normalise=normalise, keep_all=keep_all)


def rows_to_predict(
    table: Table, columns: Columns, *, normalise: str | None = None, keep_all: bool = False
) -> Dataset:
    """The rows of a table, or of a part of it, as `read_unlabelled` returns those of a file. Raises
    DataError where it does not have the columns.
    """
    columns, notes = _only_column(table, columns)
    missing = missing_columns(table, columns, label=False)
    if missing:
        reject_all(missing)
    pair = columns.text_pair
    return Dataset(
        name="predict",
        texts=read_texts(table, columns.text, normalise),
        pairs=None if pair is None else read_texts(table, pair, normalise),
        targets=None,
        rows=table.rows,
        digest=table.digest,
        path=str(table.path),
        lines=table.lines,
        extra={name: table.columns[name] for name in table.columns.column_names if keep_all},
        notes=(*notes, *table.notes),
        how_read=describe_reading(table),
    )


def _only_column(table: Table, columns: Columns) -> tuple[Columns, tuple[Note, ...]]:
    """The columns, with the only column of a table as the text whatever its name."""
    names = table.columns.column_names
    if columns.text_pair is not None or columns.text in names or len(names) != 1:
        return columns, ()
    (only,) = names
    if " " in only:
        reject(
            table.name,
            f"the first line ({only[:60]!r}) looks like a text, not like a column name.",
            f"Put the name on top: {columns.text}",
        )
    return replace(columns, text=only), (Note(f"column '{only}' is taken for the text"),)


def _given_texts(given: Any, columns: Columns, normalise: str | None) -> Dataset:
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        expected = "a text, several texts, or a table with a list of cells for each column"
        reject("the given texts", f"expected {expected}, got {type(given).__name__}.")
    source = given.to_pylist() if isinstance(given, pa.ChunkedArray) else list(given)
    want_pair = columns.text_pair is not None
    expected = "a pair of texts (text, text_pair)" if want_pair else "a string"
    problems = [
        Problem(where=f"text {position}", expected=expected, got=type(item).__name__)
        for position, item in enumerate(source)
        if not (_is_pair(item) if want_pair else isinstance(item, str))
    ]
    if problems:
        reject_all(problems)
    try:
        first = _strings([item[0] if want_pair else item for item in source])
        second = _strings([item[1] for item in source]) if want_pair else None
    except UnicodeEncodeError as error:
        half = error.object[error.start : error.end]
        raise DataError(
            f"a text holds half of a surrogate pair ({half!r}), which is no character."
        ) from None
    return Dataset(
        name="predict",
        texts=normalise_column(first, normalise),
        pairs=None if second is None else normalise_column(second, normalise),
        targets=None,
        rows=np.arange(len(first)),
        digest="",
        path="given texts",
    )


def _is_pair(item: Any) -> bool:
    return (
        isinstance(item, tuple | list)
        and len(item) == 2
        and all(isinstance(part, str) for part in item)
    )


def _strings(texts: list[str]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(texts, pa.string())])

"""Builds datasets from tables: texts, targets, and the problems of their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from encore.data.columns import Columns, require_text
from encore.data.dataset import Dataset
from encore.data.groups import read_groups
from encore.data.label_columns import label_columns, with_label_column
from encore.data.normalise import normalise_text
from encore.data.row_problems import RowProblems
from encore.data.settings import OnBadRow
from encore.data.table import Table, plural, skipped_note
from encore.data.targets import read_targets
from encore.errors import Problem, did_you_mean
from encore.types import Note

__all__ = [
    "build_dataset",
    "describe_reading",
    "missing_columns",
    "normalise_column",
    "read_texts",
]


def build_dataset(
    table: Table,
    columns: Columns,
    name: str,
    *,
    normalise: str | None,
    on_bad_row: OnBadRow,
    keep: Sequence[str] = (),
) -> tuple[Dataset, list[Problem]]:
    """The rows of a table as a dataset called `name`, and the problems of its rows; with
    `on_bad_row` "skip" such rows are left out and noted instead. keep: columns wanted in `extra`.

    Raises DataError where a column cannot hold texts, labels or groups.
    """
    table = with_label_column(table, columns.label, columns.kind)
    texts = read_texts(table, columns.text, normalise)
    pairs, negatives = (
        None if name is None else read_texts(table, name, normalise)
        for name in (columns.text_pair, columns.negative)
    )
    targets, problems = read_targets(table, columns)
    missing = dict(problems.missing)
    for column, values in (
        (columns.text, texts),
        (columns.text_pair, pairs),
        (columns.negative, negatives),
    ):
        if column is not None and values is not None:
            blank = pc.equal(pc.utf8_trim_whitespace(values), "").to_numpy()
            if blank.any():
                missing[column] = np.flatnonzero(blank).tolist()
    problems = RowProblems(problems.wrong, missing)
    dataset = Dataset(
        name=name,
        texts=texts,
        pairs=pairs,
        targets=targets,
        rows=table.rows,
        digest=table.digest,
        path=str(table.path),
        lines=table.lines,
        extra={word: table.columns[word] for word in keep},
        notes=table.notes,
        how_read=describe_reading(table),
        negatives=negatives,
        groups=read_groups(table, columns.group),
    )
    bad = problems.rows
    if not len(bad):
        return dataset, []
    listed = problems.listed(table)
    if on_bad_row == "fail":
        return dataset, listed
    good = np.setdiff1d(np.arange(len(dataset)), bad)
    if not len(good):
        nothing = Problem(where=table.name, message="every row is bad; nothing is left to use.")
        return dataset, [nothing, *listed]
    notes = (*table.notes, skipped_note(table.name, listed, n_rows=len(bad)))
    return replace(dataset.take(good), notes=notes), []


def describe_reading(table: Table, n_rows: int | None = None) -> Note:
    """The note on how a file was read: its rows, delimiter and encoding. n_rows: those of the file,
    where the table holds a part of it.
    """
    rows = plural(len(table) if n_rows is None else n_rows, "row")
    return Note(", ".join([rows, *table.how_read]), about=table.name)


def missing_columns(
    table: Table, columns: Columns, *, label: bool = True, keep: Sequence[str] = ()
) -> list[Problem]:
    """A problem for each column that is needed and is not in the table."""
    names = table.columns.column_names
    labels = label_columns(names, columns.label) if label else ()
    wanted = [columns.text, columns.text_pair, columns.negative, *labels, *keep]
    roles: Mapping[str | None, str] = {
        columns.group: " (the group)",
        columns.text: " (the text)",
        columns.text_pair: " (the second text)",
        columns.negative: " (the text that does not belong)",
        **dict.fromkeys(labels, " (the label)"),
    }
    return [
        Problem(
            where=table.name,
            message=f"no column '{name}'{roles.get(name, '')}.",
            remedy=did_you_mean(name, names),
        )
        for name in dict.fromkeys(wanted)
        if name is not None and name not in names
    ]


def read_texts(table: Table, name: str, normalise: str | None) -> pa.ChunkedArray:
    """A column of texts, normalised; an empty text where there is none. Raises DataError where the
    column holds anything but text.
    """
    require_text(table, name)
    column = table.columns[name]
    if column.null_count:
        column = pc.fill_null(column, "")
    return normalise_column(column, normalise)


def normalise_column(column: pa.ChunkedArray, how: str | None) -> pa.ChunkedArray:
    """The texts after `normalise_text`, chunk by chunk."""
    if how is None or how == "none":
        return column
    chunks = [
        pa.array([normalise_text(value, how) for value in chunk.to_pylist()], column.type)
        for chunk in column.chunks
    ]
    return pa.chunked_array(chunks, type=column.type)

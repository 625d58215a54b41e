"""Reads the train and dev sets of a task: a named task's files, or the user's own."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from encore.data.build import build_dataset, describe_reading, missing_columns
from encore.data.columns import Columns
from encore.data.dataset import Dataset
from encore.data.infer import infer_columns, infer_texts
from encore.data.more import with_new_labels
from encore.data.named import NamedTask, read_split
from encore.data.read import read_table
from encore.data.settings import DataSettings
from encore.data.table import Table, display_path, reject_all
from encore.errors import DataError, EncoreError, Problem, RecipeError
from encore.types import Note

__all__ = ["TaskParts", "named_parts", "user_parts"]


@dataclass(frozen=True)
class TaskParts:
    """The train set and the dev sets of a task as they are in its files.

    notes: what was inferred. caveats: what qualifies the figures. group_by_text: rows with the
    same first text are not split up, whatever their second one. more: further training rows, file
    by file.
    """

    columns: Columns
    train: Dataset
    dev: Mapping[str, Dataset]
    notes: tuple[Note, ...]
    caveats: tuple[Note, ...] = ()
    group_by_text: bool = False
    more: tuple[Dataset, ...] = ()


def named_parts(name: str, task: NamedTask, settings: DataSettings) -> TaskParts:
    """Read the files of a named task. Raises DataError with the problems of all of them."""
    columns = replace(
        _columns_of(task), negative=_negative_of(name, task, settings), group=settings.group
    )
    parts: dict[str, Dataset] = {}
    problems: list[Problem] = []
    tables, wrong = _read_more(settings)
    problems += wrong
    columns = with_new_labels(columns, tables, settings)
    for split in task.files:
        try:
            table = read_split(name, task, split)
            if settings.group is not None and settings.group not in table.columns.column_names:
                reject_all(missing_columns(table, columns, keep=[settings.group]))
            parts[split], wrong = build_dataset(
                table,
                columns,
                split,
                normalise=settings.normalise,
                on_bad_row=settings.on_bad_row,
            )
            problems += wrong
        except DataError as error:
            problems += error.problems
    more = [_build(table, columns, "train", settings) for table in tables]
    problems += [problem for _, wrong in more for problem in wrong]
    if problems:
        reject_all(problems)
    differs = (Note(task.official),) if isinstance(task.official, str) else ()
    return TaskParts(
        columns,
        parts.pop("train"),
        parts,
        (*differs, *map(Note, task.notes), *columns.notes),
        differs,
        task.negative is not None,
        tuple(part for part, _ in more if part is not None),
    )


def _negative_of(name: str, task: NamedTask, settings: DataSettings) -> str | None:
    """The column of texts that do not belong. Raises RecipeError where the task has none."""
    if settings.negative is None or settings.negative in task.negatives:
        return settings.negative
    known = f" Known: {', '.join(task.negatives)}." if task.negatives else ""
    raise RecipeError(
        Problem(
            setting="data.negative",
            message=f"task '{name}' has no column of texts that do not belong called "
            f"'{settings.negative}'.{known}",
        )
    )


def _columns_of(task: NamedTask) -> Columns:
    cells = {label: index for index, label in enumerate(task.labels)}
    cells |= dict(task.cells) or {str(index): index for index in range(len(task.labels))}
    label = None if task.kind == "unlabelled" else task.label
    return Columns(task.text, task.text_pair, label, task.kind, task.labels, task.ordered, cells)


def user_parts(train: Path, dev: Mapping[str, Path], settings: DataSettings) -> TaskParts:
    """Read the user's files; the columns are those of the train file. Raises DataError with the
    problems of all of them.
    """
    problems: list[Problem] = []
    tables: dict[str, Table] = {}
    partly = set()
    for key, path in {"train": train, **dev}.items():
        table, wrong = _read(path, settings)
        problems += wrong
        if table is not None:
            tables[key] = table
            partly |= {key} if wrong else set()
    more, wrong = _read_more(settings)
    problems += wrong
    columns: Columns | None = None
    is_inferred = False
    whole = tables.get("train")
    if whole is not None:
        try:
            columns = with_new_labels(infer_columns(whole, settings), more, settings)
            is_inferred = True
        except EncoreError as error:
            # Where only some rows could be read, inference may be wrong about the columns; the
            # header is right.
            if "train" not in partly or not _has_named_columns(whole, settings):
                problems += error.problems
            with contextlib.suppress(EncoreError):
                columns = infer_texts(whole, settings)  # the texts are checked all the same
    parts: dict[str, Dataset] = {}
    for key, table in tables.items() if columns is not None else ():
        assert columns is not None
        built, wrong = _build(table, columns, key, settings)
        problems += wrong
        if built is not None:
            parts[key] = built
    added = [_build(table, columns, "train", settings) for table in more if columns is not None]
    problems += [problem for _, wrong in added for problem in wrong]
    problems += _same_file_twice(train, dev, list(map(settings.path, settings.more)))
    if problems or columns is None or not is_inferred:
        reject_all(problems)
    how_read = map(describe_reading, [*tables.values(), *more])
    return TaskParts(
        columns,
        parts.pop("train"),
        parts,
        (*how_read, *columns.notes),
        more=tuple(part for part, _ in added if part is not None),
    )


def _read_more(settings: DataSettings) -> tuple[list[Table], list[Problem]]:
    """The tables of further training rows, and their problems."""
    read = [_read(settings.path(file), settings) for file in settings.more]
    return [table for table, _ in read if table is not None], [
        problem for _, wrong in read for problem in wrong
    ]


def _read(path: Path, settings: DataSettings) -> tuple[Table | None, list[Problem]]:
    """The table and its problems. Where rows cannot be read, the table of the others is returned
    beside the problems, so that these are checked too and no file is repaired twice.
    """
    try:
        return read_table(path, **settings.reading), []
    except DataError as error:
        problems = list(error.problems)
    if settings.on_bad_row == "fail" and str(path) != "-":
        without_them = replace(settings, on_bad_row="skip")
        with contextlib.suppress(DataError):
            return read_table(path, **without_them.reading), problems
    return None, problems


def _has_named_columns(table: Table, settings: DataSettings) -> bool:
    named = (settings.text, settings.text_pair, settings.label)
    return all(name is None or name in table.columns.column_names for name in named)


def _build(
    table: Table, columns: Columns, name: str, settings: DataSettings
) -> tuple[Dataset | None, list[Problem]]:
    missing = missing_columns(table, columns, keep=[columns.group] if columns.group else ())
    if missing:
        return None, missing
    try:
        return build_dataset(
            table, columns, name, normalise=settings.normalise, on_bad_row=settings.on_bad_row
        )
    except DataError as error:
        return None, list(error.problems)


def _same_file_twice(train: Path, dev: Mapping[str, Path], more: Sequence[Path]) -> list[Problem]:
    known = {path.resolve() for path in dev.values()} | {train.resolve()}
    if len(known) == 1 + len(dev):
        twice = [path for path in more if path.resolve() in known]
        return [
            Problem(
                where=display_path(path),
                message="data.more names a file that data.train or data.dev names already.",
                remedy="Name a file of other rows.",
            )
            for path in twice
        ]
    return [
        Problem(
            where=display_path(train),
            message="data.train and data.dev name one file twice.",
            remedy="Leave data.dev out, and a part of the train file is split off.",
        )
    ]

"""`encore check`: findings on a data file, without training on it."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encore.cli.dry_run import truncation_line
from encore.cli.options import FileOptions
from encore.cli.output import announce, console, print_json, say
from encore.data.table import display_path
from encore.errors import RecipeError

if TYPE_CHECKING:
    from encore.data.dataset import TaskData
    from encore.report.file_check import FileCheck
    from encore.runs.prepared import Prepared

__all__ = ["CheckOptions", "check_file"]


@dataclass(frozen=True)
class CheckOptions:
    """The arguments of `encore check`. data: column and file options, None where not given. folds:
    of the model that doubts labels; 0 for none.
    """

    what: str
    overrides: tuple[str, ...]
    data: Mapping[str, str | bool | None]
    file: FileOptions
    folds: int
    out: Path | None
    overwrite: bool
    json_: bool
    quiet: bool


def check_file(options: CheckOptions) -> None:
    """Check a file and print the findings, or write them as a page. Raises EncoreError."""
    from encore import api, files
    from encore.cli import usage
    from encore.report.file_check import check_lines, check_page, check_tables
    from encore.report.page import render
    from encore.report.write import target
    from encore.tables.listing import show

    if options.what == "-":
        sys.stdin = io.TextIOWrapper(_Reread(sys.stdin.buffer.read()))
    if options.folds == 1:
        raise RecipeError("--folds: expected 2 or more, got 1.")
    out = None
    if options.out is not None:
        out = target(Path(), options.out, overwrite=options.overwrite)
    given: dict[str, Any] = usage.option_values({**options.data, **options.file.settings()})
    prepared = api.prepared_from(options.what, options.overrides, **given)
    found = _findings(prepared, options)
    if out is not None:
        files.write(out, render(check_page(found)).encode())
    if options.json_:
        print_json(found.to_json())
        return
    announce(found.notes, quiet=options.quiet)
    for table in check_tables(found):
        show(table, console())
    say(*check_lines(found))
    if out is not None:
        say(f"page: {display_path(out)}")


class _Reread(io.BytesIO):
    """Standard input that is whole each time it is read, as a file is."""

    def read(self, size: int | None = -1, /) -> bytes:
        return self.getvalue() if size is None or size < 0 else super().read(size)


def _findings(prepared: Prepared, options: CheckOptions) -> FileCheck:
    from encore.data.inputs import read_labelled
    from encore.data.read import read_table
    from encore.report import file_check

    name, data = next(iter(prepared.data.items()))
    recipe = prepared.recipe.tasks[name].data
    if len(prepared.data) > 1 or recipe.train is None:
        raise RecipeError(f"{options.what}: expected one data file, such as reviews.csv.")
    if data.columns.label is None:
        raise RecipeError("data.kind: there is nothing to check in a file without labels.")
    path = Path("-") if recipe.train == "-" else prepared.recipe.path(recipe.train)
    whole = read_labelled(
        path, data.columns, normalise=data.normalise, name="train", **data.reading
    )
    stream = prepared.streams[name]
    folds, seed = options.folds, prepared.recipe.seed
    copies = file_check.copies_per_row(whole)
    return file_check.FileCheck(
        name=display_path(path),
        rows=len(whole),
        notes=(
            *map(str, data.notes),
            truncation_line(prepared, name),
            *file_check.group_lines(whole, data.columns.group),
            *_test_notes(data),
        ),
        labels=file_check.label_rows(whole, data.labels),
        n_copies=len(copies) - int(copies.max()) - 1,
        conflicts=file_check.contradictions(whole, data.labels),
        lengths={
            part: rows.store.lengths for part, rows in {"train": stream.train, **stream.dev}.items()
        },
        suspicious=file_check.suspicious_columns(read_table(path, **data.reading), data.columns),
        doubted=file_check.doubted_rows(whole, data.labels, folds, seed=seed) if folds else (),
    )


def _test_notes(data: TaskData) -> list[str]:
    """Lines on the test file: its texts are compared with the train set, its labels not read."""
    if data.test is None:
        return []
    from encore.data.checks import overlap_notes
    from encore.data.inputs import read_unlabelled

    test = read_unlabelled(data.test, data.columns, normalise=data.normalise, **data.reading)
    opened = f"test file {display_path(data.test)}: its texts are compared; its labels are not read"
    return [opened, *map(str, overlap_notes(data.train, replace(test, name="test")))]

"""Holds rows out of the train file: a dev set where no file is given, or one fold of several."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from encore.data.checks import copies_per_row
from encore.data.dataset import Dataset
from encore.data.groups import group_numbers
from encore.data.parts import TaskParts
from encore.data.settings import DataSettings
from encore.data.split import stratified_folds, stratified_split
from encore.data.table import display_path, plural
from encore.errors import DataError, Problem
from encore.types import Note

__all__ = ["hold_out_dev", "hold_out_fold"]


@dataclass(frozen=True)
class _Together:
    """The rows that stay together. numbers: (rows,) int. column: the one that says so; None: copies
    of a text stay together.

    Where a column says it, copies of a text may be parted: short texts that everybody writes would
    tie all groups into one. The note on rows that also occur in the train set counts them.
    """

    numbers: np.ndarray
    column: str | None

    @property
    def n_groups(self) -> int:
        return len(np.unique(self.numbers))

    @property
    def words(self) -> str:
        """The end of a note on a split."""
        n_rows = len(self.numbers)
        if self.column is not None:
            return f"; {plural(self.n_groups, 'group')} of '{self.column}', none of them parted"
        n_copies = n_rows - self.n_groups
        repeat = "repeats a text and stays" if n_copies == 1 else "repeat a text and stay"
        return f"; {plural(n_copies, 'row')} {repeat} with it" if n_copies else ""


def _together(parts: TaskParts) -> _Together:
    groups = group_numbers(parts.train.groups)
    if groups is not None:
        return _Together(groups, parts.columns.group)
    return _Together(copies_per_row(parts.train, by_text=parts.group_by_text), None)


def hold_out_dev(
    name: str, parts: TaskParts, settings: DataSettings
) -> tuple[Dataset, Dataset, Note]:
    """The train set without the dev set, the dev set, and the note on it. Raises DataError where
    all rows stay together.
    """
    whole, frac, seed = parts.train, settings.dev_frac, settings.seed
    file, source = _files(whole, settings)
    together = _together(parts)
    if together.n_groups == 1:
        raise DataError(
            Problem(
                where=file,
                message=f"all {len(whole)} rows hold the same text; there is nothing to split off "
                f"as a dev set.",
                remedy="Give a dev file:",
                setting="data.dev",
                change="FILE",
            )
        )
    assert whole.targets is not None
    train, dev = stratified_split(
        whole.targets,
        parts.columns.kind,
        frac,
        seed,
        together.numbers,
        mixed=together.column is not None,
        purpose=name,
    )
    note = Note(
        f"{len(dev):,} of the {len(whole):,} rows of {source} "
        f"({len(dev) / len(whole):.0%}, {_how(parts)}, seed {seed}{together.words})",
        about="dev",
    )
    return whole.take(train), replace(whole.take(dev), name="dev"), note


def hold_out_fold(
    name: str, parts: TaskParts, settings: DataSettings
) -> tuple[Dataset, Dataset, Note]:
    """The train set without one of its folds, that fold as the dev set, and the note on it. Raises
    DataError where there cannot be so many folds.
    """
    assert settings.fold is not None
    number, n_folds = map(int, settings.fold.split("/"))
    whole, seed = parts.train, settings.seed
    file, source = _files(whole, settings)
    together = _together(parts)
    _require_rows(file, parts, n_folds, together)
    assert whole.targets is not None
    folds = stratified_folds(
        whole.targets, parts.columns.kind, n_folds, seed, together.numbers, purpose=name
    )
    train, dev = np.flatnonzero(folds != number - 1), np.flatnonzero(folds == number - 1)
    note = Note(
        f"fold {number} of {n_folds}: {len(dev):,} of the {len(whole):,} rows of {source} "
        f"({_how(parts)}, seed {seed}{together.words})",
        about="dev",
    )
    return whole.take(train), replace(whole.take(dev), name="dev"), note


def _require_rows(file: str, parts: TaskParts, n_folds: int, together: _Together) -> None:
    """Raise DataError where a fold would be empty, or would lack a class."""
    message = ""
    if together.n_groups < n_folds:
        what = (
            plural(together.n_groups, "distinct text")
            if together.column is None
            else f"{plural(together.n_groups, 'group')} of '{together.column}'"
        )
        message = f"{n_folds} folds need {n_folds} groups of rows or more, and there are {what}."
    elif parts.columns.kind in ("binary", "multiclass"):
        counts = np.bincount(parts.train.targets, minlength=len(parts.columns.labels))  # type: ignore[arg-type]
        rarest = min(np.flatnonzero(counts).tolist(), key=lambda label: int(counts[label]))
        if counts[rarest] < n_folds:
            message = (
                f"label '{parts.columns.labels[rarest]}' has {plural(int(counts[rarest]), 'row')}, "
                f"fewer than the {n_folds} folds: not each of them could measure it."
            )
    if message:
        raise DataError(
            Problem(where=file, message=message, remedy="Take fewer folds, or more rows.")
        )


def _files(whole: Dataset, settings: DataSettings) -> tuple[str, str]:
    """The train file as a problem names it, and as a note does."""
    if settings.train is None:
        return "the train file", "the train file"
    return display_path(whole.path), Path(whole.path).name


def _how(parts: TaskParts) -> str:
    return "by tenths of the value" if parts.columns.kind == "regression" else "stratified"

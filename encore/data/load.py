"""Loads a task's rows for the tokenizer: train, one or more dev sets, and a test file that only
`open_test` opens.

Texts stay in pyarrow arrays: 100,000 reviews cost their bytes, not 100,000 Python objects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from encore.data.checks import (
    check_test,
    class_notes,
    conflict_notes,
    overlap_notes,
)
from encore.data.dataset import Dataset, TaskData
from encore.data.groups import group_notes, group_numbers, require_groups
from encore.data.hold_out import hold_out_dev, hold_out_fold
from encore.data.inputs import read_labelled
from encore.data.more import with_more
from encore.data.named import find_task, task_names
from encore.data.parts import TaskParts, named_parts, user_parts
from encore.data.settings import DataSettings, check_settings
from encore.data.split import stratified_subset
from encore.data.table import display_path, plural
from encore.errors import Complaints, DataError, Problem, RecipeError
from encore.types import Note, TaskKind

__all__ = ["load_task", "open_test"]

_METRICS: Mapping[TaskKind, tuple[str, ...]] = {
    "binary": ("accuracy", "f1"),
    "multiclass": ("accuracy", "macro_f1"),
    "multilabel": ("micro_f1", "macro_f1"),
    "regression": ("pearson", "spearman"),
    "unlabelled": (),
}
_NORMALISATION_NOTES = {
    "minbert": "outer blanks dropped",
    "minbert_pair": "blanks as the CS224N pair files have them",
}


def load_task(name: str, settings: DataSettings) -> TaskData:
    """Read a task: the files of `settings`, or the named task `name` where there is no `train`.

    Without a dev file a stratified part of the train file serves, `dev_frac` of its rows or one
    `fold`, copies of a text, or the rows of a `group`, kept on one side; the test file is never
    touched. An unlabelled task has no dev set: there is
    nothing to measure. `train_rows` and `dev_rows` cut a set, stratified and seeded; a dev
    set split off is split off before the cut, so it stays the same. Raises RecipeError (settings)
    or DataError (files), with all problems at once.
    """
    check_settings(name, settings, is_named=name in task_names())
    test = None if settings.test is None else settings.path(settings.test)
    if settings.train is None:
        named = find_task(name, label=settings.label)
        if settings.normalise is None:
            settings = replace(settings, normalise=named.normalise)
        parts = named_parts(name, named, settings)
        usual_metrics = named.metrics
        if test is not None:
            known = [Path(part.path) for part in (parts.train, *parts.dev.values())]
            check_test(test, known, list(map(settings.path, settings.more)))
    else:
        parts = _read_files(settings, test)
        usual_metrics = _METRICS[parts.columns.kind]
    notes = [*parts.notes, *_normalisation_note(settings.normalise)]
    train, dev, caveats = _divide(name, parts, settings)
    caveats = [*parts.caveats, *caveats]
    about_task = [replace(note, task=name) for note in [*notes, *caveats]]
    return TaskData(
        name=name,
        labels=parts.columns.space,
        train=train,
        dev=dev,
        metrics=tuple(usual_metrics if settings.metrics is None else settings.metrics),
        notes=tuple(dict.fromkeys(about_task)),
        test=test,
        columns=parts.columns,
        normalise=settings.normalise,
        reading=settings.reading,
        caveats=tuple(dict.fromkeys(about_task[len(notes) :])),
    )


def open_test(data: TaskData, *, log: Callable[[str], None], keep: Sequence[str] = ()) -> Dataset:
    """Read the test file: the only function that does. What is opened is logged, with its digest,
    before anything is computed from it. keep: as for `read_labelled`.

    Raises DataError where the task has none, or where the file is wrong.
    """
    if data.test is None:
        raise DataError(
            Problem(
                message=f"task '{data.name}' has no test file.",
                remedy="Name one when training:",
                setting="data.test",
                change="FILE",
            )
        )
    log(f"test file {display_path(data.test)} is opened")
    dataset = read_labelled(
        data.test,
        data.columns,
        normalise=data.normalise,
        name="test",
        keep=keep,
        **data.reading,
    )
    log(f"test file {display_path(data.test)}: {len(dataset):,} rows, sha256 {dataset.digest}")
    return replace(dataset, notes=(*dataset.notes, *overlap_notes(data.train, dataset)))


def _read_files(settings: DataSettings, test: Path | None) -> TaskParts:
    """The user's files; problems of train, dev and test are raised together."""
    assert settings.train is not None
    train, dev = settings.path(settings.train), settings.dev_files
    complaints = Complaints()
    parts: TaskParts | None = None
    with complaints.collecting():
        parts = user_parts(train, dev, settings)
    if test is not None:
        with complaints.collecting():
            check_test(test, [train, *dev.values()], list(map(settings.path, settings.more)))
    complaints.raise_any()
    assert parts is not None
    return replace(parts, notes=(*parts.notes, *conflict_notes(parts.train, parts.columns.kind)))


def _normalisation_note(how: str | None) -> list[Note]:
    if how in (None, "none"):
        return []
    return [Note(f"texts normalised: {how} (lower case, {_NORMALISATION_NOTES[str(how)]})")]


def _divide(
    name: str, parts: TaskParts, settings: DataSettings
) -> tuple[Dataset, dict[str, Dataset], list[Note]]:
    """The train set, the dev sets, and what qualifies figures on them: a dev set is split off
    where there is none, then the sets are cut.
    """
    kind, seed = parts.columns.kind, settings.seed
    train, dev = parts.train, dict(parts.dev)
    notes = [note for part in (train, *dev.values()) for note in part.notes]
    if train.groups is not None and parts.columns.group is not None:
        require_groups(display_path(train.path), parts.columns.group, train.groups)
    if settings.fold is not None and dev:
        message = f"task '{name}' brings its own dev set, and folds are parts of the train file."
        remedy = "Leave folds out, or name a train file of your own:"
        raise RecipeError(
            Problem(message=message, remedy=remedy, setting="data.train", change="FILE")
        )
    if not dev and kind != "unlabelled":
        hold_out = hold_out_dev if settings.fold is None else hold_out_fold
        train, dev["dev"], note = hold_out(name, parts, settings)
        notes.append(note)
    notes += [note for part in dev.values() for note in overlap_notes(train, part)]
    train, cut_notes = _cut(train, kind, settings.train_rows, seed, name)
    for key, part in dev.items():
        dev[key], more = _cut(part, kind, settings.dev_rows, seed, name)
        cut_notes += more
    if parts.more:
        train, more = with_more(train, parts.more, dev.values(), settings.only_more)
        cut_notes += more
    if train.groups is not None and parts.columns.group is not None:
        beside = [(key, part.groups) for key, part in dev.items() if part.groups is not None]
        notes += group_notes(parts.columns.group, train.groups, beside)
    notes += [note for part in (train, *dev.values()) for note in class_notes(part, parts.columns)]
    return train, dev, notes + cut_notes


def _cut(
    part: Dataset, kind: TaskKind, n_rows: int | None, seed: int, name: str
) -> tuple[Dataset, list[Note]]:
    """The set cut to `n_rows`, and a note on it; None: as it is."""
    if n_rows is None or n_rows == len(part):
        return part, []
    if n_rows > len(part):
        note = Note(f"{n_rows:,} rows wanted, all {len(part):,} used", about=part.name)
        return part, [note]
    targets, how = (
        (np.zeros(len(part)), "drawn") if part.targets is None else (part.targets, "stratified")
    )
    groups = group_numbers(part.groups)
    rows = stratified_subset(targets, kind, n_rows, seed, groups, purpose=f"{name}/{part.name}")
    whole = "" if groups is None else f"; {plural(len(np.unique(groups[rows])), 'whole group')}"
    note = Note(
        f"{part.name} cut to {len(rows):,} of {len(part):,} rows ({how}, seed {seed}{whole})"
    )
    return part.take(rows), [note]

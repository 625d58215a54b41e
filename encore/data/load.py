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
    copies_per_row,
    overlap_notes,
)
from encore.data.dataset import Dataset, TaskData
from encore.data.inputs import read_labelled
from encore.data.more import with_more
from encore.data.named import find_task, task_names
from encore.data.parts import TaskParts, named_parts, user_parts
from encore.data.settings import DataSettings, check_settings
from encore.data.split import stratified_split, stratified_subset
from encore.data.table import display_path, plural
from encore.errors import Complaints, DataError, Problem
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

    Without a dev file a stratified part of the train file serves, `dev_frac` of its rows, copies of
    a text kept on one side; the test file is never touched. An unlabelled task has no dev set:
    there is nothing to measure. `train_rows` and `dev_rows` cut a set, stratified and seeded; a dev
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
    if not dev and kind != "unlabelled":
        train, dev["dev"], note = _split_off(name, parts, settings)
        notes.append(note)
    notes += [note for part in dev.values() for note in overlap_notes(train, part)]
    train, cut_notes = _cut(train, kind, settings.train_rows, seed, name)
    for key, part in dev.items():
        dev[key], more = _cut(part, kind, settings.dev_rows, seed, name)
        cut_notes += more
    if parts.more:
        train, more = with_more(train, parts.more, dev.values(), settings.only_more)
        cut_notes += more
    notes += [note for part in (train, *dev.values()) for note in class_notes(part, parts.columns)]
    return train, dev, notes + cut_notes


def _split_off(
    name: str, parts: TaskParts, settings: DataSettings
) -> tuple[Dataset, Dataset, Note]:
    """The train set without the dev set, the dev set, and the note on it."""
    whole, frac, seed = parts.train, settings.dev_frac, settings.seed
    file = "the train file" if settings.train is None else display_path(whole.path)
    groups = copies_per_row(whole, by_text=parts.group_by_text)
    if groups.max() == 0:
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
        whole.targets, parts.columns.kind, frac, seed, groups, purpose=name
    )
    n_copies = len(groups) - int(groups.max()) - 1
    repeat = "repeats a text and stays" if n_copies == 1 else "repeat a text and stay"
    copies = f"; {plural(n_copies, 'row')} {repeat} with it" if n_copies else ""
    source = file if settings.train is None else Path(whole.path).name
    how = "by tenths of the value" if parts.columns.kind == "regression" else "stratified"
    note = Note(
        f"{len(dev):,} of the {len(whole):,} rows of {source} "
        f"({len(dev) / len(whole):.0%}, {how}, seed {seed}{copies})",
        about="dev",
    )
    return whole.take(train), replace(whole.take(dev), name="dev"), note


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
    rows = stratified_subset(targets, kind, n_rows, seed, purpose=f"{name}/{part.name}")
    note = Note(f"{part.name} cut to {n_rows:,} of {len(part):,} rows ({how}, seed {seed})")
    return part.take(rows), [note]

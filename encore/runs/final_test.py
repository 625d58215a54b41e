"""A run's test file: opened by `encore evaluate --final` alone, counted, and its figures kept.

RUN/test_opened.log: a line for people at every opening, before the file is read.
RUN/test_results.json: what the latest opening gave, by task.
RUNS/test_openings.jsonl: a record of every opening by any run of the folder. A run that is removed
leaves its openings there: a test file is used up by being looked at, whichever run looked.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from encore import files
from encore.data.dataset import Dataset
from encore.data.load import load_task, open_test
from encore.data.table import display_path, plural
from encore.errors import DataError
from encore.evaluation.estimates import Estimate
from encore.recipe.load import load_recipe
from encore.recipe.schema import data_settings
from encore.runs.folder import stored_estimate
from encore.runs.predictor import Predictor, ServedTask
from encore.types import Note

__all__ = [
    "FinalFigures",
    "carry_openings",
    "evaluated_rows",
    "keep_final",
    "open_final",
    "read_final",
]

_LOG, _RESULTS, _OPENINGS = "test_opened.log", "test_results.json", "test_openings.jsonl"


@dataclass(frozen=True)
class FinalFigures:
    """The figures of a task on its test file. time: UTC, to the second. metrics: by name."""

    time: str
    file: str
    rows: int
    sha256: str
    metrics: Mapping[str, Estimate]


def open_final(
    model: Predictor[ServedTask],
    task: str | None,
    *,
    log: Callable[[str], None],
    keep: Sequence[str] = (),
) -> Dataset:
    """Open the run's test file. Each time, with the file's contents, is logged; if any run of the
    same folder opened the same rows before, a note is added to them. Raises TrainingError where a
    link is in the run's folder, DataError.
    """
    chosen = model.task(task).name
    files.require_plain(model.folder)  # a line is appended to a file in it
    recipe = load_recipe(model.origins(chosen)[0] / "recipe.yaml")
    data = load_task(chosen, data_settings(recipe, chosen))

    def both(line: str) -> None:
        log(line)
        _append(model.folder / _LOG, f"{_now()} {line}")

    dataset = open_test(data, log=both, keep=keep)
    openings = model.folder.resolve().parent / _OPENINGS
    before = [one for one in _records(openings) if one.get("sha256") == dataset.digest]
    record = {"time": _now(), "run": model.folder.resolve().name, "sha256": dataset.digest}
    _append(openings, json.dumps(record))
    if not before:
        return dataset
    runs = plural(len({_digits(one.get("run")) for one in before}), "run")
    again = Note(
        f"this test file was opened {plural(len(before), 'time')} before, by {runs} of this "
        f"folder: a figure that was used to choose something is not a test result"
    )
    return replace(dataset, notes=(*dataset.notes, again))


def evaluated_rows(
    model: Predictor[ServedTask],
    source: Any,
    task: str | None,
    *,
    log: Callable[[str], None],
    slices: Sequence[str] = (),
    **reading: Any,
) -> Dataset:
    """The labelled rows to measure a run on. source: a file or a table in memory; None: the run's
    test file, whose opening is logged. reading: as of `Predictor.read`. Raises DataError.
    """
    if source is None:
        return open_final(model, task, log=log, keep=slices)
    return model.read(source, task=task, with_labels=True, keep=slices, **reading)


def keep_final(
    folder: Path, task: str, dataset: Dataset, estimates: Mapping[str, Estimate]
) -> None:
    """Write the figures of a task into its run's folder, over those of the opening before."""
    found = FinalFigures(
        _now(), display_path(dataset.path), len(dataset), dataset.digest, estimates
    )
    kept = {name: asdict(one) for name, one in read_final(folder).items()}
    files.write_json(folder / _RESULTS, kept | {task: asdict(found)})


def read_final(folder: Path) -> dict[str, FinalFigures]:
    """The figures of each task whose test file was opened. Raises DataError where they are
    damaged.
    """
    kept = folder / _RESULTS
    if not kept.exists():
        return {}
    try:
        return {task: _from_json(one) for task, one in files.read_json(kept).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise DataError(
            f"{kept}: not as `encore evaluate --final` wrote it. Remove the file and run that "
            f"again."
        ) from None


def carry_openings(run: Path, place: Path) -> None:
    """Copy the records of a run that moves to another folder of runs, whose runs have then seen
    these test files too.
    """
    there = place.resolve().parent
    name = run.resolve().name
    if there == run.resolve().parent:
        return
    for one in _records(run.resolve().parent / _OPENINGS):
        if _digits(one.get("run")) == _digits(name):
            _append(there / _OPENINGS, json.dumps(one))


def _digits(name: Any) -> str:
    """The digits that end a run's name: all of it that stays when it is renamed."""
    return str(name).rpartition("-")[2]


def _from_json(stored: Mapping[str, Any]) -> FinalFigures:
    time, file, rows, sha256, metrics = (stored[field.name] for field in fields(FinalFigures))
    estimates = {name: stored_estimate(one) for name, one in metrics.items()}
    return FinalFigures(time, file, rows, sha256, estimates)


def _records(openings: Path) -> list[dict[str, Any]]:
    """The openings so far, without lines that were cut off."""
    if not openings.exists():
        return []
    found = []
    with files.explained(openings):
        text = files.read_text(openings, errors="replace")
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        found += [record] if isinstance(record, dict) else []
    return found


def _append(file: Path, line: str) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    with files.explained(file), open(os.open(file, flags, 0o644), "a", encoding="utf-8") as out:
        out.write(f"{line}\n")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")

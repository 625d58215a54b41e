"""Reads the run folder: the result, and the stored predictions."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from encore import files
from encore.data.groups import group_numbers
from encore.errors import DataError
from encore.evaluation.estimates import Estimate
from encore.recipe.fields import KeptEpoch
from encore.runs.contents import damaged_files, forgetting_file, prediction_file
from encore.runs.kind import folder_kind
from encore.types import Note

__all__ = [
    "DevPredictions",
    "MODEL",
    "RunResult",
    "epoch_of_task",
    "explain_no_run",
    "notes_json",
    "read_forgetting",
    "read_prediction_file",
    "read_predictions",
    "read_result",
    "read_scores",
    "stored_estimate",
]

MODEL = "model"  # the trained model's name beside the baselines


@dataclass(frozen=True)
class RunResult:
    """A finished run. `metrics`: task → dev set → "model" | a baseline's name → metric →
    estimate.
    """

    folder: Path
    metrics: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Estimate]]]]
    epoch: int  # the one that is reported and kept; the latest of them where each task has its own
    epochs: int  # 0, as `epoch`, of a model that was not trained: the mean of other runs' weights
    keep: KeptEpoch
    notes: tuple[Note, ...]
    seconds: float
    tokens_per_second: float
    already_complete: bool = False
    best: Mapping[str, Any] = field(
        default_factory=dict
    )  # of several tasks: the best epoch of each, and the best common one

    def to_json(self) -> dict[str, Any]:
        """The contents of results.json: the figures, without folder and cost."""
        metrics = {
            task: {
                split: {
                    who: {name: asdict(estimate) for name, estimate in found.items()}
                    for who, found in rows.items()
                }
                for split, rows in sets.items()
            }
            for task, sets in self.metrics.items()
        }
        stored = {
            "metrics": metrics,
            "epoch": self.epoch,
            "epochs": self.epochs,
            "keep": self.keep,
            **notes_json(self.notes),
        }
        return stored | ({"best": dict(self.best)} if self.best else {})

    @classmethod
    def from_json(
        cls,
        folder: Path,
        stored: Mapping[str, Any],
        *,
        seconds: float = 0.0,
        tokens_per_second: float = 0.0,
    ) -> RunResult:
        """The run whose folder holds `stored` as results.json; the cost is in another file."""
        metrics = {
            task: {
                split: {
                    who: {name: stored_estimate(value) for name, value in found.items()}
                    for who, found in rows.items()
                }
                for split, rows in sets.items()
            }
            for task, sets in stored["metrics"].items()
        }
        return cls(
            folder,
            metrics,
            stored["epoch"],
            stored["epochs"],
            stored["keep"],
            _notes(stored),
            seconds,
            tokens_per_second,
            best=stored.get("best", {}),
        )

    def epoch_of(self, task: str) -> int:
        """The epoch that is reported and kept of a task."""
        return epoch_of_task(task, self.keep, self.best, self.epoch)

    def describe_epoch(self, task: str) -> str:
        """The epoch that is reported and kept of a task, in words: "best epoch, 3 of 6"."""
        if not self.epochs:
            return "the mean of the weights of runs"
        number = f"{self.epoch_of(task)} of {self.epochs}"
        if isinstance(self.keep, int):
            return f"epoch {number}, as the recipe says"
        return f"{self.keep.split('_')[0]} epoch, {number}"

    def notes_of(self, task: str) -> list[Note]:
        """The notes that qualify the figures of this task."""
        return [note for note in self.notes if note.task in ("", task)]

    @property
    def note_lines(self) -> list[str]:
        """All notes as they are printed, with their task where the run has several."""
        return [note.line(several_tasks=True) for note in self.notes]

    def caveats(self, task: str) -> list[str]:
        """Caveats for a task's figures if its epoch was chosen on the same rows that they are
        measured on.
        """
        split, found = next(iter(self.metrics[task].items()))
        chosen = self.keep != "last" and not isinstance(self.keep, int)
        if not chosen or self.epochs == 1 or not found[MODEL]:
            return []
        by = (
            "the mean over the tasks"
            if len(self.metrics) > 1 and self.keep == "best"
            else next(iter(found[MODEL]))
        )
        return [
            f"keep: {self.keep} chose the epoch by {by} on {split}, so these figures are "
            f"slightly optimistic."
        ]

    def summary(self) -> dict[str, Any]:
        """The object that `--json` prints: these four keys and no others. `metrics.dev` is metric
        → value on the dev set that decides; further dev sets are beside it under their own names.
        With several tasks `metrics` has such a mapping under each one's name. Intervals, baselines
        and notes are in RUN/results.json, which `encore ls --json` prints too.
        """
        found: dict[str, dict[str, Any]] = {}
        for task, sets in self.metrics.items():
            found[task] = {}
            for number, (split, rows) in enumerate(sets.items()):
                values = {metric: estimate.value for metric, estimate in rows[MODEL].items()}
                found[task]["dev" if number == 0 else split if split != "dev" else "dev_2"] = values
        metrics = found if len(found) > 1 else next(iter(found.values()))
        return {
            "run": str(self.folder),
            "metrics": metrics,
            "seconds": self.seconds,
            "tokens_per_second": self.tokens_per_second,
        }


def read_result(folder: Path) -> RunResult:
    """The result of a complete run. Raises DataError where there is none or where files were
    changed.
    """
    if folder_kind(folder) != "run":
        raise DataError(explain_no_run(folder))
    if not (folder / files.MANIFEST).exists():
        raise DataError(
            f"{folder}: not a complete run (no {files.MANIFEST}). Run the command that started "
            f"it again; it resumes."
        )
    wrong = damaged_files(folder, "run")
    if wrong:
        raise DataError(
            f"{folder / name}: missing, or not as the run wrote it. Remove the folder and run "
            f"it again."
            for name in wrong
        )
    try:
        cost = files.read_json(
            folder / "cost.json"
        )  # no part of the results, so nothing vouches for it
        seconds, tokens_per_second = float(cost["seconds"]), float(cost["tokens_per_second"])
    except (OSError, ValueError, TypeError, KeyError):
        raise DataError(
            f"{folder / 'cost.json'}: missing, or not as the run wrote it. Remove the folder "
            f"and run it again."
        ) from None
    return RunResult.from_json(
        folder,
        files.read_json(folder / "results.json"),
        seconds=seconds,
        tokens_per_second=tokens_per_second,
    )


def notes_json(notes: Sequence[Note]) -> dict[str, Any]:
    """The entries of results.json for notes: the lines, and where the run has several tasks the
    notes themselves, since a line alone does not show its task.
    """
    lines = {"notes": [note.line(several_tasks=True) for note in notes]}
    has_tasks = any(note.task for note in notes)
    return lines | ({"task_notes": list(map(asdict, notes))} if has_tasks else {})


def _notes(stored: Mapping[str, Any]) -> tuple[Note, ...]:
    """The notes of a results.json. The lines of one without `task_notes` (of one task, or older)
    are notes on the whole run.
    """
    if "task_notes" in stored:
        return tuple(Note(**note) for note in stored["task_notes"])
    return tuple(map(Note, stored["notes"]))


def explain_no_run(folder: Path) -> str:
    """The message for a path that is no run's folder, with the runs that may have been meant."""
    kind = folder_kind(folder)
    if kind == "search":
        command = shlex.join(
            ["encore", "train", str(folder / "best.yaml"), "--runs", str(folder.parent)]
        )
        return (
            f"{folder}: a search, whose trials keep figures and no weights. Train its "
            f"best configuration, and name that run: {command}"
        )
    if kind == "comparison":
        return (
            f"{folder}: a comparison, whose runs keep figures and no weights. Name one of "
            f"those in cells.json to see how to train it again."
        )
    if kind == "pretraining":
        return (
            f"{folder}: a pre-trained encoder, which predicts no labels. Train with it: encore "
            f"train FILE.csv encoder={shlex.quote(str(folder / 'encoder'))}"
        )
    if kind == "ensemble":
        return (
            f"{folder}: an ensemble, not a run. `encore predict`, `evaluate`, `calibrate` and "
            f"`report` take it. Name the run of a member here, or make one model of it: encore "
            f"distill {shlex.quote(str(folder))}"
        )
    if kind == "folds":
        return (
            f"{folder}: a cross-validation, whose runs lie beside it. Name one of those in "
            f"folds.json; encore.out_of_fold reads the scores of all rows."
        )
    if kind == "export":
        return (
            f"{folder}: an exported model, not the folder of a run. Load it with the library "
            f"that it was exported for, or name the run that it was made from."
        )
    if folder.is_dir():
        where = f" --runs {shlex.quote(str(folder))}" if _runs_in(folder) else ""
        return f"{folder}: not the folder of a run. `encore ls{where}` lists the runs."
    if folder.is_file():
        return (
            f"{folder}: a file, not the folder of a run, which is named first. `encore ls` "
            f"lists the runs."
        )
    runs = {
        run.name: run
        for place in (folder.parent, Path(os.environ.get("ENCORE_RUNS", "runs")))
        for run in _runs_in(place)
    }
    near = [name for name in runs if name.startswith(folder.name)][:2] or difflib.get_close_matches(
        folder.name, runs, n=2, cutoff=0.7
    )
    meant = f" Did you mean {' or '.join(str(runs[name]) for name in near)}?" if near else ""
    return f"{folder}: no such run.{meant} `encore ls` lists the runs."


def _runs_in(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if folder_kind(entry) == "run")
    except OSError:  # no folder, or one that may not be read
        return []


@dataclass(frozen=True)
class DevPredictions:
    """The predictions of a run on one dev set after one epoch, and the truth.

    scores: (rows, n_scores) float32, raw. targets: (rows,) or (rows, labels). (digest, rows[i])
    names example i: the file's sha256 and the row there, from 0. groups: (rows,) numbers of those
    that belong together; None where no column says.
    """

    scores: np.ndarray
    targets: np.ndarray
    digest: str
    rows: np.ndarray
    groups: np.ndarray | None = None


def read_forgetting(folder: Path, task: str, split: str, epoch: int) -> np.ndarray:
    """(rows, n_scores) float32: the raw scores of a task that an earlier run trained."""
    return read_prediction_file(folder / forgetting_file(task, split, epoch)).scores


def read_predictions(folder: Path, task: str, split: str, epoch: int) -> DevPredictions:
    """The predictions that a run stored after one epoch."""
    return read_prediction_file(folder / prediction_file(task, split, epoch))


def read_prediction_file(path: Path) -> DevPredictions:
    """The predictions in a file of `encore.runs.writer.prediction_table`."""
    table = pq.read_table(path)
    return DevPredictions(
        _numbers(table["scores"]).astype(np.float32, copy=False),
        _numbers(table["label"]),
        table["digest"][0].as_py(),
        table["row"].to_numpy(),
        group_numbers(table["group"]) if "group" in table.column_names else None,
    )


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """(rows,), or (rows, n) of a column of lists; never by way of Python's numbers."""
    if not pa.types.is_list(column.type):
        return column.to_numpy()
    parts = [chunk.flatten().to_numpy() for chunk in column.chunks]
    return (parts[0] if len(parts) == 1 else np.concatenate(parts)).reshape(len(column), -1)


def read_scores(folder: Path, task: str, split: str, epoch: int) -> np.ndarray:
    """(rows, n_scores) float32: the raw scores that a run stored after one epoch."""
    return read_predictions(folder, task, split, epoch).scores


def epoch_of_task(task: str, keep: KeptEpoch, best: Mapping[str, Any], kept: int) -> int:
    """The epoch that is kept of a task. best: the `best` of RunResult. kept: the latest epoch that
    is kept of any task.
    """
    return (
        best["tasks"].get(task, best["common"])["epoch"]
        if keep == "best_per_task" and best
        else kept
    )


def stored_estimate(stored: Mapping[str, Any]) -> Estimate:
    """An estimate, from what a JSON file of a run holds."""
    return Estimate(stored["value"], stored["low"], stored["high"], tuple(stored["notes"]))

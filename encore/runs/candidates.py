"""Runs that are combined into one folder: finds them, and says what both kinds of folder share."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encore import catalogue, files
from encore.data.table import display_path, join_limited
from encore.errors import Complaints, DataError
from encore.evaluation.ensemble_record import EnsembleResult
from encore.runs.folder import MODEL, DevPredictions, RunResult, read_predictions, read_result
from encore.runs.kind import folder_kind
from encore.runs.model_folder import read_parts
from encore.runs.places import is_kept, run_folder, without_weights
from encore.types import LabelSpace

__all__ = ["Candidate", "Combined", "find_candidates", "new_folder", "on_same_rows"]

_MOST_NAMED = 5


@dataclass(frozen=True)
class Candidate:
    """A complete run with its weights. assembly: model.json. digest: of its model's manifest."""

    folder: Path
    result: RunResult
    assembly: Mapping[str, Any]
    labels: Mapping[str, LabelSpace]
    digest: str

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.resolve().name

    def reading(self, task: str) -> tuple[Any, ...]:
        """The columns that it reads, and what it makes of their cells."""
        spec = self.assembly.get("tasks", {}).get(task, {})
        columns = dict(spec.get("columns", {}))
        columns.pop("notes", None)
        return (files.canonical(columns), spec.get("normalise"))

    def gives_probabilities(self, task: str) -> bool:
        """True where the scores of its head are logits."""
        head = self.assembly.get("tasks", {}).get(task, {}).get("head", {}).get("name")
        return bool(catalogue.find("heads", head).gives_probabilities)

    def dev(self, task: str) -> tuple[str, DevPredictions]:
        """The first dev set, and what the run predicted there at its kept epoch."""
        split = next(iter(self.result.metrics[task]))
        return split, read_predictions(self.folder, task, split, self.result.epoch_of(task))

    def predictions(self) -> dict[str, dict[str, DevPredictions]]:
        """Task → dev set → what the run predicted there, of the sets that have figures."""
        found = {
            task: {
                split: read_predictions(self.folder, task, split, self.result.epoch_of(task))
                for split, who in sets.items()
                if who[MODEL]
            }
            for task, sets in self.result.metrics.items()
        }
        return {task: sets for task, sets in found.items() if sets}


@dataclass(frozen=True)
class Combined:
    """A folder that was made of several runs. members: the names of those that take part. results:
    its figures, for each task. notes: on runs that were left out, and on what they share.
    """

    folder: Path
    members: tuple[str, ...]
    results: tuple[EnsembleResult, ...]
    notes: tuple[str, ...] = ()
    already_complete: bool = False

    def figures(self) -> dict[str, Any]:
        """The part of the object that `--json` prints which is the same for both kinds."""
        return {
            "members": list(self.members),
            "tasks": [one.to_json() for one in self.results],
            "notes": list(self.notes),
        }


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill, which becomes `folder`; what killed processes left of it is
    removed first. Raises TrainingError.
    """
    with files.explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        for left in folder.parent.glob(f".{folder.name}.????????.part"):
            shutil.rmtree(left, ignore_errors=True)
    with files.commit_folder(folder) as being_written:
        yield being_written


def find_candidates(given: Sequence[str | Path], what: str) -> tuple[list[Candidate], list[str]]:
    """The runs that are named (folders of runs, or of comparisons for all their runs), each model
    once, by name; and notes on what is left out. what: they are to become. Raises DataError where
    one cannot be read, is damaged or keeps no weights, or where there is none.
    """
    complaints, notes = Complaints(), list[str]()
    found: dict[str, Candidate] = {}
    for folder in map(Path, given):
        with complaints.collecting():
            for run in _runs_of(folder, notes):
                one = _candidate(run)
                first = found.setdefault(one.digest, one)
                if first is not one:
                    notes.append(f"{display_path(run)}: the same model as {first.name}; left out")
    complaints.raise_any()
    if not found:
        raise DataError(f"no run to make {what} of. {'. '.join(notes)}")
    return sorted(found.values(), key=lambda one: (one.name, one.digest)), notes


def _runs_of(folder: Path, notes: list[str]) -> list[Path]:
    """The folder of a run, or those of a comparison's runs that kept their weights."""
    if folder_kind(folder) != "comparison":
        return [folder]
    try:
        cells = files.read_json(folder / "cells.json").get("cells", ())
        names = list(dict.fromkeys(str(cell.get("run")) for cell in cells if cell.get("run")))
    except (OSError, ValueError, AttributeError):
        raise DataError(
            f"{folder / 'cells.json'}: missing or damaged. Run the command of the comparison again."
        ) from None
    runs = [run_folder(folder.resolve().parent, name) for name in names]
    without = [run.name for run in runs if not is_kept(run)]
    if without:
        several = f"{len(without)} of {len(runs)} runs keep no weights"
        notes.append(
            f"{display_path(folder)}: {several} ({join_limited(without, _MOST_NAMED)}), left out; "
            f"`encore compare … --keep-models` keeps them"
        )
    return [run for run in runs if is_kept(run)]


def _candidate(folder: Path) -> Candidate:
    result = read_result(folder)
    if not is_kept(folder):
        raise without_weights(folder, "a member is a model")
    assembly, parts = read_parts(folder / "model")
    labels = {name: part.labels for name, part in parts.items()}
    digest = files.sha256(folder / "model" / files.MANIFEST)
    return Candidate(folder, result, assembly, labels, digest)


def on_same_rows(one: DevPredictions, other: DevPredictions) -> bool:
    """True where both were made on the same rows of one file, with the same targets."""
    return (
        one.digest == other.digest
        and np.array_equal(one.rows, other.rows)
        and np.array_equal(one.targets, other.targets)
    )

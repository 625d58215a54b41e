"""Rows that a run has seen before it is measured on them."""

from __future__ import annotations

from pathlib import Path

from encore import files
from encore.data.dataset import Dataset
from encore.data.table import display_path
from encore.errors import DataError
from encore.runs.predictor import Predictor, ServedTask

__all__ = ["seen_before"]


def seen_before(model: Predictor[ServedTask], task: str, dataset: Dataset) -> tuple[str, ...]:
    """Notes for a file that the run, or a run of the ensemble, was trained on or chosen by, whose
    figures flatter. Raises DataError where data.json is damaged.
    """
    found = [_notes(folder, model.WHAT, task, dataset) for folder in model.origins(task)]
    return tuple(dict.fromkeys(note for notes in found for note in notes))


def _notes(folder: Path, what: str, task: str, dataset: Dataset) -> list[str]:
    try:
        splits = files.read_json(folder / "data.json")[task]["splits"]
    except (OSError, ValueError, KeyError):
        raise DataError(
            f"{folder / 'data.json'}: missing, or not as the run wrote it. Remove the folder and "
            f"run it again."
        ) from None
    same = {
        name: one["rows"]
        for name, split in splits.items()
        for one in split.get("files", [split])
        if one["sha256"] == dataset.digest
    }
    if (n := same.get("train")) is not None:
        return [
            f"{display_path(dataset.path)} is the file that this {what} was trained on ({n:,} of "
            f"its rows): these figures say little about new texts."
        ]
    return [f"{display_path(dataset.path)} is the {what}'s own dev set '{name}'." for name in same]

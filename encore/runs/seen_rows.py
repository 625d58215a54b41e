"""Rows that a run has seen before it is measured on them."""

from __future__ import annotations

from encore import files
from encore.data.dataset import Dataset
from encore.data.table import display_path
from encore.errors import DataError
from encore.runs.predict import Model

__all__ = ["seen_before"]


def seen_before(model: Model, task: str, dataset: Dataset) -> tuple[str, ...]:
    """Notes for a file that the run was trained on or chosen by, whose figures flatter. Raises
    DataError where data.json is damaged.
    """
    try:
        splits = files.read_json(model.folder / "data.json")[task]["splits"]
    except (OSError, ValueError, KeyError):
        raise DataError(
            f"{model.folder / 'data.json'}: missing, or not as the run wrote it. Remove the "
            f"folder and run it again."
        ) from None
    same = {
        name: one["rows"]
        for name, split in splits.items()
        for one in split.get("files", [split])
        if one["sha256"] == dataset.digest
    }
    if (n := same.get("train")) is not None:
        return (
            f"{display_path(dataset.path)} is the file that this run was trained on ({n:,} of its "
            f"rows): these figures say little about new texts.",
        )
    return tuple(
        f"{display_path(dataset.path)} is the run's own dev set '{name}'." for name in same
    )

"""Loads whatever predicts: a run or an ensemble."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from encore.runs.ensemble_model import load_ensemble
from encore.runs.kind import folder_kind
from encore.runs.predict import load
from encore.runs.predictor import Predictor

__all__ = ["load_predictor"]


def load_predictor(folder: str | Path, *, force: bool = False) -> Predictor[Any]:
    """Load the model of a run folder, complete or not, or an ensemble. force: predict rows also
    where memory may not suffice. Raises DataError where the folder has no model or where its files
    were changed.
    """
    if folder_kind(Path(folder)) == "ensemble":
        return load_ensemble(Path(folder), force=force)
    return load(folder, force=force)

"""Encore fine-tunes pretrained text encoders and measures how good they are.

>>> result = encore.fit("reviews.csv")                                # doctest: +SKIP
>>> encore.load(result.folder).predict(["Broke after a week."])       # doctest: +SKIP
"""

from __future__ import annotations

import importlib
import os
from typing import Any

__all__ = [
    "DataError",
    "EncoreError",
    "RecipeError",
    "TrainingError",
    "EncoreClassifier",
    "EncoreRegressor",
    "calibrate",
    "compare",
    "cross_validate",
    "distill",
    "ensemble",
    "evaluate",
    "fill_mask",
    "fit",
    "load",
    "out_of_fold",
    "pretrain",
    "soup",
    "tune",
]

from encore.errors import DataError, EncoreError, RecipeError, TrainingError

# Read by torch's libraries when they are first used; who has set them otherwise keeps that. Every
# new shape of a matrix product is a kernel that oneDNN and torch each keep, 1,024 of them by
# default. Rounded as the encoder rounds them, 512 are the shapes of an epoch; with 256 many are
# compiled again at every step, which costs 6 % of it. The copies that torch keeps gain nothing.
# OpenMP's threads wait without spinning, which on a busy machine costs more than it gains.
for _name, _value in {
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "512",
    "LRU_CACHE_CAPACITY": "256",
    "OMP_WAIT_POLICY": "PASSIVE",
}.items():
    os.environ.setdefault(_name, _value)


# These import torch, which takes a second and a half: only when they are used.
_HOMES = {
    "EncoreClassifier": "encore.sklearn",
    "EncoreRegressor": "encore.sklearn",
    "calibrate": "encore.runs.calibrate",
    "compare": "encore.api",
    "cross_validate": "encore.api",
    "distill": "encore.api",
    "ensemble": "encore.api",
    "evaluate": "encore.api",
    "fill_mask": "encore.runs.fill_mask",
    "fit": "encore.api",
    "load": "encore.api",
    "out_of_fold": "encore.runs.cross_validation",
    "pretrain": "encore.api",
    "soup": "encore.runs.soup",
    "tune": "encore.api",
}


def __getattr__(name: str) -> Any:
    """Import a name of `_HOMES` when it is used first."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'encore' has no attribute '{name}'")


def __dir__() -> list[str]:
    """The names of `__all__`, imported or not: those that an interactive shell completes."""
    return sorted([*(name for name in globals() if name.startswith("__")), *__all__])

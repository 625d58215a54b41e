"""Encore fine-tunes pretrained text encoders and says how good they are.

>>> result = encore.fit("reviews.csv")                                # doctest: +SKIP
>>> encore.load(result.folder).predict(["Broke after a week."])       # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any

__all__ = ["DataError", "EncoreError", "RecipeError", "TrainingError", "fit", "load"]

from encore.errors import DataError, EncoreError, RecipeError, TrainingError


def __getattr__(name: str) -> Any:
    """`fit` and `load` import torch, which takes a second and a half: only when they are asked for."""
    if name in ("fit", "load"):
        from encore import api

        return getattr(api, name)
    raise AttributeError(f"module 'encore' has no attribute '{name}'")

"""The loss of a task where the recipe names none."""

from __future__ import annotations

from collections.abc import Mapping

from encore.types import TaskKind

__all__ = ["LOSS_OF_KIND"]

LOSS_OF_KIND: Mapping[TaskKind, str] = {
    "binary": "cross_entropy",
    "multiclass": "cross_entropy",
    "multilabel": "binary_cross_entropy",
    "regression": "mse",
}

"""An epoch of the first task, then one of the second, …, in the order of the recipe.

Source: minBERT generalization §4.2, what even batching replaces (METHODS 4.9).
Differs: none. `compat: gen` divides the loss of a short last batch by the full batch size, as the
author's code does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from encore.techniques.mixing._draws import consecutive_batches
from encore.types import BatchIndex, Mixing, TaskSize

__all__ = ["TaskByTask"]


class TaskByTask(Mixing):
    def __init__(self, *, compat: Literal["gen"] | None = None) -> None:
        self.nominal = compat == "gen"

    def __call__(
        self, sizes: Mapping[str, TaskSize], *, seed: int, epoch: int, epochs: int
    ) -> list[tuple[BatchIndex, ...]]:
        turns = [task for task, size in sizes.items() for _ in range(size.batches)]
        return consecutive_batches(
            turns, sizes, {task: epoch * size.batches for task, size in sizes.items()}
        )

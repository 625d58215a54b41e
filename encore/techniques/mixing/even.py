"""All batches of all tasks once per epoch, shuffled together.

Source: minBERT generalization §4.2, "even batching"; SerBERTus §3 (METHODS 4.3, 4.9).
Differs: every row exactly once per epoch, as the paper says. `compat: gen` draws each batch anew
from all rows, as the author's code does, so that rows repeat or are missed within an epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from encore import rng
from encore.techniques.mixing._draws import consecutive_batches
from encore.types import BatchIndex, Mixing, TaskSize

__all__ = ["Even"]


class Even(Mixing):
    def __init__(self, *, compat: Literal["gen"] | None = None) -> None:
        self.compat = compat

    def __call__(
        self, sizes: Mapping[str, TaskSize], *, seed: int, epoch: int, epochs: int
    ) -> list[tuple[BatchIndex, ...]]:
        turns = [task for task, size in sizes.items() for _ in range(size.batches)]
        shuffled = [
            turns[number] for number in rng.generator(seed, "mixing", epoch).permutation(len(turns))
        ]
        steps = consecutive_batches(
            shuffled, sizes, {task: epoch * size.batches for task, size in sizes.items()}
        )
        if self.compat is None:
            return steps
        return [
            tuple(
                BatchIndex(draw.task, draw.order * sizes[draw.task].batches + draw.number, 0)
                for draw in step
            )
            for step in steps
        ]

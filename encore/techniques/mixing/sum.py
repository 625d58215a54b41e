"""One batch of every task in each step, their losses added; an epoch is over when the longest task
is, and shorter ones begin again.

Source: AdapterFusion §3.1.2 (METHODS 4.3, `objective="sum"`).
Differs: none.
Cost: a step takes as long as one of each task.
"""

from __future__ import annotations

from collections.abc import Mapping

from encore.techniques.mixing._draws import consecutive_batches
from encore.types import BatchIndex, Mixing, TaskSize

__all__ = ["Sum"]


class Sum(Mixing):
    tasks_per_step = "all"

    def __call__(
        self, sizes: Mapping[str, TaskSize], *, seed: int, epoch: int, epochs: int
    ) -> list[tuple[BatchIndex, ...]]:
        longest = max(size.batches for size in sizes.values())
        turns = consecutive_batches(
            [*sizes] * longest, sizes, dict.fromkeys(sizes, epoch * longest)
        )
        return [
            tuple(draw for (draw,) in turns[start : start + len(sizes)])
            for start in range(0, len(turns), len(sizes))
        ]

"""The tasks in turns, one batch each; an epoch is over when the longest task is, and shorter ones
begin again.

Source: Liu et al. 2019 (MT-DNN) names it beside random order; a plain schedule.
Differs: none.
"""

from __future__ import annotations

from collections.abc import Mapping

from encore.techniques.mixing._draws import consecutive_batches
from encore.types import BatchIndex, Mixing, TaskSize

__all__ = ["RoundRobin"]


class RoundRobin(Mixing):
    def __call__(
        self, sizes: Mapping[str, TaskSize], *, seed: int, epoch: int, epochs: int
    ) -> list[tuple[BatchIndex, ...]]:
        longest = max(size.batches for size in sizes.values())
        return consecutive_batches([*sizes] * longest, sizes, dict.fromkeys(sizes, epoch * longest))

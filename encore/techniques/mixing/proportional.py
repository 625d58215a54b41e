"""Tasks drawn step by step, each by the number of its rows.

Source: Sanh et al. 2019 (HMTL); Raffel et al. 2020.
Differs: none; the same as `temperature` at 1.
"""

from __future__ import annotations

from collections.abc import Mapping

from encore.techniques.mixing._draws import sampled_batches
from encore.types import BatchIndex, Mixing, TaskSize

__all__ = ["Proportional"]


class Proportional(Mixing):
    def __call__(
        self, sizes: Mapping[str, TaskSize], *, seed: int, epoch: int, epochs: int
    ) -> list[tuple[BatchIndex, ...]]:
        return sampled_batches(
            sizes, lambda _: [size.rows for size in sizes.values()], seed=seed, epoch=epoch
        )

"""Tasks drawn step by step, each by the square root of the number of its rows.

Source: Stickland and Murray 2019 (BERT and PALs) §4.1.
Differs: none; the same as `temperature` at 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from encore.techniques.mixing._draws import sampled_batches
from encore.types import BatchIndex, Mixing, TaskSize

__all__ = ["SquareRoot"]


class SquareRoot(Mixing):
    def __call__(
        self, sizes: Mapping[str, TaskSize], *, seed: int, epoch: int, epochs: int
    ) -> list[tuple[BatchIndex, ...]]:
        return sampled_batches(
            sizes,
            lambda _: [math.sqrt(size.rows) for size in sizes.values()],
            seed=seed,
            epoch=epoch,
        )

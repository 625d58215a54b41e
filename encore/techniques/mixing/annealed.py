"""Tasks drawn step by step: by the number of their rows in the first epoch, ever more evenly until
the last.

Source: Stickland and Murray 2019 (BERT and PALs) §4.1, α = 1 − 0.8·(e − 1)/(E − 1).
Differs: none; `fall` is their 0.8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from encore.techniques.mixing._draws import sampled_batches
from encore.types import BatchIndex, Mixing, TaskSize

__all__ = ["Annealed"]


class Annealed(Mixing):
    def __init__(self, *, fall: Annotated[float, Field(ge=0, le=1)] = 0.8) -> None:
        self.fall = fall

    def __call__(
        self, sizes: Mapping[str, TaskSize], *, seed: int, epoch: int, epochs: int
    ) -> list[tuple[BatchIndex, ...]]:
        most = max(size.rows for size in sizes.values())

        def shares(number: int) -> list[float]:
            power = 1 - self.fall * number / max(1, epochs - 1)
            return [(size.rows / most) ** power for size in sizes.values()]

        return sampled_batches(sizes, shares, seed=seed, epoch=epoch)

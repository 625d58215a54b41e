"""Tasks drawn step by step, each by the number of its rows to the power of 1/T.

Source: Arivazhagan et al. 2019, T = 5; Raffel et al. 2020.
Differs: none; an epoch has as many steps as there are batches in all, and a task's rows are gone
through one order after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from encore.techniques.mixing._draws import sampled_batches
from encore.types import BatchIndex, Mixing, TaskSize

__all__ = ["Temperature"]


class Temperature(Mixing):
    def __init__(self, *, temperature: Annotated[float, Field(gt=0)] = 5.0) -> None:
        self.temperature = temperature

    def __call__(
        self, sizes: Mapping[str, TaskSize], *, seed: int, epoch: int, epochs: int
    ) -> list[tuple[BatchIndex, ...]]:
        most = max(size.rows for size in sizes.values())
        return sampled_batches(
            sizes,
            lambda _: [(size.rows / most) ** (1 / self.temperature) for size in sizes.values()],
            seed=seed,
            epoch=epoch,
        )

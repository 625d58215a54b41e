"""Tasks drawn step by step, each by the number of its rows to the power of 1/T.

Source: Arivazhagan et al. 2019, T = 5; Raffel et al. 2020.   Differs: none; an epoch has as many steps as there are batches in all, and a task's rows are
gone through one order after the other.
"""

from __future__ import annotations

from collections.abc import Mapping

from encore.errors import RecipeError
from encore.mixing._draws import drawn
from encore.types import Draw, Extent

__all__ = ["Temperature"]


class Temperature:
    nominal = False

    def __init__(self, *, temperature: float = 5.0) -> None:
        if temperature <= 0:
            raise RecipeError(f"temperature: expected a number above 0, got {temperature}. 1 draws in proportion to the rows, a high one evenly.")
        self.temperature = temperature

    def __call__(self, extents: Mapping[str, Extent], *, seed: int, epoch: int, epochs: int) -> list[tuple[Draw, ...]]:
        most = max(extent.rows for extent in extents.values())
        return drawn(extents, lambda _: [(extent.rows / most) ** (1 / self.temperature) for extent in extents.values()], seed=seed, epoch=epoch)

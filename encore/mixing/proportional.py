"""Tasks drawn step by step, each by the number of its rows.

Source: Sanh et al. 2019 (HMTL); Raffel et al. 2020.   Differs: none; the same as `temperature` at 1.
"""

from __future__ import annotations

from collections.abc import Mapping

from encore.mixing._draws import drawn
from encore.types import Draw, Extent

__all__ = ["Proportional"]


class Proportional:
    nominal = False

    def __call__(self, extents: Mapping[str, Extent], *, seed: int, epoch: int, epochs: int) -> list[tuple[Draw, ...]]:
        return drawn(extents, lambda _: [extent.rows for extent in extents.values()], seed=seed, epoch=epoch)

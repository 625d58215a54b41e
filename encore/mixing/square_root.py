"""Tasks drawn step by step, each by the square root of the number of its rows.

Source: Stickland and Murray 2019 (BERT and PALs) §4.1.   Differs: none; the same as `temperature` at 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from encore.mixing._draws import drawn
from encore.types import Draw, Extent

__all__ = ["SquareRoot"]


class SquareRoot:
    nominal = False

    def __call__(self, extents: Mapping[str, Extent], *, seed: int, epoch: int, epochs: int) -> list[tuple[Draw, ...]]:
        return drawn(extents, lambda _: [math.sqrt(extent.rows) for extent in extents.values()], seed=seed, epoch=epoch)

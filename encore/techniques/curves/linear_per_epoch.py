"""A rate that falls by the same amount after every epoch, never below zero.

Source: minBERT generalization §4.5: 1e-5 − 4e-7·epoch (METHODS 3.3).
Differs: none of the paper; the author's code falls by a factor and no longer steps its scheduler.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from encore.techniques.curves._warmup import WarmupCurve
from encore.types import Progress

__all__ = ["LinearPerEpochCurve"]


class LinearPerEpochCurve(WarmupCurve):
    """The factor on the learning rate in an epoch. decrease: of the rate itself, per epoch.

    >>> curve = LinearPerEpochCurve(decrease=4e-7)
    >>> [round(1e-5 * curve(Progress(0, 1, epoch=epoch, lr=1e-5)), 8) for epoch in (0, 1, 19)]
    [1e-05, 9.6e-06, 2.4e-06]
    """

    def __init__(
        self, warmup_frac: float = 0.0, *, decrease: Annotated[float, Field(ge=0)] = 4e-7
    ) -> None:
        super().__init__(warmup_frac)
        self.decrease = decrease

    def after(self, progress: Progress, warmup: int) -> float:
        return max(0.0, 1 - self.decrease * progress.epoch / progress.lr)

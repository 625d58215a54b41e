"""A short linear rise to the full rate, then a long linear fall, both from and to rate / ratio.

Source: Howard & Ruder 2018; SerBERTus, conclusion (METHODS 3.3).
Differs: the printed denominator turns the rate negative in the last steps where steps · cut is no
whole number; here the fall takes all steps behind the cut, and the cut is at least one step.
"""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field

from encore.techniques.curves._warmup import WarmupCurve
from encore.types import Progress

__all__ = ["SlantedTriangularCurve"]


class SlantedTriangularCurve(WarmupCurve):
    """The factor on the learning rate at a step. The rise takes `warmup_frac` of the steps (the
    source's cut_frac), rounded down. ratio: the full rate over the lowest one.

    >>> curve = SlantedTriangularCurve(warmup_frac=0.1)
    >>> [round(0.01 * curve(Progress(step, 100)), 8) for step in (0, 5, 10, 55, 100)]
    [0.0003125, 0.00515625, 0.01, 0.00515625, 0.0003125]
    """

    def __init__(
        self, warmup_frac: float = 0.1, *, ratio: Annotated[float, Field(ge=1)] = 32.0
    ) -> None:
        super().__init__(warmup_frac)
        self.ratio = ratio

    def __call__(self, progress: Progress) -> float:
        step, steps = progress.step, progress.steps
        cut = max(1, math.floor(steps * self.warmup_frac))
        part = step / cut if step < cut else 1 - (step - cut) / max(1, steps - cut)
        return (1 + part * (self.ratio - 1)) / self.ratio

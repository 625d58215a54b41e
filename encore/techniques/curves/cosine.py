"""Linear warm-up, then half a cosine down to zero.

Source: Loshchilov & Hutter 2017, without restarts.
Differs: none: the values are those of transformers' cosine schedule.
"""

from __future__ import annotations

import math

from encore.techniques.curves._warmup import WarmupCurve
from encore.types import Progress

__all__ = ["CosineCurve"]


class CosineCurve(WarmupCurve):
    """The factor on the learning rate at a step; steps count from 0."""

    def after(self, progress: Progress, warmup: int) -> float:
        done = (progress.step - warmup) / (progress.steps - warmup)
        return 0.5 * (1 + math.cos(math.pi * done))

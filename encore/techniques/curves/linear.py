"""Linear warm-up, then linear decay to zero.

Source: MaxPoolBERT §4 (METHODS 3.3).
Differs: none: steps count from 0 and the warm-up is rounded up to whole steps, as in transformers.
"""

from __future__ import annotations

from encore.techniques.curves._warmup import WarmupCurve
from encore.types import Progress

__all__ = ["LinearCurve"]


class LinearCurve(WarmupCurve):
    """The factor on the learning rate at a step; steps count from 0.

    >>> curve = LinearCurve(warmup_frac=0.2)
    >>> [round(curve(Progress(step, 10)), 3) for step in range(10)]
    [0.0, 0.5, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    """

    def after(self, progress: Progress, warmup: int) -> float:
        return (progress.steps - progress.step) / (progress.steps - warmup)

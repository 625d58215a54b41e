"""Linear warm-up, then linear decay to zero.

Source: MaxPoolBERT §4 (METHODS 3.3).
Differs: none: steps count from 0 and the warm-up is rounded up to whole steps, as in transformers.
"""

from __future__ import annotations

import math

from encore.errors import RecipeError
from encore.types import Curve

__all__ = ["LinearCurve"]


class LinearCurve(Curve):
    """`curve(step, total)` → factor on the learning rate; `step` counts from 0.

    >>> [round(LinearCurve(warmup_frac=0.2)(step, 10), 3) for step in range(10)]
    [0.0, 0.5, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    """

    def __init__(self, warmup_frac: float = 0.0) -> None:
        if not 0 <= warmup_frac < 1:
            raise RecipeError(f"warmup_frac: expected a fraction in [0, 1), got {warmup_frac}.")
        self.warmup_frac = warmup_frac

    def __call__(self, step: int, total: int) -> float:
        warmup = math.ceil(self.warmup_frac * total)
        return step / warmup if step < warmup else (total - step) / (total - warmup)

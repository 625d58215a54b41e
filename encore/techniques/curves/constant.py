"""The same rate throughout, after an optional linear warm-up.

Source: SerBERTus §4, AdapterFusion §5 (METHODS 3.3).
Differs: none.
"""

from __future__ import annotations

import math

from encore.errors import RecipeError
from encore.types import Curve

__all__ = ["ConstantCurve"]


class ConstantCurve(Curve):
    """`curve(step, total)` → factor on the learning rate; `step` counts from 0."""

    def __init__(self, warmup_frac: float = 0.0) -> None:
        if not 0 <= warmup_frac < 1:
            raise RecipeError(f"warmup_frac: expected a fraction in [0, 1), got {warmup_frac}.")
        self.warmup_frac = warmup_frac

    def __call__(self, step: int, total: int) -> float:
        warmup = math.ceil(self.warmup_frac * total)
        return step / warmup if step < warmup else 1.0

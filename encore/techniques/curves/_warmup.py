"""The warm-up that curves have in common."""

from __future__ import annotations

import math

from encore.errors import RecipeError
from encore.types import Curve, Progress

__all__ = ["WarmupCurve"]


class WarmupCurve(Curve):
    """A curve behind a linear warm-up of a fraction of all steps, rounded up to whole steps."""

    def __init__(self, warmup_frac: float = 0.0) -> None:
        if not 0 <= warmup_frac < 1:
            raise RecipeError(f"warmup_frac: expected a fraction in [0, 1), got {warmup_frac}.")
        self.warmup_frac = warmup_frac

    def warmup(self, progress: Progress) -> int:
        """The number of warm-up steps."""
        return math.ceil(self.warmup_frac * progress.steps)

    def __call__(self, progress: Progress) -> float:
        warmup = self.warmup(progress)
        return progress.step / warmup if progress.step < warmup else self.after(progress, warmup)

    def after(self, progress: Progress, warmup: int) -> float:
        """The factor at a step behind the warm-up."""
        raise LookupError("a curve defines its factor behind the warm-up")

"""The same rate throughout, after an optional linear warm-up.

Source: SerBERTus §4, AdapterFusion §5 (METHODS 3.3).
Differs: none.
"""

from __future__ import annotations

from encore.techniques.curves._warmup import WarmupCurve
from encore.types import Progress

__all__ = ["ConstantCurve"]


class ConstantCurve(WarmupCurve):
    """The factor on the learning rate at a step; steps count from 0."""

    def after(self, progress: Progress, warmup: int) -> float:
        return 1.0

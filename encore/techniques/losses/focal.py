"""Cross-entropy that counts a row the less the surer the model already is of its class.

Source: Lin et al. 2017, Focal Loss for Dense Object Detection, γ = 2.
Differs: none; α is the task's class weights.
Needs: one score per label (a binary task has two).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch.nn.functional as F
from pydantic import Field

from encore.types import Batch, LabelSpace, Loss, LossTerm, Output

__all__ = ["Focal"]


class Focal(Loss):
    """−(1 − p)^γ · log p of the true class. gamma: 0 makes it cross-entropy."""

    kinds = ("binary", "multiclass")

    def __init__(self, labels: LabelSpace, *, gamma: Annotated[float, Field(ge=0)] = 2.0) -> None:
        self.gamma = gamma

    def __call__(self, model: Callable[..., Output], batch: Batch, output: Output) -> LossTerm:
        surprise = F.cross_entropy(output.scores, batch.targets, reduction="none")
        wrong = -(-surprise).expm1()  # 1 − p, exact where p is near 1
        per_row = wrong.clamp(min=1e-12) ** self.gamma * surprise
        return LossTerm((per_row * batch.weights).sum(), self.weight(batch))

"""Cross-entropy over classes.

Source: Devlin et al. 2019 (METHODS §1).
Differs: none.
Needs: one score per label (a binary task has two); targets are classes, or (rows, labels)
probabilities of a teacher or of several annotators.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch.nn.functional as F
from pydantic import Field

from encore.types import Batch, LabelSpace, Loss, LossTerm, Output

__all__ = ["CrossEntropy"]


class CrossEntropy(Loss):
    kinds = ("binary", "multiclass")

    def __init__(
        self, labels: LabelSpace, *, label_smoothing: Annotated[float, Field(ge=0, le=1)] = 0.0
    ) -> None:
        self.label_smoothing = label_smoothing

    def __call__(self, model: Callable[..., Output], batch: Batch, output: Output) -> LossTerm:
        per_row = F.cross_entropy(
            output.scores, batch.targets, reduction="none", label_smoothing=self.label_smoothing
        )
        return LossTerm((per_row * batch.weights).sum(), self.weight(batch))

"""Cross-entropy over classes.

Source: Devlin et al. 2019 (METHODS §1).
Differs: none.
Needs: one score per label (a binary task has two).
"""

from __future__ import annotations

from typing import Annotated, Any

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from encore.types import Batch, LabelSpace, Output

__all__ = ["CrossEntropy"]


class CrossEntropy:
    couples_rows = False
    kinds = ("binary", "multiclass")

    def __init__(
        self, labels: LabelSpace, *, label_smoothing: Annotated[float, Field(ge=0, le=1)] = 0.0
    ) -> None:
        self.label_smoothing = label_smoothing

    def weight(self, batch: Batch) -> Tensor:
        return batch.weights.sum()

    def __call__(self, model: Any, batch: Batch, output: Output) -> tuple[Tensor, Tensor]:
        per_row = F.cross_entropy(
            output.scores, batch.targets, reduction="none", label_smoothing=self.label_smoothing
        )
        return (per_row * batch.weights).sum(), self.weight(batch)

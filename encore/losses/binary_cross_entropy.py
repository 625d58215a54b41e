"""Binary cross-entropy, one decision per label, averaged over the labels.

Source: SerBERTus §3 (METHODS §4.1).   Differs: several labels per row, where the paper has one.   Needs: targets (rows, labels) in [0, 1].
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from encore.types import Batch, LabelSpace, Output

__all__ = ["BinaryCrossEntropy"]


class BinaryCrossEntropy:
    couples_rows = False
    kinds = ("multilabel",)

    def __init__(self, labels: LabelSpace) -> None:
        pass

    def weight(self, batch: Batch) -> Tensor:
        return batch.weights.sum()

    def __call__(self, model: Any, batch: Batch, output: Output) -> tuple[Tensor, Tensor]:
        per_row = F.binary_cross_entropy_with_logits(output.scores, batch.targets, reduction="none").mean(dim=1)
        return (per_row * batch.weights).sum(), self.weight(batch)

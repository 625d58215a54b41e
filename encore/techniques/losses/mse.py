"""Squared error on the labels' own scale.

Source: SerBERTus §3 (METHODS §1, 4.1).
Differs: none.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from encore.types import Batch, LabelSpace, Output

__all__ = ["Mse"]


class Mse:
    couples_rows = False
    kinds = ("regression",)

    def __init__(self, labels: LabelSpace) -> None:
        pass

    def weight(self, batch: Batch) -> Tensor:
        return batch.weights.sum()

    def __call__(self, model: Any, batch: Batch, output: Output) -> tuple[Tensor, Tensor]:
        per_row = (output.scores.squeeze(1) - batch.targets).square()
        return (per_row * batch.weights).sum(), self.weight(batch)

"""One minus the cosine for pairs of the second class, what the cosine has above the margin for
those of the first.

Source: AdapterFusion §3, margin 0 (METHODS 4.8).
Differs: none.
Needs: a head for two texts; it reads their embeddings, not the scores
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from encore.techniques.heads._cosine import cosine
from encore.types import Batch, LabelSpace, Output

__all__ = ["CosineEmbedding"]


class CosineEmbedding:
    couples_rows = False
    kinds = ("binary",)
    n_sides = 2

    def __init__(
        self, labels: LabelSpace, *, margin: Annotated[float, Field(ge=-1, lt=1)] = 0.0
    ) -> None:
        self.margin = margin

    def weight(self, batch: Batch) -> Tensor:
        return batch.weights.sum()

    def __call__(self, model: Any, batch: Batch, output: Output) -> tuple[Tensor, Tensor]:
        found = cosine(*output.embeddings)
        per_row = torch.where(batch.targets == 1, 1 - found, (found - self.margin).clamp(min=0))
        return (per_row * batch.weights).sum(), self.weight(batch)

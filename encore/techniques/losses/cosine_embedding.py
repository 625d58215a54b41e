"""One minus the cosine for pairs of the second class, what the cosine has above the margin for
those of the first.

Source: AdapterFusion §4.1, margin 0 (METHODS 4.8).
Differs: none.
Needs: a head for two texts; it reads their embeddings, not the scores
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field

from encore.techniques.heads._cosine import cosine
from encore.types import Batch, LabelSpace, Loss, LossTerm, Output

__all__ = ["CosineEmbedding"]


class CosineEmbedding(Loss):
    kinds = ("binary",)
    n_sides = 2

    def __init__(
        self, labels: LabelSpace, *, margin: Annotated[float, Field(ge=-1, lt=1)] = 0.0
    ) -> None:
        self.margin = margin

    def __call__(self, model: Callable[..., Output], batch: Batch, output: Output) -> LossTerm:
        found = cosine(*output.embeddings)
        per_row = torch.where(batch.targets == 1, 1 - found, (found - self.margin).clamp(min=0))
        return LossTerm((per_row * batch.weights).sum(), self.weight(batch))

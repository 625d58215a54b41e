"""The cosine of the two texts' vectors, times a scale, is the value.

Source: AdapterFusion §4.1 (METHODS 4.8), scale 5, negative cosines cut to 0, in training too;
minBERT generalization §4.1 (METHODS 4.12) with `size: 32`, `dropout: 0.3`, `clamp: false`.
Differs: none; with `clamp_train: false` negative cosines are cut where texts are scored and not in
training, where cutting takes all gradient from them.
Cost: none, or (width + 1)·size parameters.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from encore.encoder.dropout import Dropout, DropoutRate
from encore.techniques.heads._cosine import cosine
from encore.types import Head

__all__ = ["SiameseCosine"]


class SiameseCosine(nn.Module, Head):
    n_sides = 2
    kinds = ("regression",)

    def __init__(
        self,
        width: int,
        n_scores: int,
        *,
        size: Annotated[int, Field(ge=1)] | None = None,
        dropout: DropoutRate = 0.0,
        scale: float = 5.0,
        clamp: bool = True,
        clamp_train: bool = True,
    ) -> None:
        super().__init__()
        self.dropout = Dropout(dropout, "rows")
        self.down = nn.Identity() if size is None else nn.Linear(width, size)
        self.scale, self.clamp, self.clamp_train = scale, clamp, clamp_train

    def embed(self, vectors: Tensor) -> Tensor:
        return self.down(self.dropout(vectors))

    def score(self, first: Tensor, second: Tensor) -> Tensor:
        found = cosine(first, second)
        if self.clamp and (self.clamp_train or not self.training):
            found = found.clamp(min=0)
        return self.scale * found.unsqueeze(1)

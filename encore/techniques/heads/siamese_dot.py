"""One linear layer for both texts; the dot product of what it makes of them is the logit.

Source: minBERT generalization §4.1, size 32, dropout 0.3 (METHODS 4.12).
Differs: none.
Cost: (width + 1)·size parameters.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from encore.encoder.dropout import Dropout, DropoutRate
from encore.techniques.heads._cosine import two_scores
from encore.types import Head

__all__ = ["SiameseDot"]


class SiameseDot(nn.Module, Head):
    """The logit of two identical texts is a squared length, so never below 0: it cannot call them
    different.
    """

    n_sides = 2
    kinds = ("binary",)

    def __init__(
        self,
        width: int,
        n_scores: int,
        *,
        size: Annotated[int, Field(ge=1)] = 32,
        dropout: DropoutRate = 0.3,
    ) -> None:
        super().__init__()
        self.dropout = Dropout(dropout, "rows")
        self.down = nn.Linear(width, size)

    def embed(self, vectors: Tensor) -> Tensor:
        return self.down(self.dropout(vectors))

    def score(self, first: Tensor, second: Tensor) -> Tensor:
        return two_scores((first * second).sum(dim=1))

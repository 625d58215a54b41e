"""One linear layer for both texts; the dot product of what it makes of them is the logit.

Source: minBERT generalization §4.1, size 32, dropout 0.3 (METHODS 4.12).
Differs: none.
Cost: (width + 1)·size parameters.
"""

from __future__ import annotations

from torch import Tensor, nn

from encore.encoder.dropout import Dropout
from encore.errors import RecipeError
from encore.techniques.heads._cosine import two_scores

__all__ = ["SiameseDot"]


class SiameseDot(nn.Module):
    """The logit of two identical texts is a squared length, so never below 0: it cannot call them
    different.
    """

    n_sides = 2
    kinds = ("binary",)

    def __init__(self, width: int, n_scores: int, *, size: int = 32, dropout: float = 0.3) -> None:
        super().__init__()
        if size < 1:
            raise RecipeError(f"size: expected at least 1, got {size}.")
        self.dropout = Dropout(dropout, "rows")
        self.down = nn.Linear(width, size)

    def embed(self, vectors: Tensor) -> Tensor:
        return self.down(self.dropout(vectors))

    def score(self, first: Tensor, second: Tensor) -> Tensor:
        return two_scores((first * second).sum(dim=1))

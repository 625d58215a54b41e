"""Dropout and one linear layer.

Source: Devlin et al. 2019 (METHODS §1).   Differs: none.   Cost: (width + 1)·scores parameters.
"""

from __future__ import annotations

from torch import Tensor, nn

from encore.dropout import Dropout

__all__ = ["LinearHead"]


class LinearHead(nn.Module):
    """(rows, width) → (rows, n_scores). Weights N(0, 0.02), bias 0."""

    def __init__(self, width: int, n_scores: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = Dropout(dropout, "rows")
        self.out = nn.Linear(width, n_scores)
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)

    def embed(self, vectors: Tensor) -> Tensor:
        return vectors

    def score(self, embeddings: Tensor) -> Tensor:
        return self.out(self.dropout(embeddings))

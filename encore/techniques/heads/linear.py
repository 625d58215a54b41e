"""Dropout and one linear layer.

Source: Devlin et al. 2019 (METHODS §1).
Differs: none; with `one_logit` a binary task has one output, whose sigmoid is the second class's
chance, as in SerBERTus §3.
Cost: (width + 1)·scores parameters.
"""

from __future__ import annotations

from torch import Tensor, nn

from encore.encoder.dropout import Dropout, DropoutRate
from encore.errors import RecipeError
from encore.techniques.heads._cosine import two_scores
from encore.types import Head

__all__ = ["LinearHead"]


class LinearHead(nn.Module, Head):
    """(rows, width) → (rows, n_scores). Weights N(0, 0.02), bias 0."""

    def __init__(
        self, width: int, n_scores: int, *, dropout: DropoutRate = 0.1, one_logit: bool = False
    ) -> None:
        super().__init__()
        if one_logit and n_scores != 2:
            raise RecipeError(
                f"one_logit: expected a task of two classes, got {n_scores} "
                f"score{'s' if n_scores > 1 else ''}. Remove it."
            )
        self.dropout = Dropout(dropout, "rows")
        self.one_logit = one_logit
        if one_logit:
            self.kinds = ("binary",)
        self.out = nn.Linear(width, 1 if one_logit else n_scores)
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)

    def embed(self, vectors: Tensor) -> Tensor:
        return vectors

    def score(self, embeddings: Tensor) -> Tensor:
        found = self.out(self.dropout(embeddings))
        return two_scores(found.squeeze(1)) if self.one_logit else found

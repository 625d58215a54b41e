"""Classes from the task's own layer beside the two layers that the fcn heads of a recipe share.

Source: minBERT generalization §4.3, Fig. 1, and its author's code (METHODS 4.13).
Differs: size 256 as in the paper's best model; `compat: gen` takes the code's 128.
Cost: (width + 1)·size + (2·size + 1)·scores parameters, and (width + 1)·size + (size + 1)·size
shared ones.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from encore.encoder.dropout import Dropout, DropoutRate
from encore.techniques.heads._shared import SharedLayers, SuiteHead, size_of

__all__ = ["FcnSentiment"]


class FcnSentiment(SuiteHead):
    """x = D(p); W_o·ReLU([W_s·x; S(x)])."""

    def __init__(
        self,
        width: int,
        n_scores: int,
        *,
        size: Annotated[int, Field(ge=1)] | None = None,
        dropout: DropoutRate = 0.0,
        compat: Literal["gen"] | None = None,
    ) -> None:
        super().__init__()
        size = size_of(size, compat)
        self.dropout = Dropout(dropout, "rows")
        self.shared = SharedLayers(width, size, dropout)
        self.own, self.out = nn.Linear(width, size), nn.Linear(2 * size, n_scores)

    def embed(self, vectors: Tensor) -> Tensor:
        x = self.dropout(vectors)
        return torch.cat([self.own(x), self.shared(x)], dim=1)

    def score(self, embeddings: Tensor) -> Tensor:
        return self.out(embeddings.relu())

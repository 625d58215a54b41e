"""One logit from products of the two texts' layers and their plain vectors; two of the layers are
those that the fcn heads of a recipe share.

Source: minBERT generalization §4.3, Fig. 1, and its author's code (METHODS 4.13).
Differs: size 256 as in the paper's best model; `compat: gen` takes the code's 128; `share: false`
leaves the shared layers out, the "structural change only" of the ablations: linear on [x₁; x₂;
d₁·d₂].
Cost: (width + 1)·size + (2·width + size + 1)·size + 2·size + 1 parameters, and (width + 1)·size +
(size + 1)·size shared ones.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from encore.encoder.dropout import Dropout, DropoutRate
from encore.techniques.heads._cosine import two_scores
from encore.techniques.heads._shared import SharedLayers, SuiteHead, size_of

__all__ = ["FcnParaphrase"]


class FcnParaphrase(SuiteHead):
    """xᵢ = D(pᵢ); dᵢ = W_d·xᵢ; e = W_e·D([x₁; x₂; d₁·d₂]); W_q·ReLU([S(x₁)·S(x₂); e]). Not
    symmetric in the two texts.
    """

    n_sides = 2
    kinds = ("binary",)

    def __init__(
        self,
        width: int,
        n_scores: int,
        *,
        size: Annotated[int, Field(ge=1)] | None = None,
        dropout: DropoutRate = 0.0,
        share: bool = True,
        compat: Literal["gen"] | None = None,
    ) -> None:
        super().__init__()
        size = size_of(size, compat)
        self.width, self.size, self.share = width, size, share
        self.dropout, self.dropout_of_both = Dropout(dropout, "rows"), Dropout(dropout, "examples")
        self.product = nn.Linear(width, size)
        if share:
            self.shared = SharedLayers(width, size, dropout)
            self.both, self.out = nn.Linear(2 * width + size, size), nn.Linear(2 * size, 1)
        else:
            self.suite = ""
            self.out = nn.Linear(2 * width + size, 1)

    def embed(self, vectors: Tensor) -> Tensor:
        """[x; d; S(x)]: everything that one text brings."""
        x = self.dropout(vectors)
        return torch.cat([x, self.product(x), *([self.shared(x)] if self.share else [])], dim=1)

    def score(self, first: Tensor, second: Tensor) -> Tensor:
        widths = (self.width, self.size, self.size) if self.share else (self.width, self.size)
        (x, d, *s), (other_x, other_d, *other_s) = (
            first.split(widths, dim=1),
            second.split(widths, dim=1),
        )
        both = self.dropout_of_both(torch.cat([x, other_x, d * other_d], dim=1))
        if self.share:
            both = torch.cat([s[0] * other_s[0], self.both(both)], dim=1).relu()
        return two_scores(self.out(both).squeeze(1))

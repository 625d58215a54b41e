"""Both texts' vectors and what can be made of the two, side by side, then one linear layer.

Source: SerBERTus §3, [u; v] and [u; v; n] (METHODS 4.2); Sentence-BERT, [u; v; |u − v|]; Conneau et
al. 2017 (InferSent), [u; v; |u − v|; u·v].
Differs: n = (u − v) / max(‖u − v‖, 1e-8), and below 1e-8 no gradient goes through it, which would
be 1e8 or not a number.
Cost: (parts·width + 1)·scores parameters.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from encore.encoder.dropout import Dropout, DropoutRate
from encore.errors import RecipeError
from encore.types import Head

__all__ = ["SiameseConcat"]


class SiameseConcat(nn.Module, Head):
    """`parts`: which of u, v, n (the difference scaled to length 1), difference (|u − v|) and
    product (u·v) the linear layer sees, in that order.
    """

    n_sides = 2

    def __init__(
        self,
        width: int,
        n_scores: int,
        *,
        parts: tuple[Literal["u", "v", "n", "difference", "product"], ...] = (
            "u",
            "v",
            "difference",
            "product",
        ),
        dropout: DropoutRate = 0.1,
    ) -> None:
        super().__init__()
        if not parts or len(set(parts)) < len(parts):
            raise RecipeError(
                f"parts: expected one or more of u, v, n, difference, product, each once, got "
                f"{list(parts)}."
            )
        self.parts = parts
        self.dropout = Dropout(dropout, "examples")
        self.out = nn.Linear(len(parts) * width, n_scores)
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)

    def embed(self, vectors: Tensor) -> Tensor:
        return vectors

    def score(self, first: Tensor, second: Tensor) -> Tensor:
        return self.out(
            self.dropout(torch.cat([_part(name, first, second) for name in self.parts], dim=1))
        )


def _part(name: str, u: Tensor, v: Tensor) -> Tensor:
    if name in ("u", "v"):
        return u if name == "u" else v
    if name == "product":
        return u * v
    return (u - v).abs() if name == "difference" else _direction(u - v)


def _direction(difference: Tensor) -> Tensor:
    """(rows, width), each line of length 1, or shorter where it was shorter than 1e-8."""
    short = difference.detach().norm(dim=1, keepdim=True) < 1e-8
    safe = difference.masked_fill(
        short, 1.0
    )  # anything with a length: neither its value nor its gradient is used
    return torch.where(short, difference.detach() / 1e-8, safe / safe.norm(dim=1, keepdim=True))

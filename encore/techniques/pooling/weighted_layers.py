"""A learnt mix of the last k layers (all of them, unless k is set), one weight per layer, then the
mean over tokens or [CLS].

Source: Peters et al. 2018 (ELMo, eq. 1), Tenney et al. 2019.
Differs: no factor in front, which the head absorbs; the embedding output is no layer.
Cost: k parameters.
Needs: a higher rate than an encoder's, since AdamW moves a weight's logit by about its rate per
step; it starts as the plain mean.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from encore.encoder import ragged
from encore.encoder.encoder import Shape
from encore.techniques.pooling import _layers
from encore.techniques.pooling._module import PoolingModule
from encore.types import Encoded, Tokens

__all__ = ["WeightedLayers"]


class WeightedLayers(PoolingModule):
    """Mixing layers and taking the mean over tokens commute, so the mean comes first: that has no
    parameters, and is small.
    """

    unit = "rows"

    def __init__(
        self,
        shape: Shape,
        *,
        k: Annotated[int, Field(ge=1)] | None = None,
        then: Literal["mean", "cls"] = "mean",
    ) -> None:
        super().__init__()
        self.layers = _layers.last(shape.n_layers if k is None else k, shape, "weighted_layers")
        self.then = then
        self.width = shape.width
        self.reduced_width = len(self.layers) * shape.width
        self.logits = nn.Parameter(torch.zeros(len(self.layers)))

    def reduce(self, encoded: Encoded) -> Tensor:
        """(rows, k·width) float32: each layer's mean or [CLS], the lowest layer first."""
        of_row = ragged.mean if self.then == "mean" else ragged.first
        return torch.cat(
            [of_row(state, encoded.tokens).float() for state in encoded.read(self.layers)], dim=1
        )

    def finish(self, reduced: Tensor, tokens: Tokens) -> Tensor:
        """(rows, k·width) → (rows, width)."""
        return torch.einsum(
            "k,rkw->rw", self.logits.softmax(0), reduced.unflatten(1, (len(self.layers), -1))
        )

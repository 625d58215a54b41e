"""The raw [CLS] state of the last layer.

Source: MaxPoolBERT §3.1 (METHODS 1.1).
Differs: none: the pretrained pooler is not used at all.
Cost: none.
"""

from __future__ import annotations

from torch import Tensor, nn

from encore.encoder import ragged
from encore.encoder.encoder import Shape
from encore.types import Encoded, Tokens

__all__ = ["Cls"]


class Cls(nn.Module):
    layers = (-1,)
    unit = "rows"
    first_only = True

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.width = self.reduced_width = shape.width

    def reduce(self, encoded: Encoded) -> Tensor:
        """(rows, width) float32."""
        (state,) = encoded.read(self.layers)
        return ragged.first(state, encoded.tokens).float()

    def finish(self, reduced: Tensor, tokens: Tokens) -> Tensor:
        return reduced

    def forward(self, encoded: Encoded) -> Tensor:
        return self.reduce(encoded)

"""The maximum of the last layer over a row's tokens, coordinate by coordinate.

Source: RTE eq. 2, there beside the mean only (METHODS 0.3, 1.10).
Differs: stands alone; [CLS] and [SEP] are tokens.
Cost: none.
"""

from __future__ import annotations

from torch import Tensor, nn

from encore.encoder import ragged
from encore.encoder.encoder import Shape
from encore.types import Encoded, Tokens

__all__ = ["Max"]


class Max(nn.Module):
    layers = (-1,)
    unit = "rows"

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.width = self.reduced_width = shape.width

    def reduce(self, encoded: Encoded) -> Tensor:
        """(rows, width) float32."""
        (state,) = encoded.read(self.layers)
        return ragged.max(state, encoded.tokens).float()

    def finish(self, reduced: Tensor, tokens: Tokens) -> Tensor:
        return reduced

    def forward(self, encoded: Encoded) -> Tensor:
        return self.reduce(encoded)

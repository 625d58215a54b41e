"""The mean of the last layer over a row's tokens, [CLS] and [SEP] included.

Source: RTE eq. 1, Sentence-BERT (METHODS 1.9).   Differs: none.   Cost: none.
"""

from __future__ import annotations

from torch import Tensor, nn

from encore import rows
from encore.encoder.encoder import Shape
from encore.types import Encoded

__all__ = ["Mean"]


class Mean(nn.Module):
    layers = (-1,)

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.width = shape.width

    def reduce(self, encoded: Encoded) -> Tensor:
        """(rows, width) float32."""
        state = encoded.states[-1]
        assert state is not None
        return rows.mean(state, encoded.tokens)

    def forward(self, encoded: Encoded) -> Tensor:
        return self.reduce(encoded)

"""The two modules that poolings derive from: any pooling, and one without parameters."""

from __future__ import annotations

from torch import Tensor, nn

from encore.encoder.encoder import Shape
from encore.types import Encoded, Pooling, Tokens

__all__ = ["PoolingModule", "RowPooling"]


class PoolingModule(nn.Module, Pooling):
    """A pooling that `reduce` and `finish` define completely."""

    def forward(self, encoded: Encoded) -> Tensor:
        return self.finish(self.reduce(encoded), encoded.tokens)


class RowPooling(PoolingModule):
    """A pooling without parameters: `reduce` gives each row its vector, (rows, width) float32, and
    nothing is left to finish. Reads the last layer and keeps the encoder's width, unless a subclass
    sets `layers` or `width`.
    """

    unit = "rows"
    layers: tuple[int, ...] = (-1,)

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.width = self.reduced_width = shape.width

    def finish(self, reduced: Tensor, tokens: Tokens) -> Tensor:
        return reduced

"""The element-wise maximum of the [CLS] states of the last k layers.

Source: MaxPoolBERT §3.2, k = 3 (METHODS 1.3).   Differs: none.   Cost: none.
"""

from __future__ import annotations

from torch import Tensor, nn

from encore import rows
from encore.encoder.encoder import Shape
from encore.pooling import _layers
from encore.types import Encoded, Tokens

__all__ = ["MaxCls"]


class MaxCls(nn.Module):
    unit = "rows"
    first_only = True

    def __init__(self, shape: Shape, *, k: int = 3) -> None:
        super().__init__()
        self.layers = _layers.last(k, shape, "max_cls")
        self.width = self.reduced_width = shape.width

    def reduce(self, encoded: Encoded) -> Tensor:
        """(rows, width) float32."""
        return _layers.maximum(self._states(encoded)).float()

    def finish(self, reduced: Tensor, tokens: Tokens) -> Tensor:
        return reduced

    def forward(self, encoded: Encoded) -> Tensor:
        return self.reduce(encoded)

    def _states(self, encoded: Encoded) -> list[Tensor]:
        return [rows.first(state, encoded.tokens) for state in encoded.read(self.layers)]

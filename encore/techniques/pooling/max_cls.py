"""The element-wise maximum of the [CLS] states of the last k layers.

Source: MaxPoolBERT §3.2, k = 3 (METHODS 1.3).
Differs: none.
Cost: none.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from encore.encoder.encoder import Shape
from encore.techniques.pooling import _layers
from encore.techniques.pooling._module import RowPooling
from encore.types import Encoded

__all__ = ["MaxCls"]


class MaxCls(RowPooling):
    first_only = True

    def __init__(self, shape: Shape, *, k: Annotated[int, Field(ge=1)] = 3) -> None:
        super().__init__(shape)
        self.layers = _layers.last(k, shape, "max_cls")

    def reduce(self, encoded: Encoded) -> Tensor:
        """(rows, width) float32."""
        return _layers.maximum(_layers.first_states(encoded, self.layers)).float()

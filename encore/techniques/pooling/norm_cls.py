"""The [CLS] state with the largest norm among those of the last k layers.

Source: MaxPoolBERT §3.4, last paragraph, k = 3 (METHODS 1.7).
Differs: the paper says no more than "norms"; here: L2, the higher layer of equals, no gradient
through the choice.
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

__all__ = ["NormCls"]


class NormCls(RowPooling):
    first_only = True

    def __init__(self, shape: Shape, *, k: Annotated[int, Field(ge=1)] = 3) -> None:
        super().__init__(shape)
        self.layers = _layers.last(k, shape, "norm_cls")

    def reduce(self, encoded: Encoded) -> Tensor:
        """(rows, width) float32."""
        return _layers.longest(_layers.first_states(encoded, self.layers)).float()

    def layer_counts(self, encoded: Encoded) -> Tensor:
        """(k,) int64: how many rows take their vector from each layer, the lowest first. Behind a
        LayerNorm the choice can be nearly constant.
        """
        return _layers.sources(_layers.first_states(encoded, self.layers)).bincount(
            minlength=len(self.layers)
        )

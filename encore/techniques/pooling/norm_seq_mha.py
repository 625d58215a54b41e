"""At every token the vector of largest norm among those of the last k layers, then one more
attention layer, queried by [CLS].

Source: MaxPoolBERT §3.4, last paragraph, k = 3, 4 heads (METHODS 1.7).
Differs: the paper says no more than "norms"; here: L2, per token, the higher layer of equals, no
gradient through the choice.
Cost: 4·(width² + width) parameters.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from encore.encoder.encoder import Shape
from encore.techniques.pooling import _layers
from encore.techniques.pooling._cls_attention import ClsQueriedAttention
from encore.types import Encoded

__all__ = ["NormSeqMha"]


class NormSeqMha(ClsQueriedAttention):
    def __init__(
        self,
        shape: Shape,
        *,
        k: Annotated[int, Field(ge=1)] = 3,
        n_heads: Annotated[int, Field(ge=1)] = 4,
    ) -> None:
        super().__init__(shape, k, n_heads, "norm_seq_mha", _layers.longest)

    def layer_counts(self, encoded: Encoded) -> Tensor:
        """(k,) int64: how many tokens take their vector from each layer, the lowest first. Behind a
        LayerNorm the choice can be nearly constant.
        """
        return _layers.sources(encoded.read(self.layers)).bincount(minlength=len(self.layers))

"""The mean of the last k layers at every token, then one more attention layer, queried by [CLS].

Source: MaxPoolBERT App. A.1.2, Table 5, k = 3, 4 heads (METHODS 1.6).
Differs: none.
Cost: 4·(width² + width) parameters.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from encore.encoder.encoder import Shape
from encore.techniques.pooling import _layers
from encore.techniques.pooling._cls_attention import ClsQueriedAttention

__all__ = ["MeanSeqMha"]


class MeanSeqMha(ClsQueriedAttention):
    def __init__(
        self,
        shape: Shape,
        *,
        k: Annotated[int, Field(ge=1)] = 3,
        n_heads: Annotated[int, Field(ge=1)] = 4,
    ) -> None:
        super().__init__(shape, k, n_heads, "mean_seq_mha", _layers.average)

"""One more attention layer over the last layer, queried by [CLS] alone.

Source: MaxPoolBERT §3.3, eqs. 7–8, 4 heads (METHODS 1.4).
Differs: none.
Cost: 4·(width² + width) parameters.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from encore.encoder.encoder import Shape
from encore.techniques.pooling._cls_attention import ClsQueriedAttention

__all__ = ["Mha"]


class Mha(ClsQueriedAttention):
    def __init__(self, shape: Shape, *, n_heads: Annotated[int, Field(ge=1)] = 4) -> None:
        super().__init__(shape, 1, n_heads, "mha", lambda states: states[0])

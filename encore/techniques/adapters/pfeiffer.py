"""One bottleneck in each layer, behind the feed-forward; the encoder itself stays as it is.

Source: Pfeiffer et al. 2021 (METHODS 7.1).
Differs: it lies between dropout and the residual sum, where Houlsby's second one does; AdapterHub's
`seq_bn` puts a LayerNorm before it.
Cost: half of houlsby's parameters at the same size.
Needs: a rate of 1e-4 to 1e-3.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from encore.encoder.encoder import Encoder
from encore.techniques.adapters._bottleneck import adapted_at
from encore.types import Adapter

__all__ = ["PfeifferAdapter"]


class PfeifferAdapter(Adapter):
    """size: of the bottleneck. top: the highest layers only. cache_below: the layers below run
    without dropout, once for each text.
    """

    def __init__(
        self,
        *,
        size: Annotated[int, Field(ge=1)] = 64,
        activation: Literal["gelu", "relu", "silu"] = "gelu",
        top: Annotated[int, Field(ge=1)] | None = None,
        train_norms: bool = False,
        cache_below: bool = False,
    ) -> None:
        self.size, self.activation = size, activation
        self.top, self.train_norms, self.cache_below = top, train_norms, cache_below

    def __call__(self, encoder: Encoder) -> Encoder:
        return adapted_at(
            encoder,
            (1,),
            size=self.size,
            activation=self.activation,
            top=self.top,
            train_norms=self.train_norms,
            cache_below=self.cache_below,
        )

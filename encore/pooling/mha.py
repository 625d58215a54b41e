"""One more attention layer over the last layer, asked by [CLS] alone.

Source: MaxPoolBERT §3.3, eqs. 7–8, 4 heads (METHODS 1.4).   Differs: none.   Cost: 4·(width² + width) parameters.
"""

from __future__ import annotations

from torch import Tensor, nn

from encore.encoder.encoder import Shape
from encore.pooling._cls_attention import ClsAttention
from encore.types import Encoded, Tokens

__all__ = ["Mha"]


class Mha(nn.Module):
    layers = (-1,)
    unit = "tokens"

    def __init__(self, shape: Shape, *, n_heads: int = 4) -> None:
        super().__init__()
        self.width = self.reduced_width = shape.width
        self.attention = ClsAttention(shape, n_heads, "mha")

    def reduce(self, encoded: Encoded) -> Tensor:
        """(tokens, width) float32: the last layer."""
        (state,) = encoded.read(self.layers)
        return state.float()

    def finish(self, reduced: Tensor, tokens: Tokens) -> Tensor:
        """(tokens, width) → (rows, width)."""
        return self.attention(reduced, tokens)

    def forward(self, encoded: Encoded) -> Tensor:
        return self.finish(self.reduce(encoded), encoded.tokens)

    def weights(self, encoded: Encoded) -> Tensor:
        """(tokens, heads): how much of each token goes into its row; each row's add up to 1 in each head."""
        return self.attention.weights(self.reduce(encoded), encoded.tokens)

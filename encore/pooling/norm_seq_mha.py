"""At every token that one of the last k layers where it is longest, then one more attention layer, asked by [CLS].

Source: MaxPoolBERT §3.4, last paragraph, k = 3, 4 heads (METHODS 1.7).
Differs: the paper says no more than "norms"; here: L2, per token, the higher layer of equals, no gradient through the choice.
Cost: 4·(width² + width) parameters.
"""

from __future__ import annotations

from torch import Tensor, nn

from encore.encoder.encoder import Shape
from encore.pooling import _layers
from encore.pooling._cls_attention import over_layers
from encore.types import Encoded, Tokens

__all__ = ["NormSeqMha"]


class NormSeqMha(nn.Module):
    unit = "tokens"

    def __init__(self, shape: Shape, *, k: int = 3, n_heads: int = 4) -> None:
        super().__init__()
        self.layers, self.attention = over_layers(k, n_heads, shape, "norm_seq_mha")
        self.width = self.reduced_width = shape.width

    def reduce(self, encoded: Encoded) -> Tensor:
        """(tokens, width) float32."""
        return _layers.longest(encoded.read(self.layers)).float()

    def finish(self, reduced: Tensor, tokens: Tokens) -> Tensor:
        """(tokens, width) → (rows, width)."""
        return self.attention(reduced, tokens)

    def forward(self, encoded: Encoded) -> Tensor:
        return self.finish(self.reduce(encoded), encoded.tokens)

    def weights(self, encoded: Encoded) -> Tensor:
        """(tokens, heads): how much of each token goes into its row; each row's add up to 1 in each head."""
        return self.attention.weights(self.reduce(encoded), encoded.tokens)

    def histogram(self, encoded: Encoded) -> Tensor:
        """(k,) int64: how many tokens take their vector from each layer, the lowest first. Behind a LayerNorm the choice can be nearly constant."""
        return _layers.sources(encoded.read(self.layers)).bincount(minlength=len(self.layers))

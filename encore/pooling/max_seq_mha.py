"""MaxPoolBERT: the element-wise maximum of the last k layers at every token, then one more attention layer, asked by [CLS].

Source: MaxPoolBERT §3.4, Fig. 2, k = 3, 4 heads (METHODS 1.5).   Differs: none; the query is the [CLS] after the maximum, as the figure says.
Cost: 4·(width² + width) parameters.
"""

from __future__ import annotations

from torch import Tensor, nn

from encore.encoder.encoder import Shape
from encore.pooling import _layers
from encore.pooling._cls_attention import over_layers
from encore.types import Encoded, Tokens

__all__ = ["MaxSeqMha"]


class MaxSeqMha(nn.Module):
    unit = "tokens"

    def __init__(self, shape: Shape, *, k: int = 3, n_heads: int = 4) -> None:
        super().__init__()
        self.layers, self.attention = over_layers(k, n_heads, shape, "max_seq_mha")
        self.width = self.reduced_width = shape.width

    def reduce(self, encoded: Encoded) -> Tensor:
        """(tokens, width) float32."""
        return _layers.maximum(encoded.read(self.layers)).float()

    def finish(self, reduced: Tensor, tokens: Tokens) -> Tensor:
        """(tokens, width) → (rows, width)."""
        return self.attention(reduced, tokens)

    def forward(self, encoded: Encoded) -> Tensor:
        return self.finish(self.reduce(encoded), encoded.tokens)

    def weights(self, encoded: Encoded) -> Tensor:
        """(tokens, heads): how much of each token goes into its row; each row's add up to 1 in each head."""
        return self.attention.weights(self.reduce(encoded), encoded.tokens)

"""The mean of the last k layers at every token, then one more attention layer, asked by [CLS].

Source: MaxPoolBERT App. A.1.2, Table 5, k = 3, 4 heads (METHODS 1.6).   Differs: none.
Cost: 4·(width² + width) parameters.
"""

from __future__ import annotations

from torch import Tensor, nn

from encore.encoder.encoder import Shape
from encore.pooling import _layers
from encore.pooling._cls_attention import over_layers
from encore.types import Encoded, Tokens

__all__ = ["MeanSeqMha"]


class MeanSeqMha(nn.Module):
    unit = "tokens"

    def __init__(self, shape: Shape, *, k: int = 3, n_heads: int = 4) -> None:
        super().__init__()
        self.layers, self.attention = over_layers(k, n_heads, shape, "mean_seq_mha")
        self.width = self.reduced_width = shape.width

    def reduce(self, encoded: Encoded) -> Tensor:
        """(tokens, width) float32."""
        return _layers.average(encoded.read(self.layers))

    def finish(self, reduced: Tensor, tokens: Tokens) -> Tensor:
        """(tokens, width) → (rows, width)."""
        return self.attention(reduced, tokens)

    def forward(self, encoded: Encoded) -> Tensor:
        return self.finish(self.reduce(encoded), encoded.tokens)

    def weights(self, encoded: Encoded) -> Tensor:
        """(tokens, heads): how much of each token goes into its row; each row's add up to 1 in each head."""
        return self.attention.weights(self.reduce(encoded), encoded.tokens)

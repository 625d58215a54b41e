"""A weighted mean of the last layer over a row's tokens: softmax of one learnt direction.

Source: RTE §2.3, eqs. 3–4 (METHODS 1.11).
Differs: no bias on the scores, which softmax cancels.
Cost: width parameters.
"""

from __future__ import annotations

from torch import Tensor, nn

from encore.encoder import ragged
from encore.encoder.encoder import Shape
from encore.techniques.pooling._module import PoolingModule
from encore.types import Encoded, Tokens

__all__ = ["Attention"]


class Attention(PoolingModule):
    layers = (-1,)
    unit = "tokens"

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.width = self.reduced_width = shape.width
        self.score = nn.Linear(shape.width, 1, bias=False)
        nn.init.normal_(self.score.weight, std=0.02)

    def reduce(self, encoded: Encoded) -> Tensor:
        """(tokens, width) float32: the last layer."""
        (state,) = encoded.read(self.layers)
        return state.float()

    def finish(self, reduced: Tensor, tokens: Tokens) -> Tensor:
        """(tokens, width) → (rows, width)."""
        return ragged.mix(self._weights(reduced, tokens), reduced, tokens).squeeze(1)

    def weights(self, encoded: Encoded) -> Tensor:
        """(tokens,): how much of each token goes into its row; each row's add up to 1."""
        return self._weights(self.reduce(encoded), encoded.tokens).squeeze(1)

    def _weights(self, values: Tensor, tokens: Tokens) -> Tensor:
        return ragged.softmax(self.score(values), tokens)

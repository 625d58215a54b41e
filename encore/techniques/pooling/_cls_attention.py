"""One more attention layer that answers one query per row, that of its [CLS]: four poolings are
this and differ in what they make of the last k layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encore.encoder import ragged
from encore.encoder.encoder import Shape
from encore.errors import Complaints, RecipeError
from encore.techniques.pooling import _layers
from encore.techniques.pooling._module import PoolingModule
from encore.types import Encoded, Tokens

__all__ = ["ClsQueriedAttention", "ClsAttention"]


class ClsQueriedAttention(PoolingModule):
    """`combine` of the last k states at every token, then the attention layer. pooling: its name,
    for complaints.
    """

    unit = "tokens"

    def __init__(
        self,
        shape: Shape,
        k: int,
        n_heads: int,
        pooling: str,
        combine: Callable[[Sequence[Tensor]], Tensor],
    ) -> None:
        """Raises RecipeError with all that does not fit the encoder."""
        super().__init__()
        complaints = Complaints()
        with complaints.collecting():
            self.layers = _layers.last(k, shape, pooling)
        with complaints.collecting():
            self.attention = ClsAttention(shape, n_heads, pooling)
        complaints.raise_any()
        self.combine = combine
        self.width = self.reduced_width = shape.width

    def reduce(self, encoded: Encoded) -> Tensor:
        """(tokens, width) float32."""
        return self.combine(encoded.read(self.layers)).float()

    def finish(self, reduced: Tensor, tokens: Tokens) -> Tensor:
        """(tokens, width) → (rows, width)."""
        return self.attention(reduced, tokens)

    def weights(self, encoded: Encoded) -> Tensor:
        """(tokens, heads): how much of each token goes into its row; each row's add up to 1 in each
        head.
        """
        return self.attention.weights(self.reduce(encoded), encoded.tokens)


class ClsAttention(nn.Module):
    """`torch.nn.MultiheadAttention(width, n_heads)` with Q = a row's first vector and K = V = all
    of them; no residual, no LayerNorm, no dropout.

    Names, shapes and first values of the parameters are torch's, seed for seed: Q, K and V are
    stacked and Xavier-uniform (fan-out 3·width), biases are 0, and the output projection keeps the
    default of a linear layer. The keys' bias shifts all scores of a row alike, so it does nothing
    and its gradient is 0.
    """

    def __init__(self, shape: Shape, n_heads: int, pooling: str) -> None:
        super().__init__()
        width = shape.width
        if n_heads < 1 or width % n_heads:
            fitting = ", ".join(str(n) for n in range(1, min(width, 64) + 1) if width % n == 0)
            raise RecipeError(
                f"pooling '{pooling}': expected n_heads that divide the encoder's width of "
                f"{width}, got {n_heads}. Set one of {fitting}."
            )
        self.n_heads = n_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)  # before the others: torch draws it first
        nn.init.zeros_(self.out_proj.bias)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, values: Tensor, tokens: Tokens) -> Tensor:
        """(tokens, width) → (rows, width), float32.

        With one query per row the products with W_K and W_V commute with the sums over tokens: W_K
        is applied to the query and W_V to what the weights have mixed, once per row and head
        instead of once per token.
        """
        (query, keys, of_values), (query_bias, _, value_bias) = (
            self.in_proj_weight.chunk(3),
            self.in_proj_bias.chunk(3),
        )
        probs = self._probs(values, tokens, query, query_bias, keys)
        mixed = ragged.mix(probs, values, tokens)  # (rows, heads, width)
        heads = torch.einsum("rhw,hdw->rhd", mixed, self._per_head(of_values)).flatten(1)
        return self.out_proj(heads + value_bias)

    def weights(self, values: Tensor, tokens: Tokens) -> Tensor:
        """(tokens, heads): how much of each token goes into its row; each row's add up to 1 in each
        head.
        """
        query, keys, _ = self.in_proj_weight.chunk(3)
        return self._probs(values, tokens, query, self.in_proj_bias.chunk(3)[0], keys)

    def _probs(
        self, values: Tensor, tokens: Tokens, query: Tensor, query_bias: Tensor, keys: Tensor
    ) -> Tensor:
        queries = F.linear(ragged.first(values, tokens), query, query_bias).unflatten(
            1, (self.n_heads, -1)
        )
        absorbed = torch.einsum(
            "rhd,hdw->rhw", queries * queries.shape[2] ** -0.5, self._per_head(keys)
        )
        return ragged.softmax(ragged.products(absorbed, values, tokens), tokens)

    def _per_head(self, weight: Tensor) -> Tensor:
        return weight.unflatten(0, (self.n_heads, -1))

"""Each text alone through the same encoder, then one attention layer in which every token of a text
attends to the tokens of the other, and the pooling after that.

Source: SerBERTus §6, future work: "separate embeddings with cross attention".
Differs: the paper has no design; here x + MultiHead(x, other, other), with the same weights for
both directions and for every layer that the pooling reads; the projection behind the heads starts
at 0, so that it begins as `siamese`.
Cost: 4·(width² + width) parameters; a text is computed anew with every partner.
Needs: a head for two texts
"""

from __future__ import annotations

from typing import Annotated, Any, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from encore.encoder.attention import padded_length
from encore.errors import RecipeError
from encore.techniques.pairs.siamese import Siamese
from encore.techniques.pooling._module import PoolingModule
from encore.types import Encoded, Pooling, Tokens

__all__ = ["SiameseAttend"]


class SiameseAttend(Siamese):
    def __init__(self, *, n_heads: Annotated[int, Field(ge=1)] = 4) -> None:
        self.n_heads = n_heads

    def attend(self, pooling: Pooling, width: int) -> Pooling:
        """The pooling with the layer in front of it. Raises RecipeError where the heads do not
        divide the encoder's width.
        """
        if width % self.n_heads:
            raise RecipeError(
                f"n_heads: expected a divisor of the encoder's width {width}, got {self.n_heads}."
            )
        return _Attended(pooling, width, self.n_heads)


class _Attended(PoolingModule):
    """A Pooling whose sides see each other. Row 2·i and row 2·i + 1 are the two texts of example
    i.
    """

    unit = "tokens"
    couples_sides = True

    def __init__(self, pooling: Pooling, width: int, n_heads: int) -> None:
        super().__init__()
        self.inner = cast(Any, pooling)
        self.frozen = pooling.frozen
        self.width, self.n_heads = pooling.width, n_heads
        self.layers = tuple(dict.fromkeys(pooling.layers))
        self.reduced_width = width * len(self.layers)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        for linear in (self.query, self.key, self.value):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def reduce(self, encoded: Encoded) -> Tensor:
        """(tokens, layers · width) float32: the states that the pooling reads, side by side."""
        return torch.cat([state.float() for state in encoded.read(self.layers)], dim=1)

    def finish(self, reduced: Tensor, tokens: Tokens) -> Tensor:
        seen = [self.attended(state, tokens) for state in reduced.chunk(len(self.layers), dim=1)]
        depth = 1 + max(abs(layer) for layer in self.layers)
        states: list[Tensor | None] = [None] * depth
        for layer, state in zip(self.layers, seen, strict=True):
            states[layer] = state
        return self.inner(Encoded(tuple(states), tokens))

    def pretrained(self) -> list[nn.Parameter]:
        return self.inner.pretrained()

    def attended(self, x: Tensor, tokens: Tokens) -> Tensor:
        """(tokens, width) → (tokens, width): x + MultiHead(x, other, other). Pairs of equal padded
        lengths go together, so that a pair alone is computed as it is in a batch.
        """
        query, key, value = (linear(x) for linear in (self.query, self.key, self.value))
        groups: dict[tuple[int, int], list[int]] = {}
        for row, length in enumerate(tokens.lengths):
            groups.setdefault(
                (padded_length(length), padded_length(tokens.lengths[row ^ 1])), []
            ).append(row)
        starts, lengths = tokens.offsets[:-1], tokens.offsets.diff()
        mixed = torch.zeros_like(x)
        for (own, other), members in sorted(groups.items()):
            rows = torch.tensor(members, device=x.device)
            partners = rows ^ 1
            query_places, _ = _places(starts[rows], lengths[rows], own)
            key_places, real = _places(starts[partners], lengths[partners], other)
            q, k, v = (
                self._heads(part[places])
                for part, places in ((query, query_places), (key, key_places), (value, key_places))
            )
            scores = (q @ k.transpose(2, 3)) * q.shape[3] ** -0.5
            weights = scores.masked_fill(~real[:, None, None], -torch.inf).softmax(dim=3)
            found = (weights @ v).transpose(1, 2).flatten(2)  # (rows, places, width)
            inside = torch.arange(own, device=x.device) < lengths[rows].unsqueeze(1)
            mixed = mixed.index_copy(0, query_places[inside], found[inside])
        return x + self.out(mixed)

    def _heads(self, lines: Tensor) -> Tensor:
        """(rows, places, width) → (rows, heads, places, head width)."""
        return lines.unflatten(2, (self.n_heads, -1)).transpose(1, 2)


def _places(starts: Tensor, lengths: Tensor, padded: int) -> tuple[Tensor, Tensor]:
    """(rows, padded) int64: the token at each place, a row's first one where there is none; and
    (rows, padded) bool: where there is one.
    """
    places = torch.arange(padded, device=starts.device)
    real = places < lengths.unsqueeze(1)
    return starts.unsqueeze(1) + torch.where(real, places, 0), real

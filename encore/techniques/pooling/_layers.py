"""The last k layers, and what can be made of them at every place. `states` are given from the
lowest to the highest, each (places, width).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from encore.encoder import ragged
from encore.encoder.encoder import Shape
from encore.errors import RecipeError
from encore.types import Encoded

__all__ = ["average", "first_states", "last", "longest", "maximum", "sources"]


def last(k: int, shape: Shape, pooling: str) -> tuple[int, ...]:
    """-k to -1. H[0], the embeddings, is never among them. Raises RecipeError where the encoder has
    fewer layers.
    """
    if not 1 <= k <= shape.n_layers:
        raise RecipeError(
            f"pooling '{pooling}': expected k from 1 to {shape.n_layers}, the layers of this "
            f"encoder, got {k}. Set another k."
        )
    return tuple(range(-k, 0))


def first_states(encoded: Encoded, layers: tuple[int, ...]) -> list[Tensor]:
    """Of each of the layers (rows, width): every row's first token."""
    return [ragged.first(state, encoded.tokens) for state in encoded.read(layers)]


def maximum(states: Sequence[Tensor]) -> Tensor:
    """The greatest of the layers, coordinate by coordinate. The gradient goes to one layer, the
    highest of equals (`amax` would share it out).
    """
    return _Maximum.apply(*states)


class _Maximum(torch.autograd.Function):
    """`max` with an index and `where` say the same; on a processor they take ten times as long."""

    @staticmethod
    def forward(ctx: Any, *states: Tensor) -> Tensor:
        peak = functools.reduce(torch.maximum, states).clone()
        ctx.save_for_backward(peak, *states)
        return peak

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        peak, *states = ctx.saved_tensors
        grads = []
        for state in reversed(states[1:]):
            grads.append(grad * (state == peak))
            grad = grad - grads[-1]
        return grad, *reversed(grads)


def average(states: Sequence[Tensor]) -> Tensor:
    """float32."""
    total = states[0].float()
    for state in states[1:]:
        total = total + state.float()
    return total / len(states)


def longest(states: Sequence[Tensor]) -> Tensor:
    """At each place the vector of the layer where it is longest. Which one that is has no
    gradient.
    """
    n_places = len(states[0])
    return torch.cat(list(states)).index_select(
        0, sources(states) * n_places + torch.arange(n_places, device=states[0].device)
    )


def sources(states: Sequence[Tensor]) -> Tensor:
    """(places,) int64: which of the states has the greatest L2 norm there; the highest of
    equals.
    """
    norms = torch.stack(
        [
            torch.linalg.vector_norm(state.detach(), dim=1, dtype=torch.float32)
            for state in reversed(states)
        ]
    )
    return len(states) - 1 - norms.argmax(dim=0)

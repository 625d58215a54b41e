"""Encoders with new layers inside, whose own weights stay as they are.

An adapted encoder's blocks hold the very modules of the encoder that it was made from, so any
number of them take the memory of one. What is new wraps a module of a block and keeps it as
`plain`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encore.encoder.dropout import Unit, dropout
from encore.encoder.encoder import Block, Encoder
from encore.encoder.layers import LayerNorm, Linear, Residual
from encore.errors import RecipeError

__all__ = [
    "AdaptedResidual",
    "LoraLinear",
    "MixedAdapters",
    "Wrapper",
    "adapt",
    "copied",
    "merged",
    "without_adapters",
]


class Wrapper(nn.Module):
    """A module of an encoder with new weights beside it. plain: the module itself."""

    plain: nn.Module


class AdaptedResidual(Wrapper, Residual):
    """The end of a sublayer with an adapter between dropout and the residual sum: (tokens, width) →
    (tokens, width).
    """

    def __init__(self, plain: Residual, adapter: nn.Module) -> None:
        super().__init__()
        self.plain, self.adapter = cast(nn.Module, plain), adapter

    def forward(self, x: Tensor, y: Tensor, unit: Unit = "tokens") -> Tensor:
        return self.closed(x + self.dropped(y, unit))

    def dropped(self, y: Tensor, unit: Unit) -> Tensor:
        return self.adapter(cast(Residual, self.plain).dropped(y, unit))

    def closed(self, total: Tensor) -> Tensor:
        return cast(Residual, self.plain).closed(total)


class MixedAdapters(nn.Module):
    """Several adapters at one place, by their numbers. `mixture(h)` is the share of each, (tokens,
    adapters) float32, which add up to 1 for each token.
    """

    places: tuple[int, ...]


class LoraLinear(Wrapper):
    """W·x + b, plus scale · B·A·dropout(x) on the outputs of each of `parts` (Hu et al. 2021).

    parts: name → the slice of the outputs. Each has a `down` (A: rank, inputs), drawn as torch
    draws a linear layer, and an `up` (B: outputs of the part, rank), which starts at 0.
    """

    def __init__(
        self, plain: Linear, parts: Mapping[str, slice], *, rank: int, scale: float, p: float
    ) -> None:
        super().__init__()
        self.plain, self.parts, self.scale, self.p = plain, dict(parts), scale, p
        self.down, self.up = nn.ParameterDict(), nn.ParameterDict()
        for name, part in self.parts.items():
            down = nn.Parameter(torch.empty(rank, plain.in_features))
            nn.init.kaiming_uniform_(down, a=math.sqrt(5))
            self.down[name] = down
            self.up[name] = nn.Parameter(torch.zeros(part.stop - part.start, rank))

    def forward(self, x: Tensor) -> Tensor:
        y = self.plain(x)
        dropped = dropout(x, self.p if self.training else 0.0, "tokens")
        for name, part in self.parts.items():
            added = F.linear(dropped, self.down[name].to(x.dtype))
            y[:, part] += self.scale * F.linear(added, self.up[name].to(x.dtype))
        return y

    def matrix(self, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """The weight (outputs, inputs) with what was learned, and the bias."""
        weight, bias = cast(Linear, self.plain).matrix(dtype)
        return weight + self.change().to(dtype), bias

    @torch.no_grad()
    def merged(self) -> Linear:
        """A linear layer that computes the same in one product."""
        found = copy.deepcopy(cast(Linear, self.plain))
        found.weight += self.change()
        return found

    def change(self) -> Tensor:
        """scale · B·A, (outputs, inputs) float32, 0 where nothing was learned."""
        found = torch.zeros_like(cast(Linear, self.plain).weight)
        for name, part in self.parts.items():
            found[part] = self.scale * self.up[name] @ self.down[name]
        return found


def adapt(
    encoder: Any,
    wrap: Callable[[Block], Mapping[str, nn.Module]],
    *,
    top: int | None = None,
    train_norms: bool = False,
    cache_below: bool = False,
) -> Encoder:
    """An encoder whose `top` highest blocks (None: all) have new modules, and which aliases the
    rest of `encoder`, all of it frozen.

    wrap: a block → the names of its modules and what takes their places. train_norms: the blocks
    with new modules also train LayerNorms, copies of the encoder's. cache_below: the blocks below
    these always run in eval mode, so that their output may be cached. Raises RecipeError for an
    encoder that hides its blocks, or has fewer than `top`.
    """
    if not isinstance(encoder, Encoder):
        raise RecipeError(
            "this encoder comes from transformers, and its layers cannot have adapters. Choose one "
            "that Encore builds itself."
        )
    n_layers = encoder.n_layers
    if top is not None and top > n_layers:
        raise RecipeError(f"top: expected at most {n_layers}, the encoder's layers, got {top}.")
    encoder.requires_grad_(False)
    before = {id(parameter) for parameter in encoder.parameters()}
    lowest = n_layers - (n_layers if top is None else top)
    above = [
        _changed(block, wrap(cast(Block, block)), fresh_norms=train_norms)
        for block in encoder.blocks[lowest:]
    ]
    found = Encoder(
        encoder.embed, [*encoder.blocks[:lowest], *above], final_norm=encoder.final_norm
    )
    found.dtype = encoder.dtype
    new = {name for name, each in found.named_parameters() if id(each) not in before}
    found.own, found.n_fixed = frozenset(new), lowest if cache_below else 0
    return found


def copied(encoder: Any, *, above: int | None = None) -> Any:
    """A copy of an encoder that trains apart from it. above: the number of its blocks, from the
    lowest, that the copy has in common with it, and the embeddings with them; None: nothing. What
    an adapter leaves as it is they always have in common.
    """
    kept: list[nn.Module] = []
    if above is not None:
        kept = [encoder.embed, *encoder.blocks[:above]]
    if isinstance(encoder, Encoder) and encoder.own is not None:
        learned = {id(each) for name, each in encoder.named_parameters() if name in encoder.own}
        kept += [
            module
            for module in encoder.modules()
            if not isinstance(module, nn.ModuleList)
            and not any(id(parameter) in learned for parameter in module.parameters())
        ]
    return copy.deepcopy(encoder, {id(module): module for module in kept})


def without_adapters(encoder: Encoder) -> Encoder:
    """The encoder that an adapted one was made from, with the same modules. Trained copies of its
    LayerNorms are not taken back.
    """
    return _unwrapped(encoder, lambda wrapper: wrapper.plain)


def merged(encoder: Encoder) -> Encoder:
    """An encoder like one with LoRA, with what was learned added to weights of its own."""
    return _unwrapped(encoder, lambda wrapper: cast(LoraLinear, wrapper).merged())


def _unwrapped(encoder: Encoder, plain: Callable[[Wrapper], nn.Module]) -> Encoder:
    blocks = []
    for block in encoder.blocks:
        modules = {
            name: plain(module)
            for name, module in block.named_children()
            if isinstance(module, Wrapper)
        }
        blocks.append(_changed(block, modules) if modules else block)
    found = Encoder(encoder.embed, blocks, final_norm=encoder.final_norm)
    found.dtype = encoder.dtype
    return found.train(encoder.training)


def _changed(
    block: nn.Module, modules: Mapping[str, nn.Module], *, fresh_norms: bool = False
) -> nn.Module:
    """A block with `modules` in the places of its own, and otherwise its very modules."""
    own: Sequence[nn.Module] = list(block.children())
    found = copy.deepcopy(block, {id(child): child for child in own})
    for name, module in modules.items():
        found.add_module(name, module)
    if any(isinstance(module, LoraLinear) and module.p > 0 for module in modules.values()):
        found.first = None  # type: ignore[assignment]  # its short way has no inputs to drop
    if fresh_norms:
        for parent in list(found.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, LayerNorm):
                    parent.add_module(name, copy.deepcopy(child).requires_grad_(True))
    return found

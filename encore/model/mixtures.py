"""The shares of several adapters in what an encoder computes, token by token."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from encore.encoder.adapted import AdaptedResidual, MixedAdapters
from encore.encoder.encoder import Encoder
from encore.model.task_model import TaskModel, encoder_of
from encore.types import Tokens

__all__ = ["MixedPlace", "fused_places", "mixtures"]


@dataclass(frozen=True)
class MixedPlace:
    """A sublayer whose adapters are mixed. layer: from 1. sublayer: attention or feed-forward.
    adapters: their numbers, in the order of the shares.
    """

    layer: int
    sublayer: str
    adapters: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.layer} {self.sublayer}"


def fused_places(model: TaskModel) -> dict[MixedPlace, nn.Module]:
    """The places of the first branch at which adapters are mixed, and the modules that mix them;
    none in an encoder without such.
    """
    encoder = encoder_of(model.branches[0])
    found: dict[MixedPlace, nn.Module] = {}
    if not isinstance(encoder, Encoder):
        return found
    for number, layer in enumerate(encoder.blocks, start=1):
        block: Any = layer  # a Block
        for sublayer, name in zip(("attention", "feed-forward"), block.residuals, strict=True):
            end = block.get_submodule(name)
            if isinstance(end, AdaptedResidual) and isinstance(end.adapter, MixedAdapters):
                found[MixedPlace(number, sublayer, end.adapter.places)] = end.adapter
    return found


@torch.inference_mode()
def mixtures(model: TaskModel, tokens: Tokens) -> dict[MixedPlace, Tensor]:
    """Place → (tokens, adapters) float32, which add up to 1 for each token."""
    found: dict[MixedPlace, Tensor] = {}
    with contextlib.ExitStack() as hooks:
        for place, module in fused_places(model).items():
            hooks.enter_context(_watched(place, module, found))
        branch = model.eval().branches[0]
        branch.encoder(tokens, layers=branch.pooling.layers)
    # On a processor there may be more lines than tokens.
    return {place: shares[: len(tokens.ids)] for place, shares in found.items()}


@contextlib.contextmanager
def _watched(
    place: MixedPlace, module: nn.Module, found: dict[MixedPlace, Tensor]
) -> Iterator[None]:
    def keep(mixing: Any, given: tuple[Tensor, ...]) -> None:
        found[place] = mixing.mixture(*given)

    handle = module.register_forward_pre_hook(keep)
    try:
        yield
    finally:
        handle.remove()

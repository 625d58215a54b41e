"""The bottleneck of Houlsby et al., and its places in a block."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from encore.encoder.adapted import AdaptedResidual, adapt
from encore.encoder.encoder import Block, Encoder
from encore.encoder.layers import ACTIVATIONS, Linear, Residual

__all__ = ["Bottleneck", "adapted_at"]

_SPREAD = 1e-3  # standard deviation of the first weights, cut at twice that (METHODS 7.1)


class Bottleneck(nn.Module):
    """h + U·f(D·h + b_d) + b_u, (tokens, width) → (tokens, width): 2·width·size + width + size
    parameters, near the identity at first.
    """

    def __init__(self, width: int, size: int, activation: str) -> None:
        super().__init__()
        self.down, self.up = Linear(width, size), Linear(size, width)
        self.activation: Callable[[Tensor], Tensor] = ACTIVATIONS[activation]
        for layer in (self.down, self.up):
            nn.init.trunc_normal_(layer.weight, std=_SPREAD, a=-2 * _SPREAD, b=2 * _SPREAD)
            nn.init.zeros_(layer.bias)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.change(h)

    def change(self, h: Tensor) -> Tensor:
        """The part that is added to h: AdapterFusion takes it without the residual."""
        return self.up(self.activation(self.down(h)))


def adapted_at(
    encoder: Encoder,
    places: Sequence[int],
    *,
    size: int,
    activation: str,
    top: int | None,
    train_norms: bool,
    cache_below: bool,
) -> Encoder:
    """The encoder with a bottleneck at these ends of sublayers: 0 is attention's, 1 the
    feed-forward's.
    """
    width = encoder.shape.width

    def wrap(block: Block) -> Mapping[str, nn.Module]:
        names = [block.residuals[place] for place in places]
        module = cast(nn.Module, block)
        return {
            name: AdaptedResidual(
                cast(Residual, module.get_submodule(name)), Bottleneck(width, size, activation)
            )
            for name in names
        }

    return adapt(encoder, wrap, top=top, train_norms=train_norms, cache_below=cache_below)

"""A product of two low-rank matrices beside projections of each layer; the encoder itself stays as
it is, and the products can be added to its weights afterwards.

Source: Hu et al. 2021.
Differs: none; defaults are those of the peft library for BERT (query and value, rank 8), and alpha
is 2 · rank.
Needs: a rate of 1e-4 to 1e-3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, cast

from pydantic import Field
from torch import nn

from encore.encoder.adapted import LoraLinear, adapt
from encore.encoder.dropout import DropoutRate
from encore.encoder.encoder import Block, Encoder
from encore.encoder.layers import Linear
from encore.techniques.adapters._peft import STACKED
from encore.types import Adapter

__all__ = ["LoraAdapter"]

Target = Literal["query", "key", "value", "out", "up", "down"]


class LoraAdapter(Adapter):
    """rank: of the product. alpha: it is scaled by alpha / rank. targets: the projections. top: the
    highest layers only. cache_below: the layers below run without dropout, once for each text.
    """

    merges = True

    def __init__(
        self,
        *,
        rank: Annotated[int, Field(ge=1)] = 8,
        alpha: Annotated[float, Field(gt=0)] = 16.0,
        dropout: DropoutRate = 0.0,
        targets: tuple[Target, ...] = ("query", "value"),
        top: Annotated[int, Field(ge=1)] | None = None,
        cache_below: bool = False,
    ) -> None:
        self.rank, self.alpha, self.dropout = rank, alpha, dropout
        self.targets, self.top, self.cache_below = targets, top, cache_below

    def __call__(self, encoder: Encoder) -> Encoder:
        return adapt(encoder, self._wrap, top=self.top, cache_below=self.cache_below)

    def _wrap(self, block: Block) -> Mapping[str, nn.Module]:
        found: dict[str, nn.Module] = {}
        for name in ("qkv", "out", "up", "down"):
            linear = cast(Linear, cast(nn.Module, block).get_submodule(name))
            parts = STACKED if name == "qkv" else (name,)
            size = linear.out_features // len(parts)
            slices: dict[str, slice] = {
                part: slice(number * size, (number + 1) * size)
                for number, part in enumerate(parts)
                if part in self.targets
            }
            if slices:
                found[name] = LoraLinear(
                    linear, slices, rank=self.rank, scale=self.alpha / self.rank, p=self.dropout
                )
        return found

"""Attention over the adapters of several runs, token by token: they and the encoder stay as they
are, and what each contributes is learned.

Source: Pfeiffer et al. 2021; AdapterFusion-multitask §4.3 (METHODS 7.2), in AdapterHub's dynamic
form: what an adapter adds, without its residual, is key and value, and the sublayer's output the
query, which is added once after the mixture.
Differs: none; `places: feed_forward` leaves out adapters and attention behind self-attention, where
the paper has one block for each layer.
Cost: 3·width² + 2·width parameters for each place: 43 million for BERT-base, 21 million with
`places: feed_forward`.
Needs: runs with bottleneck adapters (houlsby, pfeiffer) in the same encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import Field
from torch import nn

from encore import catalogue
from encore.encoder.adapted import AdaptedResidual, adapt
from encore.encoder.dropout import DropoutRate
from encore.encoder.encoder import Block, Encoder
from encore.encoder.layers import Residual
from encore.errors import RecipeError
from encore.techniques.adapters._fused import FusedAdapters
from encore.types import Adapter

__all__ = ["AdapterFusion"]


class AdapterFusion(Adapter):
    """of: references to the runs that trained the adapters. temperature: scores are divided by it.
    regularise: weight of the sum of ‖I − V‖² over all places.
    """

    def __init__(
        self,
        *,
        of: tuple[Any, ...] = (),
        places: Literal["both", "feed_forward"] = "both",
        dropout: DropoutRate = 0.1,
        temperature: Annotated[float, Field(gt=0)] = 1.0,
        regularise: Annotated[float, Field(ge=0)] = 0.01,
    ) -> None:
        self.of, self.places = of, (0, 1) if places == "both" else (1,)
        self.dropout, self.temperature = dropout, temperature
        if regularise:
            self.term = ("fusion_values", regularise)

    def __call__(self, encoder: Encoder) -> Encoder:
        """Raises RecipeError where there is nothing to fuse, or adapters without a bottleneck."""
        if not self.of:
            raise RecipeError("of: expected the runs whose adapters are fused, got none.")
        adapted = [catalogue.build("adapters", spec)(encoder) for spec in self.of]
        numbers = {id(block): number for number, block in enumerate(encoder.blocks)}

        def wrap(block: Block) -> Mapping[str, nn.Module]:
            number, found = numbers[id(block)], {}
            for name in (block.residuals[place] for place in self.places):
                ends = [each.blocks[number].get_submodule(name) for each in adapted]
                inside = {
                    place: end.adapter
                    for place, end in enumerate(ends)
                    if isinstance(end, AdaptedResidual)
                }
                if inside:
                    plain = cast(Residual, cast(nn.Module, block).get_submodule(name))
                    found[name] = AdaptedResidual(plain, self._fused(encoder.shape.width, inside))
            return found

        fused = adapt(encoder, wrap)
        if not fused.own:
            raise RecipeError("of: these adapters have no bottleneck at the places to fuse.")
        return fused

    def _fused(self, width: int, adapters: Mapping[int, nn.Module]) -> FusedAdapters:
        return FusedAdapters(width, adapters, temperature=self.temperature, p=self.dropout)

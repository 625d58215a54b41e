"""The two layers that the heads fcn_sentiment, fcn_paraphrase and fcn_similarity of one recipe have
in common.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from torch import Tensor, nn

from encore.encoder.dropout import Dropout
from encore.errors import RecipeError
from encore.types import Head

__all__ = ["SharedLayers", "SuiteHead", "size_of"]


def size_of(size: int | None, compat: Literal["gen"] | None) -> int:
    """The layers' width: as set; 128 as in the published code with `compat: gen`; 256 as in the
    paper.
    """
    return size if size is not None else 128 if compat == "gen" else 256


class SharedLayers(nn.Module):
    """W₂·D(ReLU(W₁·x)), width → size → size, with nothing behind W₂."""

    def __init__(self, width: int, size: int, dropout: float) -> None:
        super().__init__()
        self.made_of: tuple[Any, ...] = (width, size, dropout)
        self.up, self.down = nn.Linear(width, size), nn.Linear(size, size)
        self.dropout = Dropout(dropout, "rows")

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.dropout(self.up(x).relu()))


class SuiteHead(nn.Module, Head):
    """A head with the common layers, `shared`."""

    suite = "fcn"
    shared: SharedLayers

    def share_layers(self, first: Head) -> None:
        other = cast(SuiteHead, first).shared
        if other.made_of != self.shared.made_of:
            raise RecipeError(
                "their size, dropout and the width of what they read must be the same. Set them "
                "alike."
            )
        self.shared = other

"""The shares of fused adapters, as a figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from encore.report import drawing
from encore.report.figures import Figure
from encore.report.figures.axes import shade
from encore.tables.formatting import shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

__all__ = ["AdapterShares", "adapter_figure"]


@dataclass(frozen=True)
class AdapterShares:
    """names: of the adapters. places: sublayer → adapter → its mean share; the lowest first."""

    names: tuple[str, ...]
    places: Mapping[str, Mapping[str, float]]


def adapter_figure(name: str, shares: AdapterShares, *, where: str) -> Figure:
    """A matrix: sublayers by rows, adapters by columns."""
    over_all = {
        adapter: sum(of.get(adapter, 0.0) for of in shares.places.values()) / len(shares.places)
        for adapter in shares.names
    }
    rows = tuple(
        (place, adapter, share)
        for place, of in shares.places.items()
        for adapter, share in of.items()
    )

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        places = list(shares.places)[::-1]  # the top layer on top
        for line, place in enumerate(places):
            for column, adapter in enumerate(shares.names):
                share = shares.places[place].get(adapter)
                if share is not None:
                    shade(axes, column, line, 0.04 + 0.51 * share)
                    words = f"{100 * share:.0f} %"
                    axes.text(column, line, words, ha="center", va="center", fontsize=8)
        axes.set_xlim(-0.5, len(shares.names) - 0.5)
        axes.set_ylim(len(places) - 0.5, -0.5)
        axes.set_xticks(range(len(shares.names)), [shorten(each, 18) for each in shares.names])
        axes.set_yticks(range(len(places)), places)
        axes.tick_params(length=0)
        axes.set_xlabel("adapter")
        axes.set_ylabel("layer")

    return Figure(
        name,
        f"Shares of the fused adapters, {where}",
        ", ".join(f"{adapter} {100 * share:.0f} %" for adapter, share in over_all.items())
        + " over all layers.",
        "The share of each adapter in what is added at a layer: the mean of the attention over "
        "adapters, over the tokens of the dev set.",
        ("layer", "adapter", "share"),
        rows,
        drawing.svg(name, draw, height=0.8 + 0.24 * len(shares.places)),
    )

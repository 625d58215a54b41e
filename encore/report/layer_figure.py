"""The layers that a pooling chose, as a figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from encore.report.drawing import SERIES, svg
from encore.report.figures import Figure
from encore.tables.formatting import shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

__all__ = ["layer_figure"]


def layer_figure(name: str, groups: Mapping[str, Mapping[int, int]], *, where: str) -> Figure:
    """A histogram for each group. groups: variant ("" of a single run) → layer → count."""
    layers = sorted({layer for counts in groups.values() for layer in counts})
    totals = {group: sum(counts.values()) for group, counts in groups.items()}
    rows = tuple(
        (group, layer, counts.get(layer, 0), counts.get(layer, 0) / totals[group])
        for group, counts in groups.items()
        for layer in layers
    )

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        axes.grid(visible=False, axis="x")
        width = 0.8 / len(groups)
        for number, group in enumerate(groups):
            shares = [100 * share for whose, _, _, share in rows if whose == group]
            left = np.arange(len(layers)) - 0.4 + width * (number + 0.5)
            colour = SERIES[number % len(SERIES)]
            axes.bar(left, shares, width * 0.92, color=colour, label=shorten(group, 22))
        axes.set_xticks(range(len(layers)), [str(layer) for layer in layers])
        axes.set_xlabel("layer")
        axes.set_ylabel("% of vectors")
        if len(groups) > 1:
            canvas.legend(loc="outside upper center", ncols=2)

    def in_words(group: str) -> str:
        shares = ", ".join(
            f"{100 * share:.1f} % layer {layer}"
            for whose, layer, _, share in rows
            if whose == group
        )
        return f"{group}: {shares}" if len(groups) > 1 else shares

    return Figure(
        name,
        f"Chosen layers, {where}",
        f"{'; '.join(in_words(group) for group in groups)}.",
        "The layer that the pooling took each vector from, because its norm was the largest there: "
        "one per row with norm_cls, one per token with norm_seq_mha. Counted over the dev rows"
        + (", all seeds whose models are kept together." if len(groups) > 1 else "."),
        ("group", "layer", "vectors", "share"),
        rows,
        svg(name, draw, height=2.5 if len(groups) == 1 else 2.9),
    )

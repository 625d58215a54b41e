"""Draws the figures of a search with matplotlib's current figure, on which Optuna draws too."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

# Files, no windows; a notebook that has set another backend keeps it.
os.environ.setdefault("MPLBACKEND", "Agg")

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.collections import PathCollection
from matplotlib.ticker import FuncFormatter, NullFormatter

from encore.report.drawing import INK, LINE, SOFT, cleaned

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["pyplot_svg"]

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "figure.figsize": (6.4, 4.0),
    "figure.max_open_warning": 0,
    "font.size": 10.0,
    "font.family": ["DejaVu Sans"],
    "text.parse_math": False,
}


def pyplot_svg(name: str, draw: Callable[[], Any], *, width: float = 6.4) -> str:
    """The picture that `draw` makes in matplotlib's current figure, `width` inches wide, in the
    colours of reports. The same numbers give the same bytes.
    """
    with matplotlib.rc_context():  # Optuna sets a style for good
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE | {"svg.hashsalt": name})
        before = set(plt.get_fignums())
        try:
            draw()
            canvas = plt.gcf()
            canvas.set_size_inches(width, canvas.get_size_inches()[1])
            canvas.patch.set_visible(False)
            for axes in canvas.axes:
                _restyled(axes)
            out = io.StringIO()
            matplotlib.rcParams.update(_STYLE | {"svg.hashsalt": name})
            canvas.savefig(
                out,
                format="svg",
                bbox_inches="tight",
                metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
            )
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)
    return cleaned(out.getvalue())


def _restyled(axes: Axes) -> None:
    """No title, which is above the figure, and the colours that a page can make light or
    dark.
    """
    for place in ("left", "center", "right"):
        axes.set_title("", loc=place)
    axes.patch.set_visible(False)
    for axis in (axes.xaxis, axes.yaxis):
        if (
            axis.get_scale() == "log"
        ):  # its own marks are formulas, and text is text here: a setting may have a $ in it
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="both", color=SOFT, labelcolor=INK)
    for dots in (one for one in axes.collections if isinstance(one, PathCollection)):
        dots.set_edgecolor(INK)  # or the palest are lost on paper, and the darkest on a dark page
    for text in (axes.xaxis.label, axes.yaxis.label, *axes.texts):
        text.set_color(INK)
    for spine in axes.spines.values():
        spine.set_edgecolor(SOFT)
    for line in (*axes.get_xgridlines(), *axes.get_ygridlines()):
        line.set_color(LINE)
    legend = axes.get_legend()
    if legend is not None:
        legend.set_frame_on(False)
        for text in legend.get_texts():
            text.set_color(INK)

"""Axes, marks and units that several figures have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from encore.evaluation.metric import Metric
from encore.report.drawing import LINE, MARKERS, SERIES
from encore.tables.formatting import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

__all__ = [
    "axes_with_lines",
    "colour_of",
    "marker_of",
    "metric_label",
    "metric_scale",
    "prefix_of",
    "shade",
    "top_legend",
    "whole_number_ticks",
]


def colour_of(number: int) -> str:
    """The colour of the group of this number, from 0."""
    return SERIES[number % len(SERIES)]


def marker_of(number: int) -> str:
    """The marker of the group of this number, from 0."""
    return MARKERS[number % len(MARKERS)]


def metric_scale(metric: Metric) -> float:
    """The factor from a metric's value to the number that is drawn."""
    return 100.0 if metric.form == "percent" else 1.0


def metric_label(metric: Metric) -> str:
    """The label of an axis of this metric, with its unit."""
    return f"{metric.title}, %" if metric.form == "percent" else metric.title


def prefix_of(group: str, groups: Sequence[Any] | Any) -> str:
    """The name of a group before a sentence on it; empty if it is the only one."""
    return f"{group}: " if len(groups) > 1 else ""


def top_legend(canvas: Canvas, n_groups: int) -> None:
    """A legend above the axes, if there are several groups to tell apart."""
    if n_groups > 1:
        canvas.legend(loc="outside upper center", ncols=2)


def axes_with_lines(canvas: Canvas, names: Sequence[str]) -> Axes:
    """Axes with one line for each name, the first on top."""
    axes = canvas.subplots()
    axes.grid(visible=False, axis="y")
    axes.set_yticks(
        range(len(names)), [shorten(name, 24) if "\n" not in name else name for name in names]
    )
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_color(LINE)
    return axes


def shade(axes: Axes, column: int, line: int, alpha: float, *, colour: int = 0) -> None:
    """Fill one cell of a matrix. alpha: by which a figure in it stays legible up to about .55."""
    from matplotlib.patches import Rectangle

    corner = (column - 0.48, line - 0.48)
    facecolor = colour_of(colour)
    axes.add_patch(Rectangle(corner, 0.96, 0.96, facecolor=facecolor, alpha=alpha, linewidth=0))


def whole_number_ticks(values: Sequence[int]) -> Any:
    """A locator of ticks at whole numbers only."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    distinct = sorted(set(values))
    return FixedLocator(distinct) if len(distinct) < 3 else MaxNLocator(nbins=5, integer=True)

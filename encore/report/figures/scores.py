"""Scores of one run or of several: beside baselines, and by length or overlap of the texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from encore.evaluation.estimates import Estimate
from encore.evaluation.metric import Metric
from encore.report import drawing
from encore.report.drawing import MARKERS, SERIES, SOFT
from encore.report.figures.axes import (
    axes_with_lines,
    colour_of,
    marker_of,
    metric_label,
    metric_scale,
    prefix_of,
    top_legend,
)
from encore.report.figures.figure import Figure
from encore.tables.formatting import format_estimate, format_value, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

__all__ = ["RowBin", "RowMeasure", "by_bins", "estimates"]


def estimates(
    name: str,
    metric: Metric,
    found: Mapping[str, Estimate],
    *,
    where: str,
    grouped: bool = False,
) -> Figure:
    """A metric of the model and of the baselines, each with its interval. grouped: that draws
    groups of rows.
    """
    summary = "; ".join(f"{who} {format_estimate(one, metric.form)}" for who, one in found.items())
    return Figure(
        name,
        f"{metric.title} beside two baselines, {where}",
        f"{summary}.",
        f"Dot: the score. Bar: its 95 % bootstrap interval over the "
        f"{'groups' if grouped else 'rows'}.",
        ("predictor", metric.__name__, "low", "high"),
        tuple((who, one.value, one.low, one.high) for who, one in found.items()),
        drawing.svg(name, partial(_draw_estimates, metric, found), height=0.75 + 0.36 * len(found)),
    )


def _draw_estimates(metric: Metric, found: Mapping[str, Estimate], canvas: Canvas) -> None:
    axes, scale = axes_with_lines(canvas, list(found)), metric_scale(metric)
    for line, one in enumerate(found.values()):
        is_model = line == 0
        colour, marker = (SERIES[0], MARKERS[0]) if is_model else (SOFT, MARKERS[1])
        axes.plot(
            [scale * one.low, scale * one.high],
            [line, line],
            color=colour,
            linewidth=3,
            solid_capstyle="round",
            alpha=0.55,
        )
        axes.plot(scale * one.value, line, marker, color=colour, markersize=8)
    axes.set_xlabel(metric_label(metric))


@dataclass(frozen=True)
class RowBin:
    """Rows of a similar length, or overlap, and the score on them: its interval with one run, the
    lowest and the highest seed with several.
    """

    words: str
    n_rows: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class RowMeasure:
    """The number by which rows are put into bins. title: what it is; axis: with its unit; column:
    of the CSV; about: how it is counted, for the caption.
    """

    title: str
    axis: str
    column: str
    about: str = ""


def by_bins(
    name: str,
    metric: Metric,
    groups: Mapping[str, Sequence[RowBin]],
    measure: RowMeasure,
    *,
    where: str,
    several_seeds: bool,
) -> Figure:
    """The score on rows of a similar length, or overlap."""
    summary = "; ".join(
        prefix_of(group, groups)
        + ", ".join(f"{format_value(one.value, metric.form)} at {one.words}" for one in bins)
        for group, bins in groups.items()
    )
    bars = "lowest to highest seed" if several_seeds else "95 % bootstrap interval"
    return Figure(
        name,
        f"{metric.title} by {measure.title}, {where}",
        f"By {measure.axis}: {summary}.",
        f"Mark: the score on these rows. Bar: {bars}.{measure.about and f' {measure.about}'}",
        ("group", measure.column, "rows", metric.__name__, "low", "high"),
        tuple(
            (group, one.words, one.n_rows, one.value, one.low, one.high)
            for group, bins in groups.items()
            for one in bins
        ),
        drawing.svg(
            name,
            partial(_draw_bins, metric, groups, measure.axis),
            height=2.6 if len(groups) == 1 else 3.0,
        ),
    )


def _draw_bins(
    metric: Metric, groups: Mapping[str, Sequence[RowBin]], axis: str, canvas: Canvas
) -> None:
    scale, first = metric_scale(metric), next(iter(groups.values()))
    axes = canvas.subplots()
    axes.grid(visible=False, axis="x")
    for number, (group, bins) in enumerate(groups.items()):
        x = np.arange(len(bins)) + 0.14 * (number - (len(groups) - 1) / 2)
        value, low, high = (
            scale * np.array(ends)
            for ends in zip(*((one.value, one.low, one.high) for one in bins), strict=True)
        )
        colour = colour_of(number)
        axes.vlines(x, low, high, color=colour, linewidth=3, alpha=0.4)
        axes.plot(
            x,
            value,
            color=colour,
            marker=marker_of(number),
            markersize=6,
            linewidth=1,
            label=shorten(group, 22),
        )
    axes.set_xticks(range(len(first)), [f"{one.words}\n({one.n_rows:,})" for one in first])
    axes.set_xlim(-0.5, len(first) - 0.5)
    axes.set_xlabel(f"{axis} (rows)")
    axes.set_ylabel(metric_label(metric))
    top_legend(canvas, len(groups))

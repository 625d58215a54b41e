"""Calibration of a model's probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from encore.evaluation.calibration import Reliability
from encore.report import drawing
from encore.report.drawing import SOFT
from encore.report.figures.axes import colour_of, marker_of
from encore.report.figures.figure import Figure
from encore.tables.formatting import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

__all__ = ["reliability_diagram"]


def reliability_diagram(
    name: str, groups: Mapping[str, Reliability], *, what: str, where: str
) -> Figure:
    """How often a claim of a given confidence comes true. what: which claims, in words."""
    caption = (
        f"{what} On the dashed line a claim of 80 % comes true in 80 of 100 rows; below it the "
        f"model is too sure of itself. Size of a mark, and bars: how many "
        "claims. ECE: expected calibration error, ten bins of equal width; by chance: what a "
        "perfectly calibrated model would show on so many rows."
    )
    return Figure(
        name,
        f"How far its probabilities can be trusted, {where}",
        f"{_description(groups)}.",
        caption,
        ("group", "above", "up_to", "claims", "claimed", "came_true"),
        tuple(
            (
                group,
                float(one.edges[at]),
                float(one.edges[at + 1]),
                int(one.n[at]),
                float(one.claimed[at]),
                float(one.came_true[at]),
            )
            for group, one in groups.items()
            for at in range(len(one.n))
        ),
        drawing.svg(
            name, partial(_draw_reliability, groups), height=3.3 if len(groups) == 1 else 3.6
        ),
    )


def _description(groups: Mapping[str, Reliability]) -> str:
    if len(groups) == 1:
        return _verdict(next(iter(groups.values())))
    errors = ", ".join(
        f"{group} {100 * one.ece:.1f} (by chance {100 * one.by_chance[0]:.1f})"
        for group, one in groups.items()
    )
    return f"ECE {errors} points"


def _verdict(one: Reliability) -> str:
    """The calibration error in words, beside what chance alone would make of a perfect model."""
    mean, high = one.by_chance
    found = f"ECE {100 * one.ece:.1f} points, by chance {100 * mean:.1f}"
    if one.ece <= high:
        return f"{found}: no evidence of miscalibration"
    return (
        f"{found}: {'too sure of itself' if one.excess > 0 else 'not sure enough'} by "
        f"{100 * abs(one.excess):.1f} points on average"
    )


def _draw_reliability(groups: Mapping[str, Reliability], canvas: Canvas) -> None:
    axes, below = canvas.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    axes.plot([0, 100], [0, 100], color=SOFT, linewidth=1, linestyle=(0, (4, 2)))
    for number, (group, one) in enumerate(groups.items()):
        _draw_group(axes, number, group, one)
        middles = 50 * (one.edges[:-1] + one.edges[1:])
        width = 9.0 / len(groups)
        below.bar(
            middles - 4.5 + width * (number + 0.5),
            100 * one.n / one.n.sum(),
            width * 0.92,
            color=colour_of(number),
        )
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 104)
    axes.set_ylabel("came true, %")
    below.set_ylabel("share, %")
    below.set_xlabel("what the model claims, %")
    below.grid(visible=False, axis="x")
    if len(groups) > 1:
        canvas.legend(
            *axes.get_legend_handles_labels(),
            loc="outside upper center",
            ncols=2,
            markerscale=0.7,
        )


def _draw_group(axes: Axes, number: int, group: str, one: Reliability) -> None:
    filled = one.n > 0
    x, y = 100 * one.claimed[filled], 100 * one.came_true[filled]
    axes.plot(x, y, color=colour_of(number), linewidth=1.2, alpha=0.7)
    axes.scatter(
        x,
        y,
        12 + 110 * one.n[filled] / one.n.max(),
        color=colour_of(number),
        marker=marker_of(number),
        label=shorten(group, 22),
    )

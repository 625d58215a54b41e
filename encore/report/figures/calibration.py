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
    """Accuracy by confidence. what: which predictions are meant, in a sentence."""
    caption = (
        f"{what} On the dashed line, 80 of 100 predictions with a probability of 80 % are correct; "
        "below it the model is overconfident. Size of a mark, and bars: number of predictions. "
        "ECE: expected calibration error, ten bins of equal width; by chance: the ECE of a "
        "perfectly calibrated model on as many rows."
    )
    return Figure(
        name,
        f"Calibration of the probabilities, {where}",
        f"{_description(groups)}.",
        caption,
        ("group", "above", "up_to", "predictions", "confidence", "accuracy"),
        tuple(
            (
                group,
                float(one.edges[at]),
                float(one.edges[at + 1]),
                int(one.n[at]),
                float(one.confidence[at]),
                float(one.accuracy[at]),
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
        f"{group} {100 * one.ece:.1f} (by chance {100 * one.expected_ece[0]:.1f})"
        for group, one in groups.items()
    )
    return f"ECE {errors} points"


def _verdict(one: Reliability) -> str:
    """The calibration error in words, beside that of a perfectly calibrated model."""
    mean, high = one.expected_ece
    found = f"ECE {100 * one.ece:.1f} points, by chance {100 * mean:.1f}"
    if one.ece <= high:
        return f"{found}: no evidence of miscalibration"
    return (
        f"{found}: {'overconfident' if one.excess > 0 else 'underconfident'} by "
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
    axes.set_ylabel("correct, %")
    below.set_ylabel("share, %")
    below.set_xlabel("predicted probability, %")
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
    x, y = 100 * one.confidence[filled], 100 * one.accuracy[filled]
    axes.plot(x, y, color=colour_of(number), linewidth=1.2, alpha=0.7)
    axes.scatter(
        x,
        y,
        12 + 110 * one.n[filled] / one.n.max(),
        color=colour_of(number),
        marker=marker_of(number),
        label=shorten(group, 22),
    )

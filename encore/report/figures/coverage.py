"""Accuracy by coverage, where a model may abstain."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from encore.report import drawing
from encore.report.drawing import SOFT
from encore.report.figures.axes import colour_of, top_legend
from encore.report.figures.figure import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

__all__ = ["coverage_curve"]

_SHOWN = (50, 80, 90, 100)  # per cent of the rows, in the description
Curve = tuple[np.ndarray, np.ndarray, np.ndarray]


def coverage_curve(
    name: str, groups: Mapping[str, Curve], *, where: str, kept: float | None = None
) -> Figure:
    """The accuracy of the surest rows by their share of all. groups: what
    `evaluation.decision_figures.accuracy_by_coverage` returns, for each way of being sure. kept:
    the share of the rows that the run's decision covers, None where it covers all.
    """
    caption = (
        "From the right to the left, the rows that the model is least sure of get no label. The "
        "higher the line rises, the better the confidence tells right from wrong. On the left few "
        "rows are left, and the line is chance."
    )
    return Figure(
        name,
        f"Accuracy by coverage, {where}",
        f"{_description(groups)}.",
        caption,
        ("group", "coverage", "accuracy", "confidence"),
        tuple(
            (group, float(coverage), float(accuracy), float(confidence))
            for group, curve in groups.items()
            for coverage, accuracy, confidence in zip(*curve, strict=True)
        ),
        drawing.svg(name, partial(_draw, groups, kept), height=3.0),
    )


def _description(groups: Mapping[str, Curve]) -> str:
    parts = []
    for group, (coverage, accuracy, _) in groups.items():
        points = [
            f"{100 * accuracy[at]:.1f} % of the surest {share} %"
            for share in _SHOWN
            for at in [min(int(np.searchsorted(coverage, share / 100)), len(coverage) - 1)]
        ]
        parts.append(f"{group}: right are {', '.join(points)}")
    return "; ".join(parts)


def _draw(groups: Mapping[str, Curve], kept: float | None, canvas: Canvas) -> None:
    axes = canvas.subplots()
    for number, (group, (coverage, accuracy, _)) in enumerate(groups.items()):
        axes.plot(
            100 * coverage, 100 * accuracy, color=colour_of(number), linewidth=1.4, label=group
        )
    if kept is not None:
        axes.axvline(100 * kept, color=SOFT, linewidth=1, linestyle=(0, (4, 2)))
    axes.set_xlim(0, 100)
    axes.set_xlabel("rows with a label, %")
    axes.set_ylabel("right of these, %")
    top_legend(canvas, len(groups))

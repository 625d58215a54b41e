"""Score against what it costs: parameters, and minutes of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from encore.evaluation.metric import Metric
from encore.evaluation.seed_means import mean_interval
from encore.report import drawing
from encore.report.figures.axes import colour_of, marker_of, metric_label, metric_scale
from encore.report.figures.figure import Figure
from encore.tables.formatting import format_duration, format_value, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

__all__ = ["VariantCost", "score_by_cost"]

_Ends = tuple[float | None, float | None]
_COLUMNS = ("low", "high", "parameters", "minutes", "shortest", "longest")
_CAPTION = (
    "Mark: mean over seeds. Bar up and down: 95 % interval of that mean for new seeds, from three "
    "seeds on. Line across: shortest to longest run. Minutes are of whole runs, without those that "
    "they start from; runs side by side slow each other down."
)
_SAME_SIZE = " All variants have the same number of parameters."


@dataclass(frozen=True)
class VariantCost:
    """A variant's scores, one for each of its seeds, and the cost of its runs. parameters: of one
    model, None where they are not known. seconds: one for each run.
    """

    variant: str
    values: Sequence[float]
    parameters: int | None
    seconds: Sequence[float]

    @property
    def mean(self) -> float:
        """The mean score."""
        return float(np.mean(self.values))

    @property
    def minutes(self) -> float:
        """Minutes of a run, the mean over its seeds."""
        return float(np.mean(self.seconds)) / 60


def score_by_cost(
    name: str, metric: Metric, found: Sequence[VariantCost], *, where: str
) -> Figure | None:
    """A point for each variant, against its parameters where variants differ in them, and against
    the minutes of a run; None with less than two variants.
    """
    if len(found) < 2:
        return None
    sizes = [one.parameters for one in found]
    by_size = None not in sizes and len(set(sizes)) > 1
    ends = [_ends(one, metric) for one in found]
    summary = "; ".join(_in_words(one, metric) for one in found)
    return Figure(
        name,
        f"{metric.title} against {'parameters and ' if by_size else ''}training time, {where}",
        f"{summary}.",
        _CAPTION + (_SAME_SIZE if len(set(sizes)) == 1 and sizes[0] is not None else ""),
        ("variant", "seeds", metric.__name__, *_COLUMNS),
        tuple(
            (
                one.variant,
                len(one.values),
                one.mean,
                low,
                high,
                one.parameters,
                one.minutes,
                min(one.seconds) / 60,
                max(one.seconds) / 60,
            )
            for one, (low, high) in zip(found, ends, strict=True)
        ),
        drawing.svg(
            name,
            partial(_draw, metric, found, ends, by_size),
            height=2.7 + 0.17 * -(-len(found) // 2),
        ),
    )


def _ends(one: VariantCost, metric: Metric) -> _Ends:
    """The interval of the mean score for new seeds; without ends below three seeds."""
    found = mean_interval(one.values, metric.bounds)
    return (None, None) if found is None else (found.low, found.high)


def _in_words(one: VariantCost, metric: Metric) -> str:
    size = "" if one.parameters is None else f", {one.parameters:,} parameters"
    score = format_value(one.mean, metric.form)
    return f"{one.variant} {score}{size}, {format_duration(60 * one.minutes)} a run"


def _draw(
    metric: Metric,
    found: Sequence[VariantCost],
    ends: Sequence[_Ends],
    by_size: bool,
    canvas: Canvas,
) -> None:
    panels = canvas.subplots(1, 2 if by_size else 1, sharey=True, squeeze=False)[0]
    for axes in panels[:-1]:
        _draw_points(axes, metric, found, ends, [(one.parameters or 0) / 1e6 for one in found])
        axes.set_xlabel("million parameters")
    axes, minutes = panels[-1], [one.minutes for one in found]
    for number, one in enumerate(found):
        across = [min(one.seconds) / 60, max(one.seconds) / 60]
        score = metric_scale(metric) * one.mean
        axes.plot(across, [score, score], color=colour_of(number), linewidth=1.2)
    _draw_points(axes, metric, found, ends, minutes)
    axes.set_xlabel("minutes of a run")
    canvas.supylabel(metric_label(metric), fontsize=10)
    handles, labels = axes.get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside upper center", ncols=2)


def _draw_points(
    axes: Axes,
    metric: Metric,
    found: Sequence[VariantCost],
    ends: Sequence[_Ends],
    places: Sequence[float],
) -> None:
    """One mark for each variant, at its place on the axis across."""
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    scale = metric_scale(metric)
    for number, (one, at, (low, high)) in enumerate(zip(found, places, ends, strict=True)):
        colour = colour_of(number)
        if low is not None and high is not None:
            axes.plot([at, at], [scale * low, scale * high], color=colour, linewidth=3, alpha=0.4)
        axes.plot(
            at,
            scale * one.mean,
            marker_of(number),
            color=colour,
            markersize=6.5,
            label=shorten(one.variant, 22),
        )
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    axes.margins(x=0.12)

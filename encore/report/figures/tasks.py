"""All tasks of a comparison in one picture: scores with error bars, and gains by training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from encore import catalogue
from encore.evaluation.comparison_record import MetricResult, VariantResult
from encore.evaluation.task_groups import TaskGroup, gain
from encore.report import drawing
from encore.report.drawing import INK
from encore.report.figures.axes import colour_of, marker_of, top_legend
from encore.report.figures.figure import Figure
from encore.tables.formatting import format_difference, format_mean_sd, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

__all__ = ["gain_by_rows", "scores_of_tasks"]

_ACROSS = 3  # panels side by side


def scores_of_tasks(name: str, group: TaskGroup, variants: Sequence[str]) -> Figure:
    """Mean and standard deviation over seeds of every variant on every task: a panel for each task,
    all with an axis of the same length, as MaxPoolBERT's Figure 3 has them.
    """
    shown = {
        task: [row for one in variants if (row := metric.variant(one)) and row.mean is not None]
        for task, metric in group.tasks.items()
    }
    summary = "; ".join(
        f"{task} {', '.join(_in_words(row, group.tasks[task]) for row in rows)}"
        for task, rows in shown.items()
    )
    n_lines = -(-len(shown) // _ACROSS)
    return Figure(
        name,
        f"All tasks{f', {group.label}' if group.label else ''}",
        f"{summary}.",
        "Mark: mean over seeds, in points (× 100). Bar: ± one standard deviation over "
        "seeds. The axes begin at different scores and are equally long.",
        ("task", "metric", "variant", "seeds", "mean", "sd"),
        tuple(
            (task, group.tasks[task].metric, row.variant, len(row.seeds), row.mean, row.sd)
            for task, rows in shown.items()
            for row in rows
        ),
        drawing.svg(
            name, partial(_draw_scores, group, shown, variants), height=0.6 + 1.6 * n_lines
        ),
    )


def _in_words(row: VariantResult, metric: MetricResult) -> str:
    form = catalogue.find("metrics", metric.metric).form
    return f"{row.variant} {format_mean_sd(row.mean, row.sd, form)}"


def _draw_scores(
    group: TaskGroup,
    shown: Mapping[str, Sequence[VariantResult]],
    variants: Sequence[str],
    canvas: Canvas,
) -> None:
    n_lines = -(-len(shown) // _ACROSS)
    panels = canvas.subplots(n_lines, _ACROSS, squeeze=False).reshape(-1)
    ends = {
        task: [100 * ((row.mean or 0) + side * (row.sd or 0)) for row in rows for side in (-1, 1)]
        for task, rows in shown.items()
    }
    span = 1.15 * max([max(found) - min(found) for found in ends.values() if found], default=1) or 1
    for axes, (task, rows) in zip(panels, shown.items(), strict=False):
        _draw_task(axes, rows, variants)
        metric = catalogue.find("metrics", group.tasks[task].metric)
        axes.set_title(f"{shorten(task, 12)}, {metric.title}", fontsize=8.5, color=INK)
        if ends[task]:
            middle = (max(ends[task]) + min(ends[task])) / 2
            axes.set_ylim(middle - span / 2, middle + span / 2)
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside upper center", ncols=2)


def _draw_task(axes: Axes, rows: Sequence[VariantResult], variants: Sequence[str]) -> None:
    axes.grid(visible=False, axis="x")
    for row in rows:
        number = variants.index(row.variant)
        mean = 100 * (row.mean or 0)
        axes.errorbar(
            number,
            mean,
            yerr=None if row.sd is None else 100 * row.sd,
            color=colour_of(number),
            marker=marker_of(number),
            linestyle="",
            markersize=5,
            capsize=2.5,
            label=shorten(row.variant, 22),
        )
    axes.set_xlim(-0.6, len(variants) - 0.4)
    axes.set_xticks([])
    axes.tick_params(axis="y", labelsize=8)


@dataclass(frozen=True)
class _Gain:
    """The gain of a variant on a task; low, high: its interval for new examples too."""

    task: str
    n_rows: int
    variant: str
    value: float
    low: float | None
    high: float | None


def gain_by_rows(
    name: str, group: TaskGroup, train_rows: Mapping[str, int], variants: Sequence[str]
) -> Figure | None:
    """Each variant's gain over the reference against the training rows of the task; None where
    there is none. train_rows: task → rows.
    """
    found = [
        one
        for task in group.tasks
        if task in train_rows
        for variant in variants
        if (one := _gain(group, task, variant, train_rows[task])) is not None
    ]
    if not found:
        return None
    summary = "; ".join(
        f"{one.variant} on {one.task} ({one.n_rows:,} rows) "
        f"{format_difference(one.value, 'percent')}"
        for one in found
    )
    return Figure(
        name,
        f"Gain by number of training rows{f', {group.label}' if group.label else ''}",
        f"{summary}.",
        "Mark: difference from the reference in points (× 100), above 0 where the "
        "variant is better. Bar: 95 % interval for new examples too, not adjusted. Tasks of the "
        "same size are drawn side by side.",
        ("task", "train_rows", "variant", "gain", "low_new_examples", "high_new_examples"),
        tuple((one.task, one.n_rows, one.variant, one.value, one.low, one.high) for one in found),
        drawing.svg(name, partial(_draw_gains, found, variants), height=3.2),
    )


def _gain(group: TaskGroup, task: str, variant: str, n_rows: int) -> _Gain | None:
    against, metric = group.contrast(task, variant), group.tasks[task].metric
    if against is None or against.delta is None:
        return None
    claim = against.new_examples
    ends = [None if claim is None else claim.low, None if claim is None else claim.high]
    low, high = ends if gain(metric, 1) > 0 else [None if e is None else -e for e in ends[::-1]]
    return _Gain(task, n_rows, variant, gain(metric, against.delta), low, high)


def _draw_gains(found: Sequence[_Gain], variants: Sequence[str], canvas: Canvas) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    axes = canvas.subplots()
    axes.axhline(0, color=INK, linewidth=1)
    names = list(dict.fromkeys(one.variant for one in found))
    sizes = [one.n_rows for one in found if one.variant == names[0]]
    for number, variant in enumerate(names):
        of = [one for one in found if one.variant == variant]
        for at, one in enumerate(of):
            # Side by side on the logarithmic axis, tasks of one size too.
            beside = sum(other.n_rows == one.n_rows for other in of[:at])
            x = one.n_rows * 1.03**number * 1.2**beside
            label = shorten(variant, 22) if at == 0 else None
            colour = colour_of(variants.index(variant))
            marker = marker_of(variants.index(variant))
            axes.plot(x, 100 * one.value, marker, color=colour, label=label)
            if one.low is not None and one.high is not None:
                axes.plot([x, x], [100 * one.low, 100 * one.high], color=colour, alpha=0.4)
            if number == 0:
                axes.annotate(
                    shorten(one.task, 8),
                    (x, 0),
                    xycoords=("data", "axes fraction"),
                    xytext=(0, 3),
                    textcoords="offset points",
                    fontsize=7.5,
                    rotation=90,
                    ha="right",
                )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if len(set(sizes)) == 1:
        axes.xaxis.set_major_locator(FixedLocator(sizes[:1]))
        axes.set_xlim(sizes[0] / 1.5, sizes[0] * float(np.power(1.2, len(sizes))) * 1.5)
    axes.set_xlabel("training rows")
    axes.set_ylabel("gain, points")
    top_legend(canvas, len(names))

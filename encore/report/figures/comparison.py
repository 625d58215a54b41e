"""Variants of a comparison: their differences, every seed, and scores by training rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from encore.evaluation.comparison_record import VariantResult
from encore.evaluation.metric import Metric
from encore.evaluation.seed_means import mean_interval
from encore.report import drawing
from encore.report.drawing import INK, MARKERS, PAPER, SERIES, SOFT
from encore.report.figures.axes import (
    axes_with_lines,
    colour_of,
    marker_of,
    metric_label,
    metric_scale,
    top_legend,
)
from encore.report.figures.figure import Figure
from encore.tables.formatting import format_difference, format_value, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from matplotlib.lines import Line2D

__all__ = ["forest", "seeds", "sizes"]

# -------------------------------------------------------------------- differences to the reference


@dataclass(frozen=True)
class _Interval:
    """One kind of interval of a difference: its key in results.json, and how it is drawn."""

    key: str
    label: str
    colour: str
    width: float
    offset: float


_INTERVALS = (
    _Interval("this_dev_set", "this dev set", SERIES[0], 3, -0.14),
    _Interval("new_examples", "new examples too", SERIES[1], 1.6, 0.14),
)


@dataclass(frozen=True)
class _Difference:
    """A variant's difference to the reference. ends: (low, high) for each of _INTERVALS."""

    variant: str
    delta: float
    ends: tuple[tuple[float | None, float | None], ...]
    verdict: str


def _differences(variants: Sequence[VariantResult]) -> Iterator[_Difference]:
    for row in variants:
        contrast = row.contrast
        if contrast is None or contrast.delta is None:
            continue
        claims = (contrast.this_dev_set, contrast.new_examples)  # in the order of _INTERVALS
        ends = tuple((claim.low, claim.high) if claim else (None, None) for claim in claims)
        yield _Difference(row.variant, contrast.delta, ends, contrast.verdict)


def forest(
    name: str, metric: Metric, variants: Sequence[VariantResult], reference: str, *, where: str
) -> Figure | None:
    """Every variant's difference to the reference with both intervals; None where there is no
    difference to show.
    """
    shown = list(_differences(variants))
    if not shown:
        return None
    summary = "; ".join(
        f"{one.variant} {format_difference(one.delta, metric.form)}, {one.verdict}" for one in shown
    )
    caption = (
        f"Dot: mean difference to {reference} on the same "
        f"seeds{'' if metric.higher_is_better else '; lower is better'}. Bars: 95 % intervals, "
        f"not adjusted: "
        "for this dev set (new seeds, these rows), and for new examples too (new seeds, new "
        "rows). Verdicts are adjusted for the number of variants (Holm)."
    )
    columns = [f"{end}_{interval.key}" for interval in _INTERVALS for end in ("low", "high")]
    return Figure(
        name,
        f"Difference to {reference} in {metric.title}, {where}",
        f"{summary}.",
        caption,
        ("variant", "delta", *columns, "verdict"),
        tuple(
            (one.variant, one.delta, *(end for ends in one.ends for end in ends), one.verdict)
            for one in shown
        ),
        drawing.svg(name, partial(_draw_forest, metric, shown), height=1.05 + 0.5 * len(shown)),
    )


def _draw_forest(metric: Metric, shown: Sequence[_Difference], canvas: Canvas) -> None:
    from matplotlib.lines import Line2D

    names = [
        f"{shorten(one.variant, 20)}\n{format_difference(one.delta, metric.form)}" for one in shown
    ]
    axes, scale = axes_with_lines(canvas, names), metric_scale(metric)
    axes.axvline(0, color=INK, linewidth=1)
    for line, one in enumerate(shown):
        for interval, (low, high) in zip(_INTERVALS, one.ends, strict=True):
            if low is not None and high is not None:
                axes.plot(
                    [scale * low, scale * high],
                    [line + interval.offset] * 2,
                    color=interval.colour,
                    linewidth=interval.width,
                    marker="|",
                    markersize=7,
                    markeredgewidth=1.6,
                )
        axes.plot(scale * one.delta, line, MARKERS[0], color=INK, markersize=6)
    axes.set_xlabel(f"Δ {metric.title}{', points' if metric.form == 'percent' else ''}")
    handles = [
        Line2D([], [], color=interval.colour, linewidth=interval.width, label=interval.label)
        for interval in _INTERVALS
    ]
    canvas.legend(handles=handles, loc="outside upper center", ncols=2)


# --------------------------------------------------------------------------------------- every seed


@dataclass(frozen=True)
class _Seeds:
    """The runs of a variant. collapsed: seed → why it collapsed. expected: the source's figure."""

    variant: str
    values: Mapping[int, float]
    mean: float
    collapsed: Mapping[int, str]
    expected: float | None


def _seeds(variants: Sequence[VariantResult]) -> Iterator[_Seeds]:
    for row in variants:
        if row.values and row.mean is not None:
            yield _Seeds(
                row.variant,
                dict(zip(row.seeds, row.values, strict=True)),
                row.mean,
                row.collapsed,
                row.expected,
            )


def seeds(
    name: str, metric: Metric, variants: Sequence[VariantResult], *, where: str
) -> Figure | None:
    """Every run of every variant; None where there is none. variants: as in results.json."""
    shown = list(_seeds(variants))
    if not shown:
        return None
    caption = "A mark per run."
    if any(one.collapsed for one in shown):
        caption += " Collapsed: the run learnt nothing; it counts all the same."
    if any(one.expected is not None for one in shown):
        caption += " Diamond: what the source reports."
    return Figure(
        name,
        f"{metric.title} of every run, {where}",
        f"{'; '.join(_range(metric, one) for one in shown)}.",
        caption,
        ("variant", "seed", metric.__name__, "collapsed"),
        tuple(
            (one.variant, seed, value, one.collapsed.get(seed, ""))
            for one in shown
            for seed, value in one.values.items()
        ),
        drawing.svg(name, partial(_draw_seeds, metric, shown), height=1.05 + 0.42 * len(shown)),
    )


def _range(metric: Metric, one: _Seeds) -> str:
    """A variant's mean, and its lowest and highest seed, in words."""
    n = len(one.values)
    mean, low, high = (
        format_value(value, metric.form)
        for value in (one.mean, min(one.values.values()), max(one.values.values()))
    )
    found = f"{one.variant} mean {mean}, {n} seed{'s' if n > 1 else ''} from {low} to {high}"
    return found + (f", {len(one.collapsed)} collapsed" if one.collapsed else "")


def _draw_seeds(metric: Metric, shown: Sequence[_Seeds], canvas: Canvas) -> None:
    axes = axes_with_lines(canvas, [shorten(one.variant, 20) for one in shown])
    for line, one in enumerate(shown):
        _draw_variant(axes, line, one, metric_scale(metric))
    axes.set_xlabel(metric_label(metric))
    canvas.legend(
        handles=_seed_marks(shown),
        loc="outside upper center",
        ncols=4,
        handletextpad=0.2,
        columnspacing=1.2,
    )


def _draw_variant(axes: Axes, line: int, one: _Seeds, scale: float) -> None:
    n, colour = len(one.values), colour_of(line)
    offsets = np.linspace(-0.16, 0.16, n) if n > 1 else [0.0]
    axes.plot([scale * one.mean] * 2, [line - 0.3, line + 0.3], color=INK, linewidth=2)
    for offset, (seed, value) in zip(offsets, one.values.items(), strict=True):
        collapsed = seed in one.collapsed
        axes.plot(
            scale * value,
            line + offset,
            "X" if collapsed else "o",
            color=PAPER if collapsed else colour,
            markersize=8 if collapsed else 6,
            markeredgecolor=INK if collapsed else colour,
            markeredgewidth=1.2 if collapsed else 0,
        )
    if one.expected is not None:
        axes.plot(
            scale * one.expected,
            line,
            "D",
            color="none",
            markeredgecolor=SOFT,
            markeredgewidth=1.4,
            markersize=8,
        )


def _seed_marks(shown: Sequence[_Seeds]) -> list[Line2D]:
    """The entries of the legend."""
    from matplotlib.lines import Line2D

    styles: list[dict[str, Any]] = [
        {"label": "a seed", "marker": "o", "color": SERIES[0]},
        {"label": "mean", "marker": "|", "color": INK, "markersize": 10, "markeredgewidth": 2},
    ]
    if any(one.collapsed for one in shown):
        styles.append(
            {
                "label": "collapsed",
                "marker": "X",
                "color": PAPER,
                "markeredgecolor": INK,
                "markersize": 8,
            }
        )
    if any(one.expected is not None for one in shown):
        styles.append({"label": "source", "marker": "D", "color": "none", "markeredgecolor": SOFT})
    return [Line2D([], [], linestyle="", **style) for style in styles]


# ------------------------------------------------------------------------- size of the training set


@dataclass(frozen=True)
class _Size:
    """A variant's scores with so many training rows: mean, and its interval from three seeds on."""

    n_rows: int
    n_seeds: int
    mean: float
    low: float | None
    high: float | None


def _size(n_rows: int, values: Sequence[float], metric: Metric) -> _Size:
    found = mean_interval(values, metric.bounds)
    low, high = (None, None) if found is None else (found.low, found.high)
    return _Size(n_rows, len(values), float(np.mean(values)), low, high)


def sizes(
    name: str, metric: Metric, groups: Mapping[str, Mapping[int, Sequence[float]]], *, where: str
) -> Figure:
    """Score against the number of training rows. groups: variant → rows → one value per seed."""
    curves = {
        variant: [_size(n_rows, values, metric) for n_rows, values in sorted(found.items())]
        for variant, found in groups.items()
    }
    summary = "; ".join(
        f"{variant} "
        + ", ".join(f"{format_value(one.mean, metric.form)} at {one.n_rows:,}" for one in curve)
        for variant, curve in curves.items()
    )
    return Figure(
        name,
        f"{metric.title} by number of training rows, {where}",
        f"{summary}.",
        "Mark: mean over seeds. Bar: 95 % interval of the mean for new seeds, from three seeds on.",
        ("variant", "train_rows", "seeds", "mean", "low", "high"),
        tuple(
            (variant, one.n_rows, one.n_seeds, one.mean, one.low, one.high)
            for variant, curve in curves.items()
            for one in curve
        ),
        drawing.svg(name, partial(_draw_sizes, metric, curves), height=3.0),
    )


def _draw_sizes(metric: Metric, curves: Mapping[str, Sequence[_Size]], canvas: Canvas) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes, scale = canvas.subplots(), metric_scale(metric)
    for number, (variant, curve) in enumerate(curves.items()):
        colour = colour_of(number)
        x = [one.n_rows * 1.02**number for one in curve]  # side by side on the logarithmic axis
        axes.plot(
            x,
            [scale * one.mean for one in curve],
            color=colour,
            marker=marker_of(number),
            markersize=6,
            label=shorten(variant, 22),
        )
        for at, one in zip(x, curve, strict=True):
            if one.low is not None and one.high is not None:
                ends = [scale * one.low, scale * one.high]
                axes.plot([at, at], ends, color=colour, linewidth=3, alpha=0.35)
    counts = sorted({one.n_rows for curve in curves.values() for one in curve})
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(counts))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("training rows")
    axes.set_ylabel(metric_label(metric))
    top_legend(canvas, len(curves))

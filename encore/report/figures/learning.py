"""Learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from encore.evaluation.metric import Metric
from encore.report import drawing
from encore.report.drawing import INK, MARKERS, SERIES, SOFT
from encore.report.figures.axes import metric_label, metric_scale, prefix_of, whole_number_ticks
from encore.report.figures.figure import Figure
from encore.tables.formatting import format_value, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

__all__ = ["LearningCurvePoint", "learning"]

_MISSING = (None, None, None)
_COLUMNS = (
    "variant",
    "epoch",
    "seeds",
    "train",
    "train_lowest",
    "train_highest",
    "dev",
    "dev_lowest",
    "dev_highest",
)


@dataclass(frozen=True)
class LearningCurvePoint:
    """A score after one epoch, over the seeds that got so far: (mean, lowest, highest), None where
    it was not measured.
    """

    epoch: int
    n_seeds: int
    train: tuple[float, float, float] | None
    dev: tuple[float, float, float] | None


def learning(
    name: str,
    metric: Metric,
    curves: Mapping[str, Sequence[LearningCurvePoint]],
    *,
    where: str,
    kept: int | None = None,
    eval_mode: bool = False,
) -> Figure:
    """Score by epoch on the training rows and on the dev rows, one panel for each variant. kept:
    the epoch whose figures count. eval_mode: the training rows were scored without dropout.
    """
    summary = "; ".join(
        f"{prefix_of(variant, curves)}{_ends(metric, 'train', [one.train for one in found])}, "
        f"{_ends(metric, 'dev', [one.dev for one in found])} after epoch {found[-1].epoch}"
        for variant, found in curves.items()
        if found
    )
    n_columns = 1 if len(curves) == 1 else 2
    n_lines = -(-len(curves) // n_columns)
    return Figure(
        name,
        f"{metric.title} by epoch, {where}",
        f"{summary}.",
        _caption(curves, kept, eval_mode=eval_mode),
        _COLUMNS,
        tuple(
            (variant, one.epoch, one.n_seeds, *(one.train or _MISSING), *(one.dev or _MISSING))
            for variant, found in curves.items()
            for one in found
        ),
        drawing.svg(
            name,
            partial(_draw_panels, metric, curves, (n_lines, n_columns), kept),
            height=0.9 + (1.9 if n_lines == 1 else 1.5 * n_lines),
        ),
    )


def _ends(metric: Metric, what: str, scores: Sequence[tuple[float, float, float] | None]) -> str:
    """The first and the last mean of a curve, in words."""
    means = [format_value(score[0], metric.form) for score in scores if score is not None]
    if not means:
        return f"{what} not measured"
    return f"{what} {' → '.join(dict.fromkeys([means[0], means[-1]]))}"


def _caption(
    curves: Mapping[str, Sequence[LearningCurvePoint]], kept: int | None, *, eval_mode: bool
) -> str:
    several_seeds = any(one.n_seeds > 1 for found in curves.values() for one in found)
    on_train = "in eval mode" if eval_mode else "those of the training steps, with dropout"
    caption = (
        "Line: mean over seeds. Band: lowest to highest seed."
        if several_seeds
        else f"Scores on training rows are {on_train}."
    )
    return caption + ("" if kept is None else f" Dotted: epoch {kept}, whose scores are reported.")


def _draw_panels(
    metric: Metric,
    curves: Mapping[str, Sequence[LearningCurvePoint]],
    shape: tuple[int, int],
    kept: int | None,
    canvas: Canvas,
) -> None:
    panels = canvas.subplots(*shape, sharex=True, sharey=True, squeeze=False).reshape(-1)
    for axes, (variant, found) in zip(panels, curves.items(), strict=False):
        _draw_panel(axes, found, metric_scale(metric), kept)
        axes.set_title(shorten(variant, 22) if len(curves) > 1 else "", fontsize=10, color=INK)
    for axes in panels[len(curves) :]:
        axes.set_visible(False)
    canvas.supxlabel("epoch", fontsize=10)
    canvas.supylabel(metric_label(metric), fontsize=10)
    handles, labels = panels[0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside upper center", ncols=2)


def _draw_panel(
    axes: Axes, found: Sequence[LearningCurvePoint], scale: float, kept: int | None
) -> None:
    for label, scores, style in (
        (
            "train",
            [one.train for one in found],
            {"color": SOFT, "linestyle": (0, (4, 2)), "marker": MARKERS[1]},
        ),
        (
            "dev",
            [one.dev for one in found],
            {"color": SERIES[0], "linestyle": "-", "marker": MARKERS[0]},
        ),
    ):
        points = [
            (one.epoch, *(scale * end for end in score))
            for one, score in zip(found, scores, strict=True)
            if score is not None
        ]
        if not points:
            continue
        epochs, mean, low, high = zip(*points, strict=True)
        colour = style["color"]
        if len(epochs) > 1:
            axes.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
        else:
            axes.vlines(epochs, low, high, color=colour, linewidth=3, alpha=0.4)
        axes.plot(epochs, mean, markersize=4.5 if len(epochs) < 30 else 0, label=label, **style)
    if kept is not None:
        axes.axvline(kept, color=SOFT, linewidth=0.8, linestyle=(0, (1, 2)))
    axes.xaxis.set_major_locator(whole_number_ticks([one.epoch for one in found]))

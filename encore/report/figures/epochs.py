"""Loss and score by epoch of all tasks in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from encore.evaluation.metric import Metric
from encore.report import drawing
from encore.report.drawing import INK, SOFT
from encore.report.figures.axes import (
    colour_of,
    marker_of,
    metric_label,
    metric_scale,
    prefix_of,
    whole_number_ticks,
)
from encore.report.figures.figure import Figure
from encore.report.figures.learning import LearningCurvePoint
from encore.tables.formatting import format_value, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

__all__ = ["TaskCurves", "epochs_of_tasks"]

_Curve = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class TaskCurves:
    """A task's loss and score by epoch. losses, scores: variant → its epochs. loss: what the loss
    on the dev rows is. metric: of the scores. kept: the epoch whose scores are reported, if one is.
    """

    loss: str
    losses: Mapping[str, Sequence[LearningCurvePoint]]
    metric: Metric
    scores: Mapping[str, Sequence[LearningCurvePoint]]
    kept: int | None = None


def epochs_of_tasks(
    name: str, tasks: Mapping[str, TaskCurves], *, where: str = ""
) -> Figure | None:
    """A line of two panels for each task: the loss, and the score on the dev rows; None where no
    task has two epochs.
    """
    epochs = {one.epoch for found in tasks.values() for of in found.scores.values() for one in of}
    if len(epochs) < 2:
        return None
    alone = all(len(found.scores) == 1 for found in tasks.values())
    caption = "Left: loss. Right: score on the dev rows. Lines are means over seeds."
    if alone:
        caption += " Dashed: loss of the training steps, with dropout and all of its terms."
    if any(found.kept is not None for found in tasks.values()):
        caption += " Dotted: the epoch whose scores are reported."
    return Figure(
        name,
        f"Loss and score by epoch, all tasks{f', {where}' if where else ''}",
        f"{'; '.join(_in_words(task, found) for task, found in tasks.items())}.",
        caption,
        ("task", "variant", "epoch", "seeds", "train_loss", "dev_loss", "metric", "score"),
        tuple(
            (
                task,
                variant,
                loss.epoch,
                loss.n_seeds,
                _mean(loss.train),
                _mean(loss.dev),
                found.metric.__name__,
                _mean(score.dev),
            )
            for task, found in tasks.items()
            for variant, losses in found.losses.items()
            for loss, score in zip(losses, found.scores[variant], strict=True)
        ),
        drawing.svg(name, partial(_draw, tasks, alone), height=0.75 + 1.25 * len(tasks)),
    )


def _mean(point: tuple[float, float, float] | None) -> float | None:
    return None if point is None else point[0]


def _curve(points: Sequence[LearningCurvePoint], *, train: bool = False) -> _Curve:
    """The epochs with a value, and the mean over seeds."""
    return [
        (one.epoch, found[0])
        for one in points
        if (found := one.train if train else one.dev) is not None
    ]


def _in_words(task: str, found: TaskCurves) -> str:
    parts = []
    for variant in found.scores:
        losses, scores = _curve(found.losses[variant]), _curve(found.scores[variant])
        form = found.metric.form
        ends = [f"{found.loss} {_ends([f'{value:.3g}' for _, value in losses])}"] if losses else []
        if scores:
            told = _ends([format_value(value, form) for _, value in scores])
            ends.append(f"{found.metric.title} {told}")
        parts.append(f"{prefix_of(variant, found.scores)}{', '.join(ends)}")
    return f"{task} {', '.join(parts)}"


def _ends(values: Sequence[str]) -> str:
    return " → ".join(dict.fromkeys([values[0], values[-1]]))


def _draw(tasks: Mapping[str, TaskCurves], alone: bool, canvas: Canvas) -> None:
    panels = canvas.subplots(len(tasks), 2, sharex=True, squeeze=False)
    variants = list(dict.fromkeys(name for found in tasks.values() for name in found.scores))
    for (left, right), (task, found) in zip(panels, tasks.items(), strict=True):
        for variant, points in found.losses.items():
            number = variants.index(variant)
            if alone:
                _draw_curve(left, _curve(points, train=True), None, "training steps")
            _draw_curve(left, _curve(points), number, "dev rows" if alone else variant)
        for variant, points in found.scores.items():
            of = [(epoch, metric_scale(found.metric) * value) for epoch, value in _curve(points)]
            _draw_curve(right, of, variants.index(variant), variant)
        short = shorten(task, 14)
        left.set_title(f"{short}, {found.loss}", fontsize=8.5, color=INK)
        right.set_title(f"{short}, {metric_label(found.metric)}", fontsize=8.5, color=INK)
        for axes in (left, right):
            axes.tick_params(labelsize=8)
            if found.kept is not None:
                axes.axvline(found.kept, color=SOFT, linewidth=0.8, linestyle=(0, (1, 2)))
    epochs = [one.epoch for found in tasks.values() for of in found.scores.values() for one in of]
    panels[0, 0].xaxis.set_major_locator(whole_number_ticks(epochs))
    canvas.supxlabel("epoch", fontsize=10)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside upper center", ncols=2)


def _draw_curve(axes: Axes, curve: _Curve, number: int | None, label: str) -> None:
    """number: of the variant; None of the training steps."""
    if not curve:
        return
    epochs, values = zip(*curve, strict=True)
    axes.plot(
        epochs,
        values,
        color=SOFT if number is None else colour_of(number),
        marker="" if number is None else marker_of(number),
        linestyle=(0, (4, 2)) if number is None else "-",
        markersize=4 if len(epochs) < 30 else 0,
        linewidth=1.4,
        label=shorten(label, 22),
    )

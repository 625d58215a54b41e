"""Errors of a model on its dev set: which classes it confuses, and how far off it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from encore.report import drawing
from encore.report.drawing import SERIES, SOFT
from encore.report.figures.axes import colour_of, prefix_of, shade, top_legend
from encore.report.figures.figure import Figure
from encore.tables.formatting import shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

__all__ = ["confusion_matrix", "distances", "scatter"]

_MOST_POINTS = 1_500  # of a scatter plot: more are a blot, and megabytes

# --------------------------------------------------------------------------------- confusion matrix


def confusion_matrix(
    name: str, matrix: np.ndarray, names: Sequence[str], *, where: str, n_runs: int = 1
) -> Figure:
    """(classes, classes) counts, truth by row; shaded by the share of the truth. n_runs: how many
    runs were added up.
    """
    shares = matrix / np.maximum(matrix.sum(axis=1), 1)[:, None]
    over = f" (added up over {n_runs} runs)" if n_runs > 1 else ""
    caption = (
        f"Rows of the dev set{over} by true and predicted class. The stronger the colour, the "
        f"larger the share of the true class. On the diagonal: correct predictions."
    )
    return Figure(
        name,
        f"Confusion matrix, {where}",
        _most_confused(matrix, names),
        caption,
        ("truth", "predicted", "rows", "share_of_truth"),
        tuple(
            (
                names[true],
                names[predicted],
                int(matrix[true, predicted]),
                float(shares[true, predicted]),
            )
            for true, predicted in np.ndindex(matrix.shape)
        ),
        drawing.svg(
            name,
            partial(_draw_confusion, matrix, shares, [shorten(label, 14) for label in names]),
            height=0.95 + min(3.4, 0.42 * len(names) + 0.4),
        ),
    )


def _most_confused(matrix: np.ndarray, names: Sequence[str]) -> str:
    right, n = int(np.trace(matrix)), int(matrix.sum())
    wrong = matrix - np.diag(np.diag(matrix))
    if not wrong.any():
        return f"{right:,} of {n:,} correct."
    true, predicted = divmod(int(wrong.argmax()), len(names))
    often = f"{names[true]} predicted as {names[predicted]} ({wrong.max():,} rows)"
    return f"{right:,} of {n:,} correct; most frequent error: {often}."


def _draw_confusion(
    matrix: np.ndarray, shares: np.ndarray, labels: Sequence[str], canvas: Canvas
) -> None:
    axes, n = canvas.subplots(), len(labels)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    size = 10 if n <= 6 else 8.5 if n <= 8 else 7
    for true, predicted in np.ndindex(matrix.shape):
        # One hue, by opacity, and never so dense that the figure in it is hard to read on a light
        # or a dark page.
        shade(axes, predicted, true, 0.04 + 0.51 * float(shares[true, predicted]))
        axes.text(
            predicted,
            true,
            f"{matrix[true, predicted]:,}",
            ha="center",
            va="center",
            fontsize=size,
            fontweight="bold" if true == predicted else "normal",
        )
    axes.set_xlim(-0.5, n - 0.5)
    axes.set_ylim(n - 0.5, -0.5)
    too_wide = max(map(len, labels)) * n > 38
    slanted: dict[str, Any] = (
        {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if too_wide else {}
    )
    axes.set_xticks(range(n), labels, **slanted)
    axes.set_yticks(range(n), labels)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")


# ----------------------------------------------------------------------- errors of ordered classes


def distances(name: str, groups: Mapping[str, Mapping[int, int]], *, where: str) -> Figure:
    """Rows by how many classes the prediction is above (+) or below (−) the truth, for each group.
    groups: group → distance → rows.
    """
    steps = _steps(groups)
    shares = {
        group: [counts.get(step, 0) / sum(counts.values()) for step in steps]
        for group, counts in groups.items()
    }
    caption = (
        "The classes are ordered, so an error has a size: 0 is correct, −1 one class too low, +1 "
        "one class too high."
        + (" Figures on the bars: rows." if len(groups) == 1 else " All seeds together.")
    )
    return Figure(
        name,
        f"Distance from the true class, {where}",
        "; ".join(prefix_of(group, groups) + _off(counts) for group, counts in groups.items())
        + ".",
        caption,
        ("group", "classes_off", "rows", "share"),
        tuple(
            (group, step, counts.get(step, 0), share)
            for group, counts in groups.items()
            for step, share in zip(steps, shares[group], strict=True)
        ),
        drawing.svg(
            name,
            partial(_draw_distances, groups, steps, shares),
            height=2.5 if len(groups) == 1 else 2.9,
        ),
    )


def _steps(groups: Mapping[str, Mapping[int, int]]) -> list[int]:
    """All distances from the lowest to the highest that occurs, and 0."""
    found = {step for counts in groups.values() for step, count in counts.items() if count} | {0}
    return list(range(min(found), max(found) + 1))


def _off(counts: Mapping[int, int]) -> str:
    """The shares of exact, near, too low and too high predictions, in words."""
    total = sum(counts.values())
    parts = {
        "exact": counts.get(0, 0),
        "at most one class off": sum(n for step, n in counts.items() if abs(step) <= 1),
        "too low": sum(n for step, n in counts.items() if step < 0),
        "too high": sum(n for step, n in counts.items() if step > 0),
    }
    return ", ".join(f"{100 * n / total:.1f} % {words}" for words, n in parts.items())


def _draw_distances(
    groups: Mapping[str, Mapping[int, int]],
    steps: Sequence[int],
    shares: Mapping[str, Sequence[float]],
    canvas: Canvas,
) -> None:
    axes = canvas.subplots()
    axes.grid(visible=False, axis="x")
    width = 0.8 / len(groups)
    for number, (group, counts) in enumerate(groups.items()):
        bars = axes.bar(
            np.arange(len(steps)) - 0.4 + width * (number + 0.5),
            [100 * share for share in shares[group]],
            width * 0.92,
            color=colour_of(number),
            label=shorten(group, 22),
        )
        if len(groups) == 1:
            rows = [f"{counts.get(step, 0):,}" for step in steps]
            axes.bar_label(bars, rows, padding=2, fontsize=9)
    axes.set_xticks(range(len(steps)), list(_signed(steps)))
    axes.set_xlabel("classes between prediction and truth")
    axes.set_ylabel("% of rows")
    top_legend(canvas, len(groups))


def _signed(steps: Sequence[int]) -> Iterator[str]:
    for step in steps:
        yield "0" if step == 0 else f"{'+' if step > 0 else '−'}{abs(step)}"


# -------------------------------------------------------------------------------- predicted numbers


def scatter(name: str, truth: np.ndarray, predicted: np.ndarray, *, where: str) -> Figure:
    """(rows,) true values and predictions."""
    n_rows = len(truth)
    drawn = np.unique(np.linspace(0, n_rows - 1, min(n_rows, _MOST_POINTS)).astype(int))
    error = predicted - truth
    side = "high" if error.mean() > 0 else "low"
    part = f" {len(drawn):,} of {n_rows:,} rows are drawn." if len(drawn) < n_rows else ""
    return Figure(
        name,
        f"Predicted and true values, {where}",
        f"{n_rows:,} rows; mean absolute error {np.abs(error).mean():.3g}, on average "
        f"{abs(error.mean()):.2g} too {side}.",
        f"One dot per row of the dev set; on the dashed line the prediction is exact.{part}",
        ("truth", "predicted"),
        tuple(zip(truth.tolist(), predicted.tolist(), strict=True)),
        drawing.svg(name, partial(_draw_scatter, truth, predicted, drawn), height=3.3),
    )


def _draw_scatter(
    truth: np.ndarray, predicted: np.ndarray, drawn: np.ndarray, canvas: Canvas
) -> None:
    axes = canvas.subplots()
    ends = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
    axes.plot(ends, ends, color=SOFT, linewidth=1, linestyle=(0, (4, 2)))
    axes.plot(
        truth[drawn],
        predicted[drawn],
        "o",
        color=SERIES[0],
        markersize=4,
        alpha=0.5 if len(drawn) < 300 else 0.25,
        markeredgewidth=0,
    )
    axes.set_xlabel("truth")
    axes.set_ylabel("predicted")

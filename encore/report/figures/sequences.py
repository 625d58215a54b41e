"""Matrices of transfer and forgetting: first tasks by rows, last tasks by columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from encore import catalogue
from encore.evaluation.claims import Contrast
from encore.evaluation.sequence_record import SequenceResult
from encore.report import drawing
from encore.report.figures.axes import shade
from encore.report.figures.figure import Figure
from encore.tables.formatting import format_difference, format_interval, shorten
from encore.tables.sequences import arrow

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

__all__ = ["sequence_matrices"]

_Cells = Mapping[tuple[str, str], tuple[str, Contrast]]  # row and column → metric and difference


def sequence_matrices(sequences: Sequence[SequenceResult]) -> list[Figure]:
    """Two matrices of METHODS 4.7: what the first tasks give to the last one, and what the last one
    takes from the first.
    """
    transfer = {
        (_before(one), one.order[-1]): (one.metric, one.transfer)
        for one in sequences
        if one.transfer is not None
    }
    forgetting = {
        (lost.task if len(one.order) == 2 else f"{lost.task} in {_before(one)}", one.order[-1]): (
            lost.metric,
            lost.change,
        )
        for one in sequences
        for lost in one.forgetting
    }
    found = []
    if transfer:
        caption = (
            "By row the task that the encoder was trained on first, by column the task that it "
            "was trained on then: the score of the latter less that of training on it alone."
        )
        found.append(_matrix("transfer", "Transfer", caption, transfer))
    if forgetting:
        caption = (
            "By row the task that the encoder was trained on first, by column the task that it "
            "was trained on then: the score of the former, with its own head, less what it was "
            "before. A fall is what was forgotten."
        )
        found.append(_matrix("forgetting", "Forgetting", caption, forgetting))
    return found


def _before(one: SequenceResult) -> str:
    return " → ".join(one.order[:-1])


def _matrix(name: str, title: str, caption: str, cells: _Cells) -> Figure:
    lines = list(dict.fromkeys(line for line, _ in cells))
    columns = list(dict.fromkeys(column for _, column in cells))
    arrows = [arrow(each) for _, each in cells.values()]
    alt = (
        f"{arrows.count('↑')} of {len(cells)} better, {arrows.count('↓')} worse, "
        f"{arrows.count('→')} without evidence, on these dev sets."
    )
    return Figure(
        name,
        f"{title}, first task by row, last task by column",
        alt,
        f"{caption} Arrows follow from the verdicts on these dev sets; below, the 95 % interval.",
        ("first", "last", "metric", "difference", "low", "high", "verdict"),
        tuple(
            (
                line,
                column,
                metric,
                each.delta,
                each.this_dev_set.low if each.this_dev_set else None,
                each.this_dev_set.high if each.this_dev_set else None,
                each.verdict,
            )
            for (line, column), (metric, each) in cells.items()
        ),
        drawing.svg(
            name,
            partial(_draw, cells, lines, columns),
            height=0.9 + 0.55 * len(lines),
        ),
    )


def _draw(cells: _Cells, lines: Sequence[str], columns: Sequence[str], canvas: Canvas) -> None:
    axes = canvas.subplots()
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    most = max((abs(each.delta or 0.0) for _, each in cells.values()), default=0.0) or 1.0
    for (line, column), (metric, each) in cells.items():
        at = (columns.index(column), lines.index(line))
        fell = (each.delta or 0.0) < 0
        shade(axes, *at, 0.04 + 0.46 * abs(each.delta or 0.0) / most, colour=1 if fell else 0)
        form = catalogue.find("metrics", metric).form
        words = f"{format_difference(each.delta, form)} {arrow(each)}"
        axes.text(at[0], at[1] - 0.13, words, ha="center", va="center", fontsize=10)
        interval = format_interval(each.this_dev_set, form)
        axes.text(at[0], at[1] + 0.22, interval, ha="center", va="center", fontsize=7.5)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xticks(range(len(columns)), [shorten(each, 18) for each in columns])
    axes.set_yticks(range(len(lines)), [shorten(each, 26) for each in lines])
    axes.tick_params(length=0)
    axes.set_xlabel("then trained on")
    axes.set_ylabel("first trained on")

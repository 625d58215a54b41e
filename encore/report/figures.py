"""The figures of a report: each a drawing, the numbers that it shows, and in words what is to be
seen.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from encore.evaluation.calibration import Reliability
from encore.evaluation.estimates import Estimate
from encore.evaluation.intervals import for_these_rows
from encore.evaluation.metric import Metric
from encore.report.drawing import INK, LINE, MARKERS, PAPER, SERIES, SOFT, svg
from encore.tables.formatting import format_difference, format_estimate, format_value, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

__all__ = [
    "Curve",
    "Figure",
    "LengthBin",
    "confusion_matrix",
    "distances",
    "estimates",
    "forest",
    "learning",
    "lengths",
    "reliability_diagram",
    "scatter",
    "seeds",
    "sizes",
]

_MOST_POINTS = 1_500  # of a scatter plot: more are a blot, and megabytes


@dataclass(frozen=True)
class Figure:
    """name: of its files. alt: what is to be seen, for those who do not see it. caption: how to
    read it. columns, rows: the numbers. svg: a whole file.
    """

    name: str
    title: str
    alt: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    svg: str

    def csv(self) -> str:
        """Every digit; an empty cell is a figure that there is not."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(
            [["" if cell is None or cell != cell else cell for cell in row] for row in self.rows]
        )
        return out.getvalue()


@dataclass(frozen=True)
class Curve:
    """A score after one epoch, over the seeds that got so far: (mean, lowest, highest), None where
    it was not measured.
    """

    epoch: int
    n_seeds: int
    train: tuple[float, float, float] | None
    dev: tuple[float, float, float] | None


@dataclass(frozen=True)
class LengthBin:
    """Rows of like length and the score on them: its interval with one run, lowest and highest of
    the seeds with several.
    """

    words: str
    n_rows: int
    value: float
    low: float
    high: float


# --------------------------------------------------------------------------------------- of one run


def estimates(name: str, metric: Metric, found: Mapping[str, Estimate], *, where: str) -> Figure:
    """A metric of the model and of the baselines, each with its interval."""
    rows = tuple((who, one.value, one.low, one.high) for who, one in found.items())

    def draw(canvas: Canvas) -> None:
        axes = _lines(canvas, [who for who, *_ in rows])
        scale = _scale(metric)
        for at, (_, value, low, high) in enumerate(rows):
            colour = SERIES[0] if at == 0 else SOFT
            axes.plot(
                [scale * low, scale * high],
                [at, at],
                color=colour,
                linewidth=3,
                solid_capstyle="round",
                alpha=0.55,
            )
            axes.plot(scale * value, at, MARKERS[0 if at == 0 else 1], color=colour, markersize=8)
        axes.set_xlabel(_unit(metric))

    title = f"{metric.title} beside two plain baselines, {where}"
    said = "; ".join(f"{who} {format_estimate(one, metric.form)}" for who, one in found.items())
    caption = "Dot: the figure. Bar: its 95 % bootstrap interval over the rows."
    columns = ("predictor", metric.__name__, "low", "high")
    return Figure(
        name,
        title,
        f"{said}.",
        caption,
        columns,
        rows,
        svg(name, draw, height=0.75 + 0.36 * len(rows)),
    )


def learning(
    name: str,
    metric: Metric,
    curves: Mapping[str, Sequence[Curve]],
    *,
    where: str,
    kept: int | None = None,
) -> Figure:
    """Score by epoch on the training rows and on the dev rows, one panel for each variant. kept:
    the epoch whose figures count.
    """
    rows = tuple(
        (variant, one.epoch, one.n_seeds, *(one.train or (None,) * 3), *(one.dev or (None,) * 3))
        for variant, found in curves.items()
        for one in found
    )
    scale, several = (
        _scale(metric),
        any(one.n_seeds > 1 for found in curves.values() for one in found),
    )

    def panel(axes: Axes, found: Sequence[Curve], title: str) -> None:
        for what, colour, style, marker in (
            ("train", SOFT, (0, (4, 2)), MARKERS[1]),
            ("dev", SERIES[0], "-", MARKERS[0]),
        ):
            points = [
                (one.epoch, *(scale * end for end in triple))
                for one in found
                if (triple := getattr(one, what)) is not None
            ]
            if points:
                epochs, mean, low, high = zip(*points, strict=True)
                if len(epochs) > 1:
                    axes.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
                else:
                    axes.vlines(epochs, low, high, color=colour, linewidth=3, alpha=0.4)
                axes.plot(
                    epochs,
                    mean,
                    color=colour,
                    linestyle=style,
                    marker=marker,
                    markersize=4.5 if len(epochs) < 30 else 0,
                    label=what,
                )
        if kept is not None:
            axes.axvline(kept, color=SOFT, linewidth=0.8, linestyle=(0, (1, 2)))
        axes.xaxis.set_major_locator(_whole_numbers([one.epoch for one in found]))
        axes.set_title(title, fontsize=10, color=INK)

    n_columns = 1 if len(curves) == 1 else 2
    n_lines = -(-len(curves) // n_columns)

    def draw(canvas: Canvas) -> None:
        panels = canvas.subplots(
            n_lines, n_columns, sharex=True, sharey=True, squeeze=False
        ).reshape(-1)
        for axes, (variant, found) in zip(panels, curves.items(), strict=False):
            panel(axes, found, shorten(variant, 22) if len(curves) > 1 else "")
        for axes in panels[len(curves) :]:
            axes.set_visible(False)
        canvas.supxlabel("epoch", fontsize=10)
        canvas.supylabel(_unit(metric), fontsize=10)
        handles, labels = panels[0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside upper center", ncols=2)

    def told(found: Sequence[Curve], what: str) -> str:
        means = [
            format_value(triple[0], metric.form)
            for one in found
            if (triple := getattr(one, what)) is not None
        ]
        return (
            f"{what} {' → '.join(dict.fromkeys([means[0], means[-1]]))}"
            if means
            else f"{what} not measured"
        )

    said = "; ".join(
        f"{f'{variant}: ' if len(curves) > 1 else ''}{told(found, 'train')}, "
        f"{told(found, 'dev')} after epoch {found[-1].epoch}"
        for variant, found in curves.items()
        if found
    )
    caption = (
        "Line: mean over seeds. Band: lowest to highest seed."
        if several
        else "Training rows are measured as they were trained on, with dropout."
    )
    caption += "" if kept is None else f" Dotted: epoch {kept}, whose figures count."
    columns = (
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
    height = 0.9 + (1.9 if n_lines == 1 else 1.5 * n_lines)
    return Figure(
        name,
        f"{metric.title} by epoch, {where}",
        f"{said}.",
        caption,
        columns,
        rows,
        svg(name, draw, height=height),
    )


def confusion_matrix(
    name: str, matrix: np.ndarray, names: Sequence[str], *, where: str, n_runs: int = 1
) -> Figure:
    """(classes, classes) counts, truth by row; shaded by the share of the truth. n_runs: how many
    runs were added up.
    """
    totals = matrix.sum(axis=1)
    shares = matrix / np.maximum(totals, 1)[:, None]
    words = [shorten(label, 14) for label in names]
    rows = tuple(
        (names[true], names[said], int(matrix[true, said]), float(shares[true, said]))
        for true in range(len(names))
        for said in range(len(names))
    )

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        size = 10 if len(names) <= 6 else 8.5 if len(names) <= 8 else 7
        for true in range(len(names)):
            for said in range(len(names)):
                # One hue, by opacity, and never so dense that the figure in it is hard to read on a
                # light or a dark page.
                axes.add_patch(_square(said, true, 0.04 + 0.51 * float(shares[true, said])))
                weight = "bold" if true == said else "normal"
                axes.text(
                    said,
                    true,
                    f"{matrix[true, said]:,}",
                    ha="center",
                    va="center",
                    fontsize=size,
                    fontweight=weight,
                )
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_ylim(len(names) - 0.5, -0.5)
        upright = max(map(len, words)) * len(words) > 38
        slanted: dict[str, Any] = (
            {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if upright else {}
        )
        axes.set_xticks(range(len(names)), words, **slanted)
        axes.set_yticks(range(len(names)), words)
        axes.tick_params(length=0)
        axes.set_xlabel("predicted")
        axes.set_ylabel("truth")

    right, n = int(np.trace(matrix)), int(matrix.sum())
    wrong = matrix - np.diag(np.diag(matrix))
    true, said = divmod(int(wrong.argmax()), len(names))
    often = (
        f"; most often {names[true]} is taken for {names[said]} ({wrong.max():,} rows)"
        if wrong.any()
        else ""
    )
    over = f" (added up over {n_runs} runs)" if n_runs > 1 else ""
    caption = (
        f"Rows of the dev set{over} by truth and prediction; the stronger the colour, "
        f"the larger the share of that truth. On the diagonal: right."
    )
    columns, height = (
        ("truth", "predicted", "rows", "share_of_truth"),
        0.95 + min(3.4, 0.42 * len(names) + 0.4),
    )
    return Figure(
        name,
        f"What is taken for what, {where}",
        f"{right:,} of {n:,} right{often}.",
        caption,
        columns,
        rows,
        svg(name, draw, height=height),
    )


def distances(name: str, groups: Mapping[str, Mapping[int, int]], *, where: str) -> Figure:
    """Rows by how many classes the prediction is above (+) or below (−) the truth, for each group.
    groups: group → distance → rows.
    """
    steps = sorted(
        {step for counts in groups.values() for step, count in counts.items() if count} | {0}
    )
    steps = list(range(min(steps), max(steps) + 1))
    totals = {group: sum(counts.values()) for group, counts in groups.items()}
    rows = tuple(
        (group, step, counts.get(step, 0), counts.get(step, 0) / totals[group])
        for group, counts in groups.items()
        for step in steps
    )

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        axes.grid(visible=False, axis="x")
        width = 0.8 / len(groups)
        for number, group in enumerate(groups):
            shares = [100 * share for whose, _, _, share in rows if whose == group]
            left = np.arange(len(steps)) - 0.4 + width * (number + 0.5)
            bars = axes.bar(
                left,
                shares,
                width * 0.92,
                color=SERIES[number % len(SERIES)],
                label=shorten(group, 22),
            )
            if len(groups) == 1:
                axes.bar_label(
                    bars,
                    [f"{groups[group].get(step, 0):,}" for step in steps],
                    padding=2,
                    fontsize=9,
                )
        axes.set_xticks(range(len(steps)), [_step(step) for step in steps])
        axes.set_xlabel("classes between prediction and truth")
        axes.set_ylabel("% of rows")
        if len(groups) > 1:
            canvas.legend(loc="outside upper center", ncols=2)

    said = []
    for group, counts in groups.items():
        near = {step: count for step, count in counts.items() if abs(step) <= 1}
        kinds = {"exact": [counts.get(0, 0)], "at most one class off": near.values()}
        kinds |= {
            words: [count for step, count in counts.items() if sign * step > 0]
            for words, sign in (("too low", -1), ("too high", 1))
        }
        who = f"{group}: " if len(groups) > 1 else ""
        said.append(
            who
            + ", ".join(
                f"{100 * sum(found) / totals[group]:.1f} % {words}"
                for words, found in kinds.items()
            )
        )
    caption = (
        "The classes are ordered, so an error has a size: 0 is right, −1 one class too low, +1 "
        "one class too high."
        + (" Figures on the bars: rows." if len(groups) == 1 else " All seeds together.")
    )
    return Figure(
        name,
        f"How far off, {where}",
        f"{'; '.join(said)}.",
        caption,
        ("group", "classes_off", "rows", "share"),
        rows,
        svg(name, draw, height=2.5 if len(groups) == 1 else 2.9),
    )


def reliability_diagram(
    name: str, groups: Mapping[str, Reliability], *, what: str, where: str
) -> Figure:
    """How often a claim of so much confidence comes true. what: which claims, in words."""
    rows = tuple(
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
    )

    def draw(canvas: Canvas) -> None:
        axes, below = canvas.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        axes.plot([0, 100], [0, 100], color=SOFT, linewidth=1, linestyle=(0, (4, 2)))
        for number, (group, one) in enumerate(groups.items()):
            filled = one.n > 0
            colour, marker = SERIES[number % len(SERIES)], MARKERS[number % len(MARKERS)]
            sizes = 12 + 110 * one.n[filled] / one.n.max()
            axes.plot(
                100 * one.claimed[filled],
                100 * one.came_true[filled],
                color=colour,
                linewidth=1.2,
                alpha=0.7,
            )
            axes.scatter(
                100 * one.claimed[filled],
                100 * one.came_true[filled],
                sizes,
                color=colour,
                marker=marker,
                label=shorten(group, 22),
            )
            middles = 50 * (one.edges[:-1] + one.edges[1:])
            width = 9.0 / len(groups)
            below.bar(
                middles - 4.5 + width * (number + 0.5),
                100 * one.n / one.n.sum(),
                width * 0.92,
                color=colour,
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

    if len(groups) == 1:
        said = _calibration(next(iter(groups.values())))
    else:
        said = (
            "ECE "
            + ", ".join(
                f"{group} {100 * one.ece:.1f} (by chance {100 * one.by_chance[0]:.1f})"
                for group, one in groups.items()
            )
            + " points"
        )
    caption = (
        f"{what} On the dashed line a claim of 80 % comes true in 80 of 100 rows; below it the "
        f"model is too sure of itself. Size of a mark, and bars: how many "
        "claims. ECE: expected calibration error, ten bins of equal width; by chance: what a "
        "perfectly calibrated model would show on so many rows."
    )
    return Figure(
        name,
        f"How far its probabilities can be trusted, {where}",
        f"{said}.",
        caption,
        ("group", "above", "up_to", "claims", "claimed", "came_true"),
        rows,
        svg(name, draw, height=3.3 if len(groups) == 1 else 3.6),
    )


def _calibration(one: Reliability) -> str:
    """The calibration error in words, beside what chance alone would make of a perfect model."""
    mean, high = one.by_chance
    found = f"ECE {100 * one.ece:.1f} points, by chance {100 * mean:.1f}"
    if one.ece <= high:
        return f"{found}: no evidence of miscalibration"
    return (
        f"{found}: {'too sure of itself' if one.excess > 0 else 'not sure enough'} by "
        f"{100 * abs(one.excess):.1f} points on average"
    )


def lengths(
    name: str,
    metric: Metric,
    groups: Mapping[str, Sequence[LengthBin]],
    *,
    where: str,
    unit: str,
    several_seeds: bool,
) -> Figure:
    """The score on rows of like length. unit: what a length counts."""
    rows = tuple(
        (group, one.words, one.n_rows, one.value, one.low, one.high)
        for group, bins in groups.items()
        for one in bins
    )
    scale, bins = _scale(metric), next(iter(groups.values()))

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        axes.grid(visible=False, axis="x")
        for number, (group, found) in enumerate(groups.items()):
            x = np.arange(len(found)) + 0.14 * (number - (len(groups) - 1) / 2)
            value, low, high = (
                scale * np.array([getattr(one, end) for one in found])
                for end in ("value", "low", "high")
            )
            colour, marker = SERIES[number % len(SERIES)], MARKERS[number % len(MARKERS)]
            axes.vlines(x, low, high, color=colour, linewidth=3, alpha=0.4)
            axes.plot(
                x,
                value,
                color=colour,
                marker=marker,
                markersize=6,
                linewidth=1,
                label=shorten(group, 22),
            )
        axes.set_xticks(range(len(bins)), [f"{one.words}\n({one.n_rows:,})" for one in bins])
        axes.set_xlim(-0.5, len(bins) - 0.5)
        axes.set_xlabel(f"length in {unit} (rows)")
        axes.set_ylabel(_unit(metric))
        if len(groups) > 1:
            canvas.legend(loc="outside upper center", ncols=2)

    said = "; ".join(
        f"{f'{group}: ' if len(groups) > 1 else ''}"
        + ", ".join(f"{format_value(one.value, metric.form)} at {one.words}" for one in found)
        for group, found in groups.items()
    )
    bars = "lowest to highest seed" if several_seeds else "95 % bootstrap interval over the rows"
    return Figure(
        name,
        f"{metric.title} by length of the text, {where}",
        f"By {unit}: {said}.",
        f"Mark: the figure on rows of that length. Bar: {bars}.",
        ("group", "tokens", "rows", metric.__name__, "low", "high"),
        rows,
        svg(name, draw, height=2.6 if len(groups) == 1 else 3.0),
    )


def scatter(name: str, truth: np.ndarray, predicted: np.ndarray, *, where: str) -> Figure:
    """(rows,) values as they are and as they were predicted."""
    rows = tuple(zip(truth.tolist(), predicted.tolist(), strict=True))
    drawn = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST_POINTS)).astype(int))

    def draw(canvas: Canvas) -> None:
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

    error = predicted - truth
    side = "high" if error.mean() > 0 else "low"
    said = (
        f"{len(rows):,} rows; the prediction is off by {np.abs(error).mean():.3g} on "
        f"average, and {abs(error.mean()):.2g} too {side}"
    )
    part = f" {len(drawn):,} of {len(rows):,} rows are drawn." if len(drawn) < len(rows) else ""
    return Figure(
        name,
        f"Predicted and true values, {where}",
        f"{said}.",
        f"A dot per row of the dev set; on the dashed line the prediction is right.{part}",
        ("truth", "predicted"),
        rows,
        svg(name, draw, height=3.3),
    )


# ---------------------------------------------------------------------------------- of a comparison


def forest(
    name: str, metric: Metric, variants: Sequence[Mapping[str, Any]], reference: str, *, where: str
) -> Figure | None:
    """Every variant's difference to the reference with both intervals; None where there is no
    difference to show. variants: as in results.json.
    """
    shown = [
        (row["variant"], row["contrast"])
        for row in variants
        if row["contrast"] is not None and row["contrast"]["delta"] is not None
    ]
    if not shown:
        return None
    ends = {"this_dev_set": SERIES[0], "new_examples": SERIES[1]}
    rows = tuple(
        (
            variant,
            against["delta"],
            *(
                against[key][end] if against[key] else None
                for key in ends
                for end in ("low", "high")
            ),
            against["verdict"],
        )
        for variant, against in shown
    )
    scale = _scale(metric)

    def draw(canvas: Canvas) -> None:
        from matplotlib.lines import Line2D

        axes = _lines(
            canvas,
            [
                f"{shorten(variant, 20)}\n{format_difference(against['delta'], metric.form)}"
                for variant, against in shown
            ],
        )
        axes.axvline(0, color=INK, linewidth=1)
        for at, (_, against) in enumerate(shown):
            for (key, colour), offset in zip(ends.items(), (-0.14, 0.14), strict=True):
                claim = against[key]
                if claim is not None and claim["low"] is not None and claim["high"] is not None:
                    axes.plot(
                        [scale * claim["low"], scale * claim["high"]],
                        [at + offset] * 2,
                        color=colour,
                        linewidth=3 if offset < 0 else 1.6,
                        marker="|",
                        markersize=7,
                        markeredgewidth=1.6,
                    )
            axes.plot(scale * against["delta"], at, MARKERS[0], color=INK, markersize=6)
        axes.set_xlabel(f"Δ {metric.title}{', points' if metric.form == 'percent' else ''}")
        names = ("this dev set", "new examples too")
        handles = [
            Line2D([], [], color=colour, linewidth=width, label=label)
            for colour, width, label in zip(ends.values(), (3, 1.6), names, strict=True)
        ]
        canvas.legend(handles=handles, loc="outside upper center", ncols=2)

    said = "; ".join(
        f"{variant} {format_difference(against['delta'], metric.form)}, {against['verdict']}"
        for variant, against in shown
    )
    caption = (
        f"Dot: mean difference to {reference} on the same "
        f"seeds{'' if metric.higher_is_better else '; lower is better'}. Bars: 95 % intervals, "
        f"not adjusted: "
        "for this dev set (new seeds, these rows), and for new examples too (new seeds, new "
        "rows). Verdicts are adjusted for the number of variants (Holm)."
    )
    columns = (
        "variant",
        "delta",
        "low_this_dev_set",
        "high_this_dev_set",
        "low_new_examples",
        "high_new_examples",
        "verdict",
    )
    title = f"Difference to {reference} in {metric.title}, {where}"
    return Figure(
        name,
        title,
        f"{said}.",
        caption,
        columns,
        rows,
        svg(name, draw, height=1.05 + 0.5 * len(rows)),
    )


def seeds(
    name: str, metric: Metric, variants: Sequence[Mapping[str, Any]], *, where: str
) -> Figure | None:
    """Every run of every variant; None where there is none."""
    shown = [row for row in variants if row["values"]]
    if not shown:
        return None
    rows = tuple(
        (row["variant"], seed, value, row["collapsed"].get(str(seed), ""))
        for row in shown
        for seed, value in zip(row["seeds"], row["values"], strict=True)
    )
    scale, told = _scale(metric), any(row["expected"] is not None for row in shown)

    def draw(canvas: Canvas) -> None:
        from matplotlib.lines import Line2D

        axes = _lines(canvas, [shorten(row["variant"], 20) for row in shown])
        for at, row in enumerate(shown):
            colour = SERIES[at % len(SERIES)]
            offsets = (
                np.linspace(-0.16, 0.16, len(row["values"])) if len(row["values"]) > 1 else [0.0]
            )
            axes.plot([scale * row["mean"]] * 2, [at - 0.3, at + 0.3], color=INK, linewidth=2)
            for offset, seed, value in zip(offsets, row["seeds"], row["values"], strict=True):
                collapsed = str(seed) in row["collapsed"]
                axes.plot(
                    scale * value,
                    at + offset,
                    "X" if collapsed else "o",
                    color=PAPER if collapsed else colour,
                    markersize=8 if collapsed else 6,
                    markeredgecolor=INK if collapsed else colour,
                    markeredgewidth=1.2 if collapsed else 0,
                )
            if row["expected"] is not None:
                axes.plot(
                    scale * row["expected"],
                    at,
                    "D",
                    color="none",
                    markeredgecolor=SOFT,
                    markeredgewidth=1.4,
                    markersize=8,
                )
        axes.set_xlabel(_unit(metric))
        handles = [
            Line2D([], [], marker="o", linestyle="", color=SERIES[0], label="a seed"),
            Line2D(
                [],
                [],
                marker="|",
                linestyle="",
                color=INK,
                markersize=10,
                markeredgewidth=2,
                label="mean",
            ),
        ]
        if any(row["collapsed"] for row in shown):
            handles.append(
                Line2D(
                    [],
                    [],
                    marker="X",
                    linestyle="",
                    color=PAPER,
                    markeredgecolor=INK,
                    markersize=8,
                    label="collapsed",
                )
            )
        if told:
            handles.append(
                Line2D(
                    [],
                    [],
                    marker="D",
                    linestyle="",
                    color="none",
                    markeredgecolor=SOFT,
                    label="source",
                )
            )
        canvas.legend(
            handles=handles,
            loc="outside upper center",
            ncols=4,
            handletextpad=0.2,
            columnspacing=1.2,
        )

    said = "; ".join(
        f"{row['variant']} mean {format_value(row['mean'], metric.form)}, {len(row['values'])} "
        f"seed{'s' if len(row['values']) > 1 else ''} "
        f"from {format_value(min(row['values']), metric.form)} to "
        f"{format_value(max(row['values']), metric.form)}"
        + (f", {len(row['collapsed'])} collapsed" if row["collapsed"] else "")
        for row in shown
    )
    caption = "A mark per run." + (
        " Collapsed: the run learnt nothing; it counts all the same."
        if any(row["collapsed"] for row in shown)
        else ""
    )
    caption += " Diamond: what the source reports." if told else ""
    return Figure(
        name,
        f"{metric.title} of every run, {where}",
        f"{said}.",
        caption,
        ("variant", "seed", metric.__name__, "collapsed"),
        rows,
        svg(name, draw, height=1.05 + 0.42 * len(shown)),
    )


def sizes(
    name: str, metric: Metric, groups: Mapping[str, Mapping[int, Sequence[float]]], *, where: str
) -> Figure:
    """Score against the number of training rows. groups: variant → rows → one value per seed."""
    rows = []
    for variant, found in groups.items():
        for size, values in sorted(found.items()):
            low, high = (
                (None, None)
                if len(values) < 2
                else tuple(float(end) for end in for_these_rows(np.array(values)).interval())
            )
            rows.append((variant, size, len(values), float(np.mean(values)), low, high))
    scale = _scale(metric)

    def draw(canvas: Canvas) -> None:
        from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

        axes = canvas.subplots()
        for number, variant in enumerate(groups):
            mine = [row for row in rows if row[0] == variant]
            colour = SERIES[number % len(SERIES)]
            x = [row[1] * 1.02**number for row in mine]  # side by side on the logarithmic axis
            axes.plot(
                x,
                [scale * row[3] for row in mine],
                color=colour,
                marker=MARKERS[number % len(MARKERS)],
                markersize=6,
                label=shorten(variant, 22),
            )
            for at, row in zip(x, mine, strict=True):
                if row[4] is not None and row[5] is not None:
                    axes.plot(
                        [at, at],
                        [scale * row[4], scale * row[5]],
                        color=colour,
                        linewidth=3,
                        alpha=0.35,
                    )
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(sorted({row[1] for row in rows})))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_xlabel("training rows")
        axes.set_ylabel(_unit(metric))
        if len(groups) > 1:
            canvas.legend(loc="outside upper center", ncols=2)

    said = "; ".join(
        f"{variant} "
        + ", ".join(
            f"{format_value(row[3], metric.form)} at {row[1]:,}"
            for row in rows
            if row[0] == variant
        )
        for variant in groups
    )
    caption, columns = (
        "Mark: mean over seeds. Bar: 95 % interval of the mean for new seeds (t).",
        ("variant", "train_rows", "seeds", "mean", "low", "high"),
    )
    return Figure(
        name,
        f"{metric.title} by number of training rows, {where}",
        f"{said}.",
        caption,
        columns,
        tuple(rows),
        svg(name, draw, height=3.0),
    )


# ------------------------------------------------------------------------------------------ drawing


def _lines(canvas: Canvas, names: Sequence[str]) -> Axes:
    """Axes with one line for each name, the first on top."""
    axes = canvas.subplots()
    axes.grid(visible=False, axis="y")
    axes.set_yticks(
        range(len(names)), [shorten(name, 24) if "\n" not in name else name for name in names]
    )
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_color(LINE)
    return axes


def _square(column: int, line: int, alpha: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(
        (column - 0.48, line - 0.48), 0.96, 0.96, facecolor=SERIES[0], alpha=alpha, linewidth=0
    )


def _whole_numbers(values: Sequence[int]) -> Any:
    from matplotlib.ticker import FixedLocator, MaxNLocator

    return (
        FixedLocator(sorted(set(values)))
        if len(set(values)) < 3
        else MaxNLocator(nbins=5, integer=True)
    )


def _scale(metric: Metric) -> float:
    return 100.0 if metric.form == "percent" else 1.0


def _unit(metric: Metric) -> str:
    return f"{metric.title}, %" if metric.form == "percent" else metric.title


def _step(step: int) -> str:
    return "0" if step == 0 else f"{'+' if step > 0 else '−'}{abs(step)}"

"""The figures of a search: Optuna's own and two of ours, by matplotlib. Each comes with the numbers
that it shows and, in words, what is to be seen.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

os.environ.setdefault(
    "MPLBACKEND", "Agg"
)  # files, no windows; a notebook that has set another keeps it

import matplotlib
import matplotlib.pyplot as plt
import optuna.visualization.matplotlib as drawn
from matplotlib.collections import PathCollection
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from optuna.trial import FrozenTrial, TrialState

from encore import files
from encore.experiments.study import importance_evaluator, quiet_optuna, score_of
from encore.report.drawing import INK, LINE, SERIES, SOFT, cleaned
from encore.report.figures import Figure
from encore.tables.formatting import format_setting

if TYPE_CHECKING:
    import optuna
    from matplotlib.axes import Axes

    from encore.experiments.search_preparation import PreparedSearch

__all__ = ["draw_figures", "search_figures", "write_figures"]

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "figure.figsize": (6.4, 4.0),
    "figure.max_open_warning": 0,
    "font.size": 10.0,
}
_STYLE |= {"font.family": ["DejaVu Sans"], "text.parse_math": False}


def draw_figures(
    tuning: PreparedSearch,
    study: optuna.Study,
    trials: Sequence[FrozenTrial],
    best: FrozenTrial,
    shares: Mapping[str, float],
    folder: Path,
    runs: Path,
) -> None:
    """Draws the figures of a search into its folder, the figures of an earlier stage replaced."""
    score = score_of(best)
    curves = (
        {
            str(seed): runs / name
            for seed, name in zip(tuning.search.trial_seeds, score.runs, strict=True)
        }
        if score is not None
        else {}
    )
    with quiet_optuna():
        found = search_figures(
            study,
            trials,
            best,
            paths=[one.path for one in tuning.search.parameters],
            deciding=tuning.deciding,
            shares=shares,
            evaluator=importance_evaluator(tuning.search.seed),
            curves=curves,
        )
    write_figures(folder / "figures", found)


def write_figures(folder: Path, found: Sequence[Figure]) -> None:
    """NAME.svg and NAME.csv of each, and what they are in words as about.json; those of an earlier
    stage of the search go.
    """
    with files.explained(folder):
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            if old.name not in {
                f"{figure.name}{end}" for figure in found for end in (".svg", ".csv")
            }:
                old.unlink()
    for figure in found:
        files.write(folder / f"{figure.name}.svg", _told(figure).encode())
        files.write(folder / f"{figure.name}.csv", figure.csv().encode())
    files.write_json(
        folder / "about.json",
        {
            figure.name: {"title": figure.title, "alt": figure.alt, "caption": figure.caption}
            for figure in found
        },
    )


def _told(figure: Figure) -> str:
    """The file with a title and a description, for those who do not see it."""
    said = (
        f'<title id="title">{escape(figure.title)}</title>\n <desc '
        f'id="desc">{escape(figure.alt)}</desc>'
    )
    return re.sub(
        r"(<svg\b[^>]*)>",
        lambda found: f'{found[1]} role="img" aria-labelledby="title desc">\n {said}',
        figure.svg,
        count=1,
    )


def search_figures(
    study: optuna.Study,
    trials: Sequence[FrozenTrial],
    best: FrozenTrial,
    *,
    paths: Sequence[str],
    deciding: str,
    shares: Mapping[str, float],
    evaluator: Any,
    curves: Mapping[str, Path],
) -> list[Figure]:
    """trials: those that count, in order. paths: what was searched. deciding: what a value is.
    shares: importances, largest first, {} where there are none; evaluator: what they are from.
    curves: seed → run folder of the best trial.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    found = [_history(study, complete, best, deciding)]
    if shares:
        found.append(_importances(study, shares, evaluator, deciding))
    found += [_slice(study, complete, best, path, deciding) for path in paths]
    if len(paths) > 1:
        found.append(_parallel(study, complete, best, paths, deciding))
    if len(shares) > 1:
        found.append(_contour(study, complete, best, tuple(shares)[:2], deciding))
    if curves:
        found.append(
            _loss(curves, best, deciding, sign=1 if study.direction.name == "MAXIMIZE" else -1)
        )
    found.append(_seconds(trials))
    return found


def _svg(name: str, draw: Callable[[], Any], *, width: float = 6.4) -> str:
    """The picture that `draw` makes in matplotlib's current figure, `width` inches wide, in the
    colours of reports. The same numbers give the same bytes.
    """
    with matplotlib.rc_context():  # Optuna sets a style for good
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE | {"svg.hashsalt": name})
        before = set(plt.get_fignums())
        try:
            draw()
            canvas = plt.gcf()
            canvas.set_size_inches(width, canvas.get_size_inches()[1])
            canvas.patch.set_visible(False)
            for axes in canvas.axes:
                _restyled(axes)
            out = io.StringIO()
            matplotlib.rcParams.update(_STYLE | {"svg.hashsalt": name})
            canvas.savefig(
                out,
                format="svg",
                bbox_inches="tight",
                metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
            )
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)
    return cleaned(out.getvalue())


def _restyled(axes: Axes) -> None:
    """No title, which stands above the figure, and the colours that a page can make light or
    dark.
    """
    for place in ("left", "center", "right"):
        axes.set_title("", loc=place)
    axes.patch.set_visible(False)
    for axis in (axes.xaxis, axes.yaxis):
        if (
            axis.get_scale() == "log"
        ):  # its own marks are formulas, and text is text here: a setting may have a $ in it
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="both", color=SOFT, labelcolor=INK)
    for dots in (one for one in axes.collections if isinstance(one, PathCollection)):
        dots.set_edgecolor(INK)  # or the palest are lost on paper, and the darkest on a dark page
    for text in (axes.xaxis.label, axes.yaxis.label, *axes.texts):
        text.set_color(INK)
    for spine in axes.spines.values():
        spine.set_edgecolor(SOFT)
    for line in (*axes.get_xgridlines(), *axes.get_ygridlines()):
        line.set_color(LINE)
    legend = axes.get_legend()
    if legend is not None:
        legend.set_frame_on(False)
        for text in legend.get_texts():
            text.set_color(INK)


def _settings(trial: FrozenTrial, paths: Sequence[str]) -> str:
    return ", ".join(f"{path} {format_setting(trial.params[path])}" for path in paths)


# ----------------------------------------------------------------------------------------- Optuna's


def _history(
    study: optuna.Study, complete: Sequence[FrozenTrial], best: FrozenTrial, deciding: str
) -> Figure:
    title, so_far, rows = "Value of every trial, and the best so far", None, []
    keep = max if study.direction.name == "MAXIMIZE" else min
    for trial in complete:
        so_far = trial.value if so_far is None else keep(so_far, trial.value)  # type: ignore[type-var]
        rows.append((trial.number, trial.value, so_far))
    values = [trial.value for trial in complete if trial.value is not None]
    alt = (
        f"{deciding} of {len(complete)} trials lies between {format_setting(min(values))} "
        f"and {format_setting(max(values))}; the best is trial {best.number}."
    )
    draw = lambda: drawn.plot_optimization_history(study, target_name=deciding)  # noqa: E731
    caption = "Dot: a complete trial. Line: the best until then."
    return Figure(
        "history",
        title,
        alt,
        caption,
        ("trial", "value", "best_so_far"),
        tuple(rows),
        _svg("history", draw),
    )


def _importances(
    study: optuna.Study, shares: Mapping[str, float], evaluator: Any, deciding: str
) -> Figure:
    title = "Importance of the settings (fANOVA)"
    alt = (
        f"Share of the variance of {deciding}: "
        f"{', '.join(f'{path} {share:.2f}' for path, share in shares.items())}."
    )
    caption = (
        "How much of the variance of complete trials a setting explains by itself, "
        "within the space that was searched. They add up to 1."
    )
    draw = lambda: drawn.plot_param_importances(study, evaluator=evaluator, target_name=deciding)  # noqa: E731
    return Figure(
        "importances",
        title,
        alt,
        caption,
        ("setting", "importance"),
        tuple(shares.items()),
        _svg("importances", draw),
    )


def _slice(
    study: optuna.Study,
    complete: Sequence[FrozenTrial],
    best: FrozenTrial,
    path: str,
    deciding: str,
) -> Figure:
    name, title = f"slice-{path}", f"Value by {path}"
    rows = tuple((trial.number, trial.params[path], trial.value) for trial in complete)
    alt = (
        f"{deciding} of every trial by its {path}; the best trial has "
        f"{format_setting(best.params[path])}."
    )
    draw = lambda: drawn.plot_slice(study, params=[path], target_name=deciding)  # noqa: E731
    caption = "Dot: a complete trial; the darker, the later."
    return Figure(name, title, alt, caption, ("trial", path, "value"), rows, _svg(name, draw))


def _parallel(
    study: optuna.Study,
    complete: Sequence[FrozenTrial],
    best: FrozenTrial,
    paths: Sequence[str],
    deciding: str,
) -> Figure:
    title = "All settings of every trial"
    rows = tuple(
        (trial.number, trial.value, *(trial.params[path] for path in paths)) for trial in complete
    )
    alt = (
        f"A line for each trial through its value and its settings; the best, trial "
        f"{best.number}: {_settings(best, paths)}."
    )
    draw = lambda: drawn.plot_parallel_coordinate(study, params=list(paths), target_name=deciding)  # noqa: E731
    caption = "Line: a complete trial; the darker, the better."
    return Figure(
        "parallel",
        title,
        alt,
        caption,
        ("trial", "value", *paths),
        rows,
        _svg("parallel", draw, width=6 + len(paths)),
    )


def _contour(
    study: optuna.Study,
    complete: Sequence[FrozenTrial],
    best: FrozenTrial,
    two: tuple[str, ...],
    deciding: str,
) -> Figure:
    title = f"Value by {two[0]} and {two[1]}, the two most important settings"
    rows = tuple(
        (trial.number, trial.params[two[0]], trial.params[two[1]], trial.value)
        for trial in complete
    )
    alt = f"{deciding} over {two[0]} and {two[1]}; the best trial is at {_settings(best, two)}."
    draw = lambda: drawn.plot_contour(study, params=list(two), target_name=deciding)  # noqa: E731
    caption = (
        "Dot: a complete trial. Colour: interpolated between them, so it says nothing "
        "where there are no dots."
    )
    return Figure(
        "contour",
        title,
        alt,
        caption,
        ("trial", *two, "value"),
        rows,
        _svg("contour", draw),
    )


# ------------------------------------------------------------------------------------------ our own


def _loss(curves: Mapping[str, Path], best: FrozenTrial, deciding: str, *, sign: int) -> Figure:
    """Of the best trial, seed by seed: training loss and the value on the dev set, epoch by epoch.
    sign: -1 where runs log a value, of which lower is better, with its sign turned.
    """
    title, rows = f"Training loss of the best trial (trial {best.number})", []
    for seed, folder in curves.items():
        for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            rows.append(
                (
                    seed,
                    record["epoch"],
                    sum(task["loss"] for task in record["train"].values()) / len(record["train"]),
                    sign * record["selected"],
                )
            )
    ends = f"from {rows[0][2]:.3f} in the first epoch to {rows[-1][2]:.3f} in the last"
    alt = (
        f"Mean training loss by epoch, {ends}; below it {deciding}, "
        f"{format_setting(rows[-1][3])} after the last epoch."
    )

    def draw() -> None:
        _, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(6.4, 5.0))
        for number, seed in enumerate(curves):
            mine = [row for row in rows if row[0] == seed]
            above.plot(
                [row[1] for row in mine],
                [row[2] for row in mine],
                marker="o",
                color=SERIES[number % len(SERIES)],
                label=f"seed {seed}",
            )
            below.plot(
                [row[1] for row in mine],
                [row[3] for row in mine],
                marker="s",
                linestyle="--",
                color=SERIES[number % len(SERIES)],
            )
        above.set_ylabel("training loss")
        above.legend()
        below.set_ylabel(deciding)
        below.set_xlabel("epoch")
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes in (above, below):
            axes.grid(alpha=0.3)

    caption = (
        f"Above: the mean loss of an epoch's steps. Below: the dev set after it, "
        f"{'higher' if sign > 0 else 'lower'} is better."
    )
    return Figure(
        "loss",
        title,
        alt,
        caption,
        ("seed", "epoch", "train_loss", "dev"),
        tuple(rows),
        _svg("loss", draw),
    )


_COLOURS = {"complete": SERIES[0], "pruned": SOFT, "fail": SERIES[1]}


def _seconds(trials: Sequence[FrozenTrial]) -> Figure:
    """Computing time of the complete ones; of others from their start to their end."""
    title = "Time of every trial"
    rows = []
    for trial in trials:
        whole, score = trial.duration.total_seconds() if trial.duration else 0.0, score_of(trial)
        rows.append((trial.number, trial.state.name.lower(), score.seconds if score else whole))
    times = [row[2] for row in rows]
    alt = f"{len(rows)} trials took {sum(times):,.0f} s in all, the longest {max(times):,.0f} s."

    def draw() -> None:
        _, axes = plt.subplots()
        for state, colour in _COLOURS.items():
            mine = [row for row in rows if row[1] == state]
            if mine:
                axes.bar(
                    [row[0] for row in mine], [row[2] for row in mine], color=colour, label=state
                )
        axes.set_xlabel("trial")
        axes.set_ylabel("seconds")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
        axes.grid(alpha=0.3, axis="y")

    return Figure(
        "time",
        title,
        alt,
        "Bar: the seconds of a trial's runs.",
        ("trial", "state", "seconds"),
        tuple(rows),
        _svg("time", draw),
    )

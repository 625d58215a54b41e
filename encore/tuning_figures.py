"""The figures of a search: Optuna's own and two of ours, by matplotlib. Each comes with the numbers that it shows and, in words, what is to be seen."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

os.environ.setdefault("MPLBACKEND", "Agg")               # files, no windows; a notebook that has set another keeps it

import matplotlib
import matplotlib.pyplot as plt
import optuna.visualization.matplotlib as drawn
from matplotlib.ticker import MaxNLocator
from optuna.trial import FrozenTrial, TrialState

from encore import files
from encore.report.figures import Figure
from encore.trials import score_of
from encore.tuning_tables import words

if TYPE_CHECKING:
    import optuna

__all__ = ["figures", "write"]

_STYLE: Any = {"svg.hashsalt": "encore", "svg.fonttype": "none", "figure.figsize": (7.0, 4.2), "figure.max_open_warning": 0, "font.size": 10}


def write(folder: Path, found: Sequence[Figure]) -> None:
    """NAME.svg and NAME.csv of each; those of an earlier stage of the search go."""
    with files.explained(folder):
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            if old.stem not in {figure.name for figure in found}:
                old.unlink()
    for figure in found:
        files.write(folder / f"{figure.name}.svg", figure.svg.encode())
        files.write(folder / f"{figure.name}.csv", figure.csv().encode())


def figures(
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
    """trials: those that count, in order. paths: what was searched. deciding: what a value is. shares: importances, largest first, {} where there are none;
    evaluator: what they are from. curves: seed → run folder of the best trial."""
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
        found.append(_loss(curves, best, deciding))
    found.append(_seconds(trials))
    return found


def _svg(name: str, title: str, alt: str, draw: Callable[[], Any], *, width: float = 7.0) -> str:
    """The picture that `draw` makes in matplotlib's current figure, `width` inches wide. The same numbers give the same bytes."""
    with matplotlib.rc_context():                        # Optuna sets a style for good
        plt.style.use("default")
        matplotlib.rcParams.update(_STYLE)
        before = set(plt.get_fignums())
        try:
            draw()
            canvas = plt.gcf()
            canvas.set_size_inches(width, canvas.get_size_inches()[1])
            for axes in canvas.axes:
                for place in ("left", "center", "right"):
                    axes.set_title("", loc=place)
            canvas.suptitle(title, fontsize=11)
            matplotlib.rcParams.update(_STYLE)
            out = io.StringIO()
            canvas.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)
    said = f'<title id="{name}-title">{escape(title)}</title>\n <desc id="{name}-desc">{escape(alt)}</desc>\n'
    return re.sub(r"(<svg [^>]*)>", rf'\1 role="img" aria-labelledby="{name}-title {name}-desc">\n {said}', out.getvalue(), count=1).replace("\r", "")


def _told(trial: FrozenTrial, paths: Sequence[str]) -> str:
    return ", ".join(f"{path} {words(trial.params[path])}" for path in paths)


# ------------------------------------------------------------------------------------------------------------------------------------------- Optuna's


def _history(study: optuna.Study, complete: Sequence[FrozenTrial], best: FrozenTrial, deciding: str) -> Figure:
    title, so_far, rows = "Value of every trial, and the best so far", None, []
    keep = max if study.direction.name == "MAXIMIZE" else min
    for trial in complete:
        so_far = trial.value if so_far is None else keep(so_far, trial.value)       # type: ignore[type-var]
        rows.append((trial.number, trial.value, so_far))
    values = [trial.value for trial in complete]
    alt = f"{deciding} of {len(complete)} trials lies between {words(min(values))} and {words(max(values))}; the best is trial {best.number}."    # type: ignore[type-var]
    draw = lambda: drawn.plot_optimization_history(study, target_name=deciding)                     # noqa: E731
    caption = "Dot: a complete trial. Line: the best until then."
    return Figure("history", title, alt, caption, ("trial", "value", "best_so_far"), tuple(rows), _svg("history", title, alt, draw))


def _importances(study: optuna.Study, shares: Mapping[str, float], evaluator: Any, deciding: str) -> Figure:
    title = "Importance of the settings (fANOVA)"
    alt = f"Share of the variance of {deciding}: {', '.join(f'{path} {share:.2f}' for path, share in shares.items())}."
    caption = "How much of the variance of complete trials a setting explains by itself, within the space that was searched. They add up to 1."
    draw = lambda: drawn.plot_param_importances(study, evaluator=evaluator, target_name=deciding)    # noqa: E731
    return Figure("importances", title, alt, caption, ("setting", "importance"), tuple(shares.items()), _svg("importances", title, alt, draw))


def _slice(study: optuna.Study, complete: Sequence[FrozenTrial], best: FrozenTrial, path: str, deciding: str) -> Figure:
    name, title = f"slice-{path}", f"Value by {path}"
    rows = tuple((trial.number, trial.params[path], trial.value) for trial in complete)
    alt = f"{deciding} of every trial by its {path}; the best trial has {words(best.params[path])}."
    draw = lambda: drawn.plot_slice(study, params=[path], target_name=deciding)                      # noqa: E731
    caption = "Dot: a complete trial; the darker, the later."
    return Figure(name, title, alt, caption, ("trial", path, "value"), rows, _svg(name, title, alt, draw))


def _parallel(study: optuna.Study, complete: Sequence[FrozenTrial], best: FrozenTrial, paths: Sequence[str], deciding: str) -> Figure:
    title = "All settings of every trial"
    rows = tuple((trial.number, trial.value, *(trial.params[path] for path in paths)) for trial in complete)
    alt = f"A line for each trial through its value and its settings; the best, trial {best.number}: {_told(best, paths)}."
    draw = lambda: drawn.plot_parallel_coordinate(study, params=list(paths), target_name=deciding)   # noqa: E731
    caption = "Line: a complete trial; the darker, the better."
    return Figure("parallel", title, alt, caption, ("trial", "value", *paths), rows, _svg("parallel", title, alt, draw, width=6 + len(paths)))


def _contour(study: optuna.Study, complete: Sequence[FrozenTrial], best: FrozenTrial, two: tuple[str, ...], deciding: str) -> Figure:
    title = f"Value by {two[0]} and {two[1]}, the two most important settings"
    rows = tuple((trial.number, trial.params[two[0]], trial.params[two[1]], trial.value) for trial in complete)
    alt = f"{deciding} over {two[0]} and {two[1]}; the best trial is at {_told(best, two)}."
    draw = lambda: drawn.plot_contour(study, params=list(two), target_name=deciding)                 # noqa: E731
    caption = "Dot: a complete trial. Colour: interpolated between them, so it says nothing where there are no dots."
    return Figure("contour", title, alt, caption, ("trial", *two, "value"), rows, _svg("contour", title, alt, draw))


# -------------------------------------------------------------------------------------------------------------------------------------------- our own


def _loss(curves: Mapping[str, Path], best: FrozenTrial, deciding: str) -> Figure:
    """Of the best trial, seed by seed: training loss and the value on the dev set, epoch by epoch."""
    title, rows = f"Training loss of the best trial (trial {best.number})", []
    for seed, folder in curves.items():
        for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            rows.append((seed, record["epoch"], sum(task["loss"] for task in record["train"].values()) / len(record["train"]), record["selected"]))
    ends = f"from {rows[0][2]:.3f} in the first epoch to {rows[-1][2]:.3f} in the last"
    alt = f"Mean training loss by epoch, {ends}; below it {deciding}, {words(rows[-1][3])} after the last epoch."

    def draw() -> None:
        _, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(7.0, 5.0))
        for seed in curves:
            mine = [row for row in rows if row[0] == seed]
            above.plot([row[1] for row in mine], [row[2] for row in mine], marker="o", label=f"seed {seed}")
            below.plot([row[1] for row in mine], [row[3] for row in mine], marker="s", linestyle="--")
        above.set_ylabel("training loss")
        above.legend()
        below.set_ylabel(deciding)
        below.set_xlabel("epoch")
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes in (above, below):
            axes.grid(alpha=0.3)

    caption = "Above: the mean loss of an epoch's steps. Below: the dev set after it, higher is better."
    return Figure("loss", title, alt, caption, ("seed", "epoch", "train_loss", "dev"), tuple(rows), _svg("loss", title, alt, draw))


_COLOURS = {"complete": "#2b6cb0", "pruned": "#a0aec0", "fail": "#c05621"}


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
                axes.bar([row[0] for row in mine], [row[2] for row in mine], color=colour, label=state)
        axes.set_xlabel("trial")
        axes.set_ylabel("seconds")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
        axes.grid(alpha=0.3, axis="y")

    return Figure("time", title, alt, "Bar: the seconds of a trial's runs.", ("trial", "state", "seconds"), tuple(rows), _svg("time", title, alt, draw))

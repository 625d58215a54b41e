"""The figures of a search: Optuna's own and two of ours. Each comes with the numbers that it shows
and with a description in words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib.pyplot as plt
import optuna.visualization.matplotlib as drawn
from matplotlib.ticker import MaxNLocator
from optuna.trial import FrozenTrial, TrialState

from encore import files
from encore.experiments.study import importance_evaluator, quiet_optuna, score_of
from encore.report.drawing import SERIES, SOFT, described
from encore.report.figures.axes import colour_of
from encore.report.figures.figure import Figure
from encore.report.search_drawing import pyplot_svg
from encore.tables.formatting import format_setting

if TYPE_CHECKING:
    import optuna

    from encore.experiments.search_preparation import PreparedSearch

__all__ = ["draw_figures", "search_figures", "write_figures"]


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
        files.write(
            folder / f"{figure.name}.svg",
            described(figure.svg, title=figure.title, alt=figure.alt).encode(),
        )
        files.write(folder / f"{figure.name}.csv", figure.csv().encode())
    files.write_json(
        folder / "about.json",
        {
            figure.name: {"title": figure.title, "alt": figure.alt, "caption": figure.caption}
            for figure in found
        },
    )


@dataclass(frozen=True)
class _Search:
    """The search that the figures show. complete: its complete trials, in order. deciding: the name
    of a trial's value.
    """

    study: optuna.Study
    complete: Sequence[FrozenTrial]
    best: FrozenTrial
    deciding: str

    @property
    def maximises(self) -> bool:
        return self.study.direction.name == "MAXIMIZE"

    def best_settings(self, paths: Sequence[str]) -> str:
        """The settings of the best trial, in words."""
        params = self.best.params
        return ", ".join(f"{path} {format_setting(params[path])}" for path in paths)


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
    """trials: those that count, in order. paths: the settings that were searched. deciding: what a
    value is. shares: importances, largest first, {} where there are none; evaluator: what they are
    from. curves: seed → run folder of the best trial.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    search = _Search(study, complete, best, deciding)
    found = [_history(search)]
    if shares:
        found.append(_importances(search, shares, evaluator))
    found += [_slice(search, path) for path in paths]
    if len(paths) > 1:
        found.append(_parallel(search, paths))
    if len(shares) > 1:
        found.append(_contour(search, list(shares)[:2]))
    if curves:
        found.append(_loss(curves, best, deciding, sign=1 if search.maximises else -1))
    found.append(_seconds(trials))
    return found


# ----------------------------------------------------------------------------------------- Optuna's


def _history(search: _Search) -> Figure:
    values = [trial.value for trial in search.complete if trial.value is not None]
    alt = (
        f"{search.deciding} of {len(values)} trials lies between {format_setting(min(values))} "
        f"and {format_setting(max(values))}; the best is trial {search.best.number}."
    )
    draw = partial(drawn.plot_optimization_history, search.study, target_name=search.deciding)
    return Figure(
        "history",
        "Value of every trial, and the best so far",
        alt,
        "Dot: a complete trial. Line: the best until then.",
        ("trial", "value", "best_so_far"),
        tuple(_best_so_far(search)),
        pyplot_svg("history", draw),
    )


def _best_so_far(search: _Search) -> Iterator[tuple[int, float | None, float | None]]:
    better, best = max if search.maximises else min, None
    for trial in search.complete:
        best = trial.value if best is None else better(best, trial.value)  # type: ignore[type-var]
        yield trial.number, trial.value, best


def _importances(search: _Search, shares: Mapping[str, float], evaluator: Any) -> Figure:
    draw = partial(
        drawn.plot_param_importances,
        search.study,
        evaluator=evaluator,
        target_name=search.deciding,
    )
    listed = ", ".join(f"{path} {share:.2f}" for path, share in shares.items())
    return Figure(
        "importances",
        "Importance of the settings (fANOVA)",
        f"Share of the variance of {search.deciding}: {listed}.",
        "How much of the variance of complete trials a setting explains by itself, "
        "within the space that was searched. They add up to 1.",
        ("setting", "importance"),
        tuple(shares.items()),
        pyplot_svg("importances", draw),
    )


def _slice(search: _Search, path: str) -> Figure:
    name = f"slice-{path}"
    draw = partial(drawn.plot_slice, search.study, params=[path], target_name=search.deciding)
    return Figure(
        name,
        f"Value by {path}",
        f"{search.deciding} of every trial by its {path}; the best trial has "
        f"{format_setting(search.best.params[path])}.",
        "Dot: a complete trial; the darker, the later.",
        ("trial", path, "value"),
        tuple((trial.number, trial.params[path], trial.value) for trial in search.complete),
        pyplot_svg(name, draw),
    )


def _parallel(search: _Search, paths: Sequence[str]) -> Figure:
    draw = partial(
        drawn.plot_parallel_coordinate,
        search.study,
        params=list(paths),
        target_name=search.deciding,
    )
    return Figure(
        "parallel",
        "All settings of every trial",
        f"A line for each trial through its value and its settings; the best, trial "
        f"{search.best.number}: {search.best_settings(paths)}.",
        "Line: a complete trial; the darker, the better.",
        ("trial", "value", *paths),
        tuple(
            (trial.number, trial.value, *(trial.params[path] for path in paths))
            for trial in search.complete
        ),
        pyplot_svg("parallel", draw, width=6 + len(paths)),
    )


def _contour(search: _Search, paths: Sequence[str]) -> Figure:
    one, other = paths
    draw = partial(
        drawn.plot_contour, search.study, params=list(paths), target_name=search.deciding
    )
    return Figure(
        "contour",
        f"Value by {one} and {other}, the two most important settings",
        f"{search.deciding} over {one} and {other}; the best trial is at "
        f"{search.best_settings(paths)}.",
        "Dot: a complete trial. Colour: interpolated between them, so it says nothing "
        "where there are no dots.",
        ("trial", one, other, "value"),
        tuple(
            (trial.number, trial.params[one], trial.params[other], trial.value)
            for trial in search.complete
        ),
        pyplot_svg("contour", draw),
    )


# ------------------------------------------------------------------------------------------ our own


class _Epoch(NamedTuple):
    seed: str
    epoch: int
    loss: float
    value: float


def _loss(curves: Mapping[str, Path], best: FrozenTrial, deciding: str, *, sign: int) -> Figure:
    """Training loss and the value on the dev set of the best trial, epoch by epoch for each seed.
    sign: -1 where runs log a value, of which lower is better, with its sign turned.
    """
    epochs = [epoch for seed, folder in curves.items() for epoch in _epochs(seed, folder, sign)]
    ends = f"from {epochs[0].loss:.3f} in the first epoch to {epochs[-1].loss:.3f} in the last"
    return Figure(
        "loss",
        f"Training loss of the best trial (trial {best.number})",
        f"Mean training loss by epoch, {ends}; below it {deciding}, "
        f"{format_setting(epochs[-1].value)} after the last epoch.",
        f"Above: the mean loss of an epoch's steps. Below: the dev set after it, "
        f"{'higher' if sign > 0 else 'lower'} is better.",
        ("seed", "epoch", "train_loss", "dev"),
        tuple(map(tuple, epochs)),
        pyplot_svg("loss", partial(_draw_loss, epochs, list(curves), deciding)),
    )


def _epochs(seed: str, folder: Path, sign: int) -> Iterator[_Epoch]:
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        losses = [task["loss"] for task in record["train"].values()]
        yield _Epoch(seed, record["epoch"], sum(losses) / len(losses), sign * record["selected"])


def _draw_loss(epochs: Sequence[_Epoch], seeds: Sequence[str], deciding: str) -> None:
    _, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(6.4, 5.0))
    for number, seed in enumerate(seeds):
        mine = [one for one in epochs if one.seed == seed]
        x, colour = [one.epoch for one in mine], colour_of(number)
        above.plot(x, [one.loss for one in mine], marker="o", color=colour, label=f"seed {seed}")
        below.plot(x, [one.value for one in mine], marker="s", linestyle="--", color=colour)
    above.set_ylabel("training loss")
    above.legend()
    below.set_ylabel(deciding)
    below.set_xlabel("epoch")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (above, below):
        axes.grid(alpha=0.3)


_COLOURS = {"complete": SERIES[0], "pruned": SOFT, "fail": SERIES[1]}


class _Time(NamedTuple):
    trial: int
    state: str
    seconds: float


def _seconds(trials: Sequence[FrozenTrial]) -> Figure:
    """Computing time of complete trials; of others the time from start to end."""
    times = list(map(_time, trials))
    seconds = [one.seconds for one in times]
    return Figure(
        "time",
        "Time of every trial",
        f"{len(times)} trials took {sum(seconds):,.0f} s in all, the longest "
        f"{max(seconds):,.0f} s.",
        "Bar: the seconds of a trial's runs.",
        ("trial", "state", "seconds"),
        tuple(map(tuple, times)),
        pyplot_svg("time", partial(_draw_seconds, times)),
    )


def _time(trial: FrozenTrial) -> _Time:
    score = score_of(trial)
    whole = trial.duration.total_seconds() if trial.duration else 0.0
    return _Time(trial.number, trial.state.name.lower(), score.seconds if score else whole)


def _draw_seconds(times: Sequence[_Time]) -> None:
    _, axes = plt.subplots()
    for state, colour in _COLOURS.items():
        mine = [one for one in times if one.state == state]
        if mine:
            heights = [one.seconds for one in mine]
            axes.bar([one.trial for one in mine], heights, color=colour, label=state)
    axes.set_xlabel("trial")
    axes.set_ylabel("seconds")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    axes.grid(alpha=0.3, axis="y")

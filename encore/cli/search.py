"""`encore tune`, from the recipe file to the table and the exit code."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encore.cli.output import announce, print_json, say
from encore.errors import SOME_FAILED, RecipeError
from encore.tables.formatting import format_duration

if TYPE_CHECKING:
    import numpy as np

    from encore.experiments.search_parameters import Parameter
    from encore.experiments.search_preparation import PreparedSearch
    from encore.runs.prepared import Prepared

__all__ = ["tune_command"]

_DRAWN = 24  # trials that are drawn at random to estimate what one costs


def tune_command(
    recipe: str,
    overrides: Sequence[str],
    *,
    n: int | None,
    sampler: str,
    pruner: str,
    storage: str | None,
    processes: int | None,
    executor: str | None,
    runs: Path,
    json_: bool,
    quiet: bool,
    dry_run: bool,
) -> int:
    """Returns the exit code."""
    from encore import api
    from encore.experiments.executors.choice import check_executor
    from encore.experiments.find import search_of
    from encore.experiments.search import run_search
    from encore.experiments.search_preparation import prepare_search
    from encore.tables.listing import show_all
    from encore.tables.search import search_tables

    check_executor(executor)
    tuning = prepare_search(
        search_of(recipe, overrides, trials=n), sampler=sampler, pruner=pruner, storage=storage
    )
    announce(_announced(tuning, runs), quiet=quiet)
    if dry_run:
        _dry_run(tuning, runs, processes, json_=json_)
        return 0

    def tell(line: str) -> None:
        announce([line], quiet=quiet)

    how: dict[str, Any] = {"processes": processes, "executor": executor, "tell": tell}
    outcome = run_search(tuning, runs, draw=lambda *found: api.draw_search(*found), **how)
    announce(outcome.failed)
    if json_:
        found = {"study": str(outcome.folder), **outcome.to_json()}
        print_json(found | {"problems": list(outcome.failed), "seconds": outcome.seconds})
    else:
        show_all(search_tables(outcome.record))
        there = (
            f", {outcome.n_found} of {outcome.record.trials.requested} trials were already complete"
            if outcome.n_found
            else ""
        )
        best = shlex.join(["encore", "train", str(outcome.folder / "best.yaml")])
        say(
            f"study: {outcome.folder} ({format_duration(outcome.seconds)}{there}); figures, "
            f"trials.csv and results.json are in it; next: {best}"
        )
    return SOME_FAILED if outcome.failed else 0


def _announced(tuning: PreparedSearch, runs: Path) -> list[str]:
    """Lines on the decisions made for the user, and on the search that is about to start."""
    search = tuning.search
    lines = [
        *search.notes,
        *(
            tuning.first.note_line(note)
            for data in tuning.first.data.values()
            for note in data.notes
        ),
    ]
    if tuning.n_trials < search.trials:
        lines.append(f"the grid has {tuning.n_trials} points, fewer than {search.trials} trials")
    per_trial = f" of {search.seeds_per_trial} seeds" if search.seeds_per_trial > 1 else ""
    pruned = f", pruner {tuning.pruner}" if tuning.pruner != "none" else ""
    settings = ", ".join(one.path for one in search.parameters)
    how = f"sampler {tuning.sampler}{pruned}, seed {search.seed}"
    return [
        *lines,
        f"{tuning.n_trials} trials{per_trial} over {settings}, by {tuning.deciding}; {how}; "
        f"{runs / tuning.name}",
    ]


def _dry_run(tuning: PreparedSearch, runs: Path, processes: int | None, *, json_: bool) -> None:
    """Print the space of the search and an estimate of its cost."""
    from encore.runs.hardware import cores
    from encore.tables.formatting import format_setting
    from encore.tables.listing import Listing

    search = tuning.search
    n_runs = tuning.n_trials * search.seeds_per_trial + len(search.seeds)
    wall = n_runs * _seconds_per_run(tuning) / (processes or cores())
    if json_:
        found = {
            "study": str(runs / tuning.name),
            "search": {one.path: one.spec for one in search.parameters},
            "trials": tuning.n_trials,
            "runs": n_runs,
            "seeds": list(search.seeds),
            "estimated_seconds": wall,
        }
        print_json(found)
        return
    rows = tuple(
        (one.path, one.kind, ", ".join(map(format_setting, one.labels or (one.low, one.high))))
        for one in search.parameters
    )
    say(Listing("", ("setting", "how", "from, to; or one of"), rows))
    say(
        f"{n_runs} runs, {len(search.seeds)} of them with fresh seeds: about "
        f"{format_duration(wall)} on this machine under its present load (within a factor of two)"
    )


def _seconds_per_run(tuning: PreparedSearch) -> float:
    """The mean over configurations drawn at random: one is measured, and the others are compared
    with it by their tokens.
    """
    from encore import rng
    from encore.runs.cache import Cache
    from encore.runs.cost import estimate_cost
    from encore.runs.prepare import prepare

    search, generator = tuning.search, rng.generator(tuning.search.seed, "estimate")
    cache, sizes = Cache(dict(tuning.cache.found)), []
    for _ in range(_DRAWN):
        values = {one.path: _drawn_value(one, generator) for one in search.parameters}
        try:
            sizes.append(_n_tokens(prepare(search.recipe(values), cache)))
        except RecipeError:  # values that do not go together
            continue
    per_token = estimate_cost(tuning.first).seconds / _n_tokens(tuning.first)
    return per_token * sum(sizes) / max(1, len(sizes))


def _drawn_value(one: Parameter, generator: np.random.Generator) -> Any:
    if one.kind == "choice":
        return one.labels[generator.integers(len(one.labels))]
    if one.kind == "int":
        return int(generator.integers(int(one.low), int(one.high) + 1))
    return float(generator.uniform(one.low, one.high))


def _n_tokens(one: Prepared) -> int:
    """Training tokens of a run, over all epochs."""
    per_epoch = sum(int(stream.train.lengths.sum()) for stream in one.streams.values())
    return sum(phase.epochs for phase in one.plan) * per_epoch

"""`encore tune`: the trials of a search, each an ordinary run, then the best configuration on fresh
seeds.

    tune-NAME-HASH/recipe.yaml, study.json   the recipe as it was given, and what is searched, how
    study.db                                 all trials, as Optuna keeps them (SQLite), unless
      --storage names another database
    trials.csv                               a line per trial: state, value, settings, runs; up to
      date at any moment
    best.yaml                                the best configuration as a recipe of its own
    results.json                             its figures on fresh seeds, beside them the tuned one;
      importances
    figures/                                 pictures: NAME.svg, and what it shows as NAME.csv
    cost.json                                seconds of every trial (no part of the results)
    log/                                     what processes printed, if anything
    manifest.json                            sha256 of every file; there is one when, and only when,
      no trial and no run is missing

The folder's name is a hash of all that determines the trials but their number: the same command
with a larger -n goes on.
"""

from __future__ import annotations

import csv
import hashlib
import importlib
import io
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from encore import catalogue, files
from encore.errors import Complaints, Problem, RecipeError, TrainingError
from encore.experiments import comparison
from encore.experiments import trials as tried
from encore.experiments.search_space import Parameter, Search
from encore.experiments.trials import (
    TrialReport,
    Trials,
    TrialScore,
    best_of,
    counted_trials,
    open_study,
    problems_of,
    score_of,
)
from encore.experiments.variants import Cell, Study
from encore.recipe.schema import Recipe
from encore.recipe.write import anchored, to_yaml
from encore.runs.folder import MODEL, RunResult
from encore.runs.hardware import cores
from encore.runs.prepare import Cache, Prepared, find_conflicts, prepare
from encore.tables.search import search_tables
from encore.training.loop import higher_is_better
from encore.types import EvalReport, StepReport

__all__ = ["PreparedSearch", "SearchResult", "prepare_search", "run_search"]

_VERSION = 1  # raised by hand when the same recipe gives other trials


@dataclass(frozen=True)
class PreparedSearch:
    """A search that could start now. first: the run of its first values. epochs: of the longest
    run. maximise: whether a higher value is better.
    """

    search: Search
    sampler: str
    pruner: str
    storage: str | None
    first: Prepared
    cache: Cache
    epochs: int
    maximise: bool

    @property
    def n_trials(self) -> int:
        """As many as were asked for; of a grid no more than it has points."""
        points = math.prod(len(one.tried) for one in self.search.parameters)
        return min(self.search.trials, points) if self.sampler == "grid" else self.search.trials

    @property
    def name(self) -> str:
        """The study folder's name, and the study's in the database."""
        space = [[one.path, one.said] for one in self.search.parameters]
        how = [self.sampler, self.pruner, self.search.seeds_per_trial]
        digest = hashlib.sha256(files.canonical([_VERSION, self.first.identity, space, how]))
        return f"tune-{self.search.name}-{digest.hexdigest()[:10]}"

    @property
    def metrics(self) -> dict[str, tuple[str, str]]:
        """task → (dev set, metric) that decide."""
        return {
            task: (next(iter(stream.dev)), stream.metrics[0])
            for task, stream in self.first.streams.items()
            if stream.metrics
        }

    @property
    def deciding(self) -> str:
        """What a trial's value is, in words: "rte accuracy on dev"."""
        return "mean of " * (len(self.metrics) > 1) + ", ".join(
            f"{task} {metric} on {split}" for task, (split, metric) in self.metrics.items()
        )

    def trials(self, runs: Path) -> Trials:
        search = self.search
        return Trials(
            self.name,
            runs / self.name,
            search.parameters,
            self.n_trials,
            search.seed,
            self.maximise,
            self.sampler,
            self.pruner,
            self.epochs * search.seeds_per_trial,
            self.storage,
        )


@dataclass(frozen=True)
class SearchResult:
    """A search that has been run. failed: what happened, a line each. results: what results.json
    holds. n_found: trials that were there already.
    """

    folder: Path
    results: Mapping[str, Any]
    failed: tuple[str, ...]
    n_found: int
    seconds: float

    @property
    def table(self) -> str:
        """The best configuration and its figures on fresh seeds, as plain text."""
        return "\n\n".join(map(str, search_tables(self.results)))


def prepare_search(
    search: Search, *, sampler: str = "tpe", pruner: str = "none", storage: str | None = None
) -> PreparedSearch:
    """Read what the trials need, tokenize once for each maximum length among the choices, and try
    out every value on the files and the encoder.

    Raises RecipeError or DataError with everything that is wrong.
    """
    complaints = Complaints()
    complaints.of(
        tried.check_strategy,
        search.parameters,
        sampler,
        pruner,
        seeds_per_trial=search.seeds_per_trial,
    )
    if storage is not None:
        complaints.of(tried.check_storage, storage)
    cache = Cache()
    with comparison.ready_to_fork():
        first = complaints.of(prepare, search.recipe(search.first), cache)
        if first is not None:
            if not any(stream.metrics for stream in first.streams.values()):
                complaints.errors.append(
                    RecipeError(
                        "metrics: no task has one, so nothing says which trial is the best. "
                        "Name one: metrics=[accuracy]."
                    )
                )
            told = [
                line
                for one in search.parameters
                for value in one.tried[1:]
                for line in _objections(search, one, value, cache)
            ]
            complaints.errors += [RecipeError(told)] if told else []
            for one in search.parameters if not told else ():
                for value in one.tried[1:] if one.kind == "choice" else ():
                    complaints.of(prepare, search.recipe(search.first | {one.path: value}), cache)
    complaints.raise_any()
    assert first is not None
    epochs = max(
        _epochs(search.recipe(search.first | {one.path: value}))
        for one in search.parameters
        for value in one.tried
    )
    maximise = any(
        higher_is_better(stream.metrics[0]) for stream in first.streams.values() if stream.metrics
    )
    return PreparedSearch(search, sampler, pruner, storage, first, cache, epochs, maximise)


def _objections(search: Search, one: Parameter, value: Any, cache: Cache) -> list[Problem]:
    """What files and encoder say against a value, at the line that it is written in."""
    found = find_conflicts(search.recipe(search.first | {one.path: value}), cache)
    here = replace(one.entry, path=one.entry.path or one.path)
    return [
        problem
        if (problem.where, problem.line) == (one.entry.where, one.entry.line)
        else here.problem(str(problem))
        for problem in found
    ]


def _epochs(recipe: Recipe) -> int:
    return sum(
        phase.epochs for phase in catalogue.build("plans", recipe.plan.spec, tuple(recipe.tasks))
    )


# ---------------------------------------------------------------------------- what a trial is worth


def _trained(
    tuning: PreparedSearch, runs: Path, given: Mapping[str, Any], report: TrialReport
) -> TrialScore:
    """One run for each seed of a trial; those that are there already are read. Nothing that it
    reads outlives it.
    """
    cache, seeds, by_seed = (
        Cache(dict(tuning.cache.found)),
        tuning.search.trial_seeds,
        tuning.pruner == "wilcoxon",
    )
    values, best, names, seconds = [], [], [], 0.0
    for position, seed in enumerate(seeds):
        one, last_seed = (
            prepare(tuning.search.recipe(given, seed), cache),
            position == len(seeds) - 1,
        )
        n_epochs = sum(phase.epochs for phase in one.plan)

        def each_epoch(
            epoch: int,
            value: float,
            done: bool,
            start: int = position * tuning.epochs - 1,
            end: int = n_epochs if last_seed else 0,
        ) -> None:
            report(start + epoch, value, final=done or epoch == end)

        result, epochs = _run(tuning, one, runs, (lambda *_: None) if by_seed else each_epoch)
        values.append(_value(tuning, result))
        best.append(max(epochs.values()) if tuning.maximise else min(epochs.values()))
        names.append(result.folder.name)
        seconds += result.seconds
        if by_seed:
            report(position, values[-1], final=last_seed)
    return TrialScore(
        statistics.fmean(values), tuple(values), tuple(names), statistics.fmean(best), seconds
    )


def _run(
    tuning: PreparedSearch,
    one: Prepared,
    runs: Path,
    each_epoch: Callable[[int, float, bool], None],
) -> tuple[RunResult, dict[int, float]]:
    """The run and its value at every epoch. each_epoch: takes epoch, value, and whether that is
    over already (the run was there, or went on).
    """
    seen: dict[int, float] = {}

    def see(epoch: int, selected: float | None, done: bool) -> None:
        if selected is not None and epoch not in seen:
            seen[epoch] = selected if tuning.maximise else -selected
            each_epoch(epoch, seen[epoch], done)

    def watch(said: StepReport | EvalReport) -> None:
        if isinstance(said, EvalReport):
            see(said.epoch, said.selected, False)

    result = comparison.execute_when_free(one, runs, keep_model=False, watch=watch)
    for line in (result.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        see(record["epoch"], record["selected"], True)
    return result, seen


def _value(tuning: PreparedSearch, result: RunResult) -> float:
    """The mean over the tasks of their first metric on their first dev set, at the reported epoch.
    Where higher is better of one task and lower of another, the latter's count with their sign
    turned, as for early stopping.
    """
    found = [
        (metric, result.metrics[task][split][MODEL][metric].value)
        for task, (split, metric) in tuning.metrics.items()
    ]
    return statistics.fmean(
        -value if tuning.maximise and not higher_is_better(metric) else value
        for metric, value in found
    )


# --------------------------------------------------------------------------------- the whole search


def run_search(
    tuning: PreparedSearch,
    runs: Path,
    *,
    processes: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
    draw: Callable[..., None] = lambda *_: None,
) -> SearchResult:
    """Compute the trials that are missing, then the best configuration on fresh seeds. Killed at
    any moment, the same call goes on.

    processes: trials at once, as many as there are cores if None; with more than one, what a trial
    is told depends on which others have ended. tell: takes a line about every trial that ends.
    draw: draws the figures (`encore.report.search_figures.draw`, which is imported late).
    Raises TrainingError where no trial could be completed, or where another process is at work on
    the study.
    """
    started, trials = time.monotonic(), tuning.trials(runs)
    folder = trials.folder
    with files.locked(
        folder,
        TrainingError(
            f"{folder}: another process is at work on this study. Wait for it, or stop it; the "
            f"same command then goes on."
        ),
    ):
        with files.explained(folder):
            (folder / "log").mkdir(exist_ok=True)
            (folder / files.MANIFEST).unlink(missing_ok=True)
        files.sweep(folder)
        study = open_study(trials)
        if len(there := counted_trials(study)) > trials.n:  # an earlier command asked for more
            tuning = replace(tuning, search=replace(tuning.search, trials=len(there)))
            trials = tuning.trials(runs)
        n_found = sum(trial.state.is_finished() for trial in there)
        files.write(folder / "recipe.yaml", tuning.search.text.encode())
        files.write_json(folder / "study.json", _described(tuning))
        for module in (
            comparison.NEEDED if n_found < trials.n else ()
        ):  # once, here, and not in each of the processes
            importlib.import_module(module)
        threads = tuning.first.threads

        def ended(line: str) -> None:
            files.write(folder / "trials.csv", _csv(tuning, counted_trials(study)).encode())
            tell(line)

        at_once, here = processes or max(1, cores() // threads), tuning.first.device != "cpu"
        tried.run_trials(
            trials,
            partial(_trained, tuning, runs),
            processes=at_once,
            threads=threads,
            here=here,
            tell=ended,
        )
        there = counted_trials(study)
        failed = [
            f"trial {trial.number}: {problem}" for trial in there for problem in problems_of(trial)
        ]
        best = best_of(there, maximise=tuning.maximise)
        if best is None:
            raise TrainingError(
                [*failed, f"{folder}: no trial was completed, so there is no best one."]
            )
        results = _results(tuning, study, there, best)
        files.write(folder / "trials.csv", _csv(tuning, there).encode())
        files.write(
            folder / "best.yaml",
            to_yaml(anchored(tuning.search.recipe(best.params)), short=True).encode(),
        )
        fresh = _fresh(tuning, best, runs, processes, tell)
        results |= {
            "fresh": {
                "comparison": fresh.folder.name,
                "seeds": list(tuning.search.seeds),
                "studies": fresh.results["studies"],
            }
        }
        files.write_json(folder / "results.json", results)
        draw(tuning, study, there, best, results["importances"]["values"], folder, runs)
        seconds = time.monotonic() - started
        each = {
            str(trial.number): score.seconds if (score := score_of(trial)) else None
            for trial in there
        }
        files.write_json(folder / "cost.json", {"seconds": seconds, "trials": each})
        if not fresh.failed:
            kept = [
                folder / name
                for name in ("recipe.yaml", "study.json", "trials.csv", "best.yaml", "results.json")
            ]
            files.write_manifest(folder, [*kept, *sorted((folder / "figures").glob("*"))])
        return SearchResult(folder, results, (*failed, *fresh.failed), n_found, seconds)


def _described(tuning: PreparedSearch) -> dict[str, Any]:
    """What study.json holds: of a database's URL no password."""
    search = tuning.search
    return {
        "name": search.name,
        "overrides": list(search.overrides),
        "search": {one.path: one.said for one in search.parameters},
        "trials": tuning.n_trials,
        "seeds_per_trial": search.seeds_per_trial,
        "trial_seeds": list(search.trial_seeds),
        "seeds": list(search.seeds),
        "seed": search.seed,
        "sampler": tuning.sampler,
        "pruner": tuning.pruner,
        "storage": tried.without_password(tuning.storage) if tuning.storage else "study.db",
        "study": tuning.name,
    }


def _results(
    tuning: PreparedSearch, study: optuna.Study, trials: Sequence[FrozenTrial], best: FrozenTrial
) -> dict[str, Any]:
    """What results.json holds, but for the fresh seeds."""
    search = tuning.search
    states = {
        name: sum(trial.state == state for trial in trials) for name, state in _STATES.items()
    }
    shares, why = tried.importances(study, search.seed)
    score = score_of(best) or TrialScore(best.value or 0.0)
    tuned = {
        "trial": best.number,
        "value": best.value,
        "params": best.params,
        "values": score.values,
        "value_at_best_epoch": score.value_at_best_epoch,
        "runs": score.runs,
    }
    return {
        "name": search.name,
        "deciding": tuning.deciding,
        "maximise": tuning.maximise,
        "trials": {"asked": tuning.n_trials, **states},
        "sampler": tuning.sampler,
        "pruner": tuning.pruner,
        "seed": search.seed,
        "trial_seeds": list(search.trial_seeds),
        "search": {one.path: one.said for one in search.parameters},
        "best": tuned,
        "importances": {
            "by": f"fANOVA, 64 trees, seed {search.seed}",
            "values": shares,
            "why": why,
        },
        "notes": list(search.notes),
    }


_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


def _csv(tuning: PreparedSearch, trials: Sequence[FrozenTrial]) -> str:
    paths = [one.path for one in tuning.search.parameters]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [
            "trial",
            "state",
            "value",
            *paths,
            "value_at_best_epoch",
            "reports",
            "values",
            "runs",
            "problems",
        ]
    )
    for trial in trials:
        score, settings = score_of(trial), [trial.params.get(path) for path in paths]
        line = [
            trial.number,
            trial.state.name.lower(),
            trial.value,
            *settings,
            score and score.value_at_best_epoch,
            len(trial.intermediate_values),
        ]
        writer.writerow(
            [
                *line,
                *(
                    " ".join(map(str, of))
                    for of in ((score.values, score.runs) if score else ((), ()))
                ),
                " ".join(problems_of(trial)),
            ]
        )
    return out.getvalue()


def _fresh(
    tuning: PreparedSearch,
    best: FrozenTrial,
    runs: Path,
    processes: int | None,
    tell: Callable[[str], None],
) -> comparison.ComparisonResult:
    """The best configuration on seeds that no trial had: a comparison of one variant."""
    search = tuning.search
    tell(
        f"trial {best.number} is the best; it is trained again with fresh seeds: "
        f"{', '.join(map(str, search.seeds))}"
    )
    cells = tuple(
        Cell({}, "tuned", seed, search.recipe(best.params, seed)) for seed in search.seeds
    )
    text = to_yaml(anchored(search.recipe(best.params)), short=True)
    study = Study(
        f"{search.name}-tuned", text, (), ("tuned",), "tuned", search.seeds, ({},), cells, ()
    )
    return comparison.run_comparison(
        comparison.prepare_comparison(study), runs, processes=processes, tell=tell
    )

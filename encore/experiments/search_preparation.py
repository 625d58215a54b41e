"""Reads and checks what the trials of a search need, every value included."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from encore import files
from encore.errors import Complaints, Problem, RecipeError
from encore.experiments.preparation import ready_to_fork
from encore.experiments.samplers import check_strategy
from encore.experiments.search_parameters import Parameter
from encore.experiments.search_space import Search
from encore.experiments.study import check_storage
from encore.experiments.trial import Trials
from encore.recipe.schema import Recipe
from encore.runs.cache import Cache
from encore.runs.compatibility import phases_of
from encore.runs.prepare import find_conflicts, prepare
from encore.runs.prepared import Prepared
from encore.training.loop import higher_is_better
from encore.types import DEFAULTS

__all__ = ["PreparedSearch", "prepare_search"]

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
        """The number of trials requested; of a grid at most its number of points."""
        points = math.prod(len(one.tried) for one in self.search.parameters)
        return min(self.search.trials, points) if self.sampler == "grid" else self.search.trials

    @property
    def name(self) -> str:
        """The study folder's name, and the study's in the database."""
        space = [[one.path, one.spec] for one in self.search.parameters]
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
        """The value of a trial in words: "rte accuracy on dev"."""
        return "mean of " * (len(self.metrics) > 1) + ", ".join(
            f"{task} {metric} on {split}" for task, (split, metric) in self.metrics.items()
        )

    def trials(self, runs: Path) -> Trials:
        """The trials of this search in a folder of runs."""
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


def prepare_search(
    search: Search,
    *,
    sampler: str = DEFAULTS.sampler,
    pruner: str = "none",
    storage: str | None = None,
) -> PreparedSearch:
    """Read what the trials need, tokenize once for each maximum length among the choices, and try
    out every value on the files and the encoder.

    Raises RecipeError or DataError with everything that is wrong.
    """
    complaints, cache = Complaints(), Cache()
    with complaints.collecting():
        check_strategy(search.parameters, sampler, pruner, seeds_per_trial=search.seeds_per_trial)
    if storage is not None:
        with complaints.collecting():
            check_storage(storage)
    first = None
    with ready_to_fork():
        with complaints.collecting():
            first = prepare(search.recipe(search.first), cache)
        if first is not None:
            _try_values(search, first, cache, complaints)
    complaints.raise_any()
    assert first is not None, "else its error was raised"
    epochs = max(
        _epochs(search.recipe(search.first | {one.path: value}), cache)
        for one in search.parameters
        for value in one.tried
    )
    maximise = any(
        higher_is_better(stream.metrics[0]) for stream in first.streams.values() if stream.metrics
    )
    return PreparedSearch(search, sampler, pruner, storage, first, cache, epochs, maximise)


def _try_values(search: Search, first: Prepared, cache: Cache, complaints: Complaints) -> None:
    """Collect what files and encoder have against values that a trial could be given, and the
    lack of a metric to judge by.
    """
    if not any(stream.metrics for stream in first.streams.values()):
        complaints.errors.append(
            RecipeError(
                "metrics: no task has one to choose the best trial by. "
                "Name one: metrics=[accuracy]."
            )
        )
    conflicts = [
        problem
        for one in search.parameters
        for value in one.tried[1:]
        for problem in _objections(search, one, value, cache)
    ]
    if conflicts:
        complaints.errors.append(RecipeError(conflicts))
        return
    for one in search.parameters:
        for value in one.tried[1:] if one.kind == "choice" else ():
            with complaints.collecting():
                prepare(search.recipe(search.first | {one.path: value}), cache)


def _objections(search: Search, one: Parameter, value: Any, cache: Cache) -> list[Problem]:
    """The conflicts of files and encoder with a value, at the line that it is written in."""
    found = find_conflicts(search.recipe(search.first | {one.path: value}), cache)
    here = replace(one.entry, path=one.entry.path or one.path)
    return [
        problem
        if (problem.where, problem.line) == (one.entry.where, one.entry.line)
        else here.problem(str(problem))
        for problem in found
    ]


def _epochs(recipe: Recipe, cache: Cache) -> int:
    """The epochs of a trial; where they are open, they depend on its rows."""
    chosen = recipe.plan.epochs is None
    phases = prepare(recipe, cache).plan if chosen else phases_of(recipe)
    return sum(phase.epochs for phase in phases)

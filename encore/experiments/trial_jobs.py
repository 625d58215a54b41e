"""A trial as a job of plain data: the recipe of its search, and a ticket."""

from __future__ import annotations

import functools
import json
import weakref
from collections.abc import Callable
from pathlib import Path

from encore.errors import Problem, RecipeError
from encore.experiments.executors.jobs import Job
from encore.experiments.executors.ray_cluster import n_hosts
from encore.experiments.objective import SearchObjective
from encore.experiments.run_jobs import OtherMachine
from encore.experiments.search_preparation import PreparedSearch, prepare_search
from encore.experiments.search_space import search_from
from encore.experiments.trials import run_ticket

__all__ = ["check_shared_storage", "compute_trial", "trial_jobs"]

# Searches of this process, for as long as somebody else needs them.
_READY: weakref.WeakValueDictionary[str, PreparedSearch] = weakref.WeakValueDictionary()


def check_shared_storage(storage: str | None) -> None:
    """Raise RecipeError where trials would run on several machines and be kept in a file of SQLite,
    which loses what two of them write at once.
    """
    if storage is not None and not storage.startswith("sqlite"):
        return
    if (n := n_hosts()) > 1:
        raise RecipeError(
            Problem(
                where="--executor ray",
                message=f"the cluster has {n} machines, and SQLite serves one only.",
                remedy="Name a database that serves several: --storage postgresql://…",
            )
        )


def trial_jobs(search: PreparedSearch, runs: Path) -> Callable[[str], Job]:
    """Ticket → the job of running its trial, with runs in a folder."""
    trials = search.trials(runs)
    recipe = json.dumps([search.search.plain, search.sampler, search.pruner, search.storage])
    _READY[search.name] = search

    def job_of(ticket: str) -> Job:
        given = (search.name, recipe, str(runs.absolute()), trials.owner, ticket)
        return Job(f"trial-{ticket[:8]}", compute_trial, given)

    return job_of


def compute_trial(name: str, recipe: str, runs: str, owner: str, ticket: str) -> None:
    """Do the job. Raises OtherMachine where the recipe makes another search on this machine."""
    search, folder = _READY.get(name) or _prepared(name, recipe), Path(runs)
    run_ticket(search.trials(folder), SearchObjective(search, folder), ticket, owner)


@functools.lru_cache(maxsize=1)
def _prepared(name: str, recipe: str) -> PreparedSearch:
    plain, sampler, pruner, storage = json.loads(recipe)
    found = prepare_search(search_from(**plain), sampler=sampler, pruner=pruner, storage=storage)
    if found.name != name:
        raise OtherMachine(
            Problem(
                where=name,
                message=f"this machine makes {found.name} of its recipe "
                f"(precision {found.first.precision}, device {found.first.device}).",
                remedy="Take machines of one kind, or set precision=fp32 and threads=1.",
            )
        )
    return found

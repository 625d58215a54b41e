"""A run as a job of plain data: its name, its recipe, a folder, and whether to keep its weights.

Any process on any machine that sees the folder and the files of the recipe can do it. A process
that has prepared the run already, or a forked copy of one, does not read its rows again.
"""

from __future__ import annotations

import weakref
from pathlib import Path

from encore.errors import Problem, RecipeError
from encore.experiments.executors.jobs import Job
from encore.recipe.load import recipe_of_text
from encore.recipe.write import anchored, to_yaml
from encore.runs.cache import Cache
from encore.runs.execute import Watcher, execute_when_free
from encore.runs.prepare import prepare
from encore.runs.prepared import Prepared

__all__ = ["OtherMachine", "compute_run", "ready_run", "run_job"]

# Runs of this process, for as long as somebody else needs them, and what is read for new ones.
_READY: weakref.WeakValueDictionary[str, Prepared] = weakref.WeakValueDictionary()
_CACHE = Cache()


class OtherMachine(RecipeError):
    """The recipe makes another run on this machine than on the one that named it."""


def run_job(run: Prepared, runs: Path, *, keep_model: bool) -> Job:
    """The job of computing a run into a folder of runs."""
    _READY[run.name] = run
    recipe = to_yaml(anchored(run.recipe))
    return Job(run.name, compute_run, (run.name, recipe, str(runs.absolute()), keep_model))


def compute_run(
    name: str, recipe: str, runs: str, keep_model: bool, watch: Watcher | None = None
) -> None:
    """Do the job: compute the run, or find it complete. Raises like `ready_run` and `execute`."""
    execute_when_free(ready_run(name, recipe), Path(runs), keep_model=keep_model, watch=watch)


def ready_run(name: str, recipe: str) -> Prepared:
    """The prepared run of a recipe (YAML). Raises OtherMachine where its name is another here,
    DataError where this machine lacks a file.
    """
    if (known := _READY.get(name)) is not None:
        return known
    found = prepare(recipe_of_text(recipe, name), _CACHE)
    if found.name != name:
        here = f"precision {found.precision}, device {found.device}, threads {found.threads}"
        raise OtherMachine(
            Problem(
                where=name,
                message=f"this machine makes {found.name} of its recipe ({here}).",
                remedy="Take machines of one kind, or set precision=fp32 and threads=1; data and "
                "encoder have to be the same everywhere.",
            )
        )
    return found

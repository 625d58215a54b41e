"""The runs of a comparison as a list of jobs, jobs.json in its folder, from which workers on any
machine take them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from encore import files
from encore.errors import DataError, Problem, RecipeError
from encore.experiments.cells import CellRunner, predecessors
from encore.experiments.comparison import begin_comparison
from encore.experiments.preparation import PreparedComparison, distinct_runs
from encore.experiments.run_jobs import run_job

__all__ = ["CLAIMS", "JOBS", "SharedJob", "read_jobs", "write_jobs"]

JOBS, CLAIMS = "jobs.json", "claims"


@dataclass(frozen=True)
class SharedJob:
    """A run to be computed. label: study, variant, seed. recipe: as YAML. after: the runs that have
    to be complete before it.
    """

    name: str
    label: str
    recipe: str
    keep_model: bool
    after: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> SharedJob:
        """The inverse of `dataclasses.asdict`. Raises TypeError."""
        job = cls(**stored)
        return cls(job.name, job.label, job.recipe, job.keep_model, tuple(job.after))


def write_jobs(
    plan: PreparedComparison,
    runs: Path,
    *,
    keep_models: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write the comparison's folder with a job for every run that is not complete, and forget which
    runs failed; returns the folder. Raises RecipeError for a race, whose runs depend on results.
    """
    if plan.study.race is not None:
        raise RecipeError(
            Problem(
                where="--prepare",
                message="a race decides which runs it needs while they are computed.",
                remedy="Compare without --race, or take --executor ray.",
            )
        )
    folder = begin_comparison(plan, runs)
    runner = CellRunner(plan, runs, folder, None, keep_models, tell)
    runner.screened = True
    todo = runner.take(distinct_runs(plan.study.seeds, plan.cells))
    after, names = predecessors(todo), list(todo)
    jobs = []
    for number, (name, run) in enumerate(todo.items()):
        _, recipe, _, keep = run_job(run, runs, keep_model=runner.keeps(name)).arguments
        before = tuple(names[one] for one in after[number])
        jobs.append(SharedJob(name, runner.label(name), recipe, keep, before))
    with files.explained(folder):
        (folder / CLAIMS).mkdir(exist_ok=True)
        for failed in (folder / CLAIMS).glob("*.failed"):
            failed.unlink()
    runner.write_states(set(todo))
    files.write_json(folder / JOBS, [asdict(job) for job in jobs])
    return folder


def read_jobs(folder: Path) -> list[SharedJob]:
    """The jobs of a folder. Raises DataError where it has none."""
    remedy = "Prepare one, and name its folder: encore compare RECIPE --prepare"
    try:
        return [SharedJob.from_json(entry) for entry in files.read_json(folder / JOBS)]
    except FileNotFoundError:
        message = "is no prepared comparison."
    except (OSError, ValueError, TypeError) as error:
        message = f"its {JOBS} cannot be read ({type(error).__name__})."
    raise DataError(Problem(where=str(folder), message=message, remedy=remedy))

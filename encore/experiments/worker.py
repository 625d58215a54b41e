"""A worker: takes the jobs of a prepared comparison from its folder until none is left.

Any number of them may work at once, on any machines that share the folder of runs. A job whose
worker died is taken over. One that was done twice, because a worker was believed dead, is harmless:
runs are named by their content and written whole or not at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from encore import files
from encore.experiments.executors.claims import Claims, HeldJob, LostClaim
from encore.experiments.executors.jobs import NOT_STARTED, Job, problems_of_job
from encore.experiments.run_jobs import compute_run, ready_run
from encore.experiments.shared_jobs import CLAIMS, SharedJob, read_jobs
from encore.runs.places import is_kept, run_folder
from encore.tables.formatting import format_duration
from encore.training.reports import EvalReport, StepReport

__all__ = ["Work", "work"]

_MOST_DEATHS = 3  # of workers at the same job, before it counts as failed
_LONGEST_WAIT = 5.0  # seconds between two looks, while others are at work


@dataclass
class Work:
    """The outcome of a worker. computed: runs. n_jobs: of the comparison. failed: run → what went
    wrong, whoever tried it.
    """

    n_jobs: int
    computed: list[str] = field(default_factory=list)
    failed: dict[str, tuple[str, ...]] = field(default_factory=dict)


def work(
    folder: Path, *, tell: Callable[[str], None] = lambda line: None, claims: Claims | None = None
) -> Work:
    """Do the jobs of a prepared comparison, each after those that it starts from, until every one
    is complete or has failed. tell: takes a line about each that ends here.

    Raises DataError where the folder holds no jobs, RecipeError or DataError where this machine
    cannot do them: its hardware is another, or it lacks a file.
    """
    jobs = {job.name: job for job in read_jobs(folder)}
    worker = _Worker(folder, jobs, claims or Claims(folder / CLAIMS), tell, Work(len(jobs)))
    with files.explained(folder / CLAIMS):
        worker.claims.folder.mkdir(exist_ok=True)
    wait = 0.1
    while not (folder / files.MANIFEST).exists() and worker.left():
        if worker.does_one():
            wait = 0.1
        else:
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
    return worker.found


@dataclass
class _Worker:
    folder: Path
    jobs: Mapping[str, SharedJob]
    claims: Claims
    tell: Callable[[str], None]
    found: Work
    complete: set[str] = field(default_factory=set)

    def left(self) -> list[SharedJob]:
        """The jobs that are neither complete nor failed."""
        for name, job in self.jobs.items():
            if name in self.complete or name in self.found.failed:
                continue
            if self._is_complete(job):
                self.complete.add(name)
            elif problems := self._problems(job):
                self.found.failed[name] = problems
        done = {*self.complete, *self.found.failed}
        return [job for name, job in self.jobs.items() if name not in done]

    def does_one(self) -> bool:
        """Do the first job that can start and that nobody has; False where there is none."""
        for job in self.left():
            if not self.complete.issuperset(job.after):
                continue
            with self.claims.holding(job.name) as claim:
                if claim is None:
                    continue
                if not self._is_complete(job):  # another may have finished it in between
                    self._do(job, claim)
                return True
        return False

    def _do(self, job: SharedJob, claim: HeldJob) -> None:
        if claim.number > _MOST_DEATHS:
            why = f"{_MOST_DEATHS} workers died while they computed it. Is there too little memory?"
            self._fail(job, (why,))
            return
        ready_run(job.name, job.recipe)  # raises where it is this machine that cannot
        since, lost = time.monotonic(), False

        def watch(report: StepReport | EvalReport) -> None:
            claim.check()

        def compute() -> None:
            nonlocal lost
            try:
                runs = str(self.folder.absolute().parent)
                compute_run(job.name, job.recipe, runs, job.keep_model, watch)
            except LostClaim:
                lost = True

        problems = problems_of_job(Job(job.name, compute))
        if lost:
            self.tell(f"{job.label}: another worker has taken it over")
        elif problems:
            self._fail(job, problems)
        else:
            self.found.computed.append(job.name)
            seconds = format_duration(time.monotonic() - since)
            n_done = len(self.jobs) - len(self.left())
            self.tell(f"[{n_done}/{len(self.jobs)}] {job.label}: {job.name} ({seconds})")

    def _fail(self, job: SharedJob, problems: tuple[str, ...]) -> None:
        files.write_json(self.folder / CLAIMS / f"{job.name}.failed", list(problems))
        self.tell(f"{job.label}: FAILED: {problems[0]}")

    def _problems(self, job: SharedJob) -> tuple[str, ...]:
        """Why the job failed, or one that it starts from did; empty elsewhere."""
        try:
            return tuple(files.read_json(self.folder / CLAIMS / f"{job.name}.failed"))
        except (OSError, ValueError):
            lost = any(name in self.found.failed for name in job.after)
            return NOT_STARTED.problems if lost else ()

    def _is_complete(self, job: SharedJob) -> bool:
        folder = run_folder(self.folder.absolute().parent, job.name)
        return is_kept(folder) if job.keep_model else (folder / files.MANIFEST).exists()

"""One job after another in this process: for accelerators, which a forked process cannot use."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from encore.experiments.executors.jobs import End, Job, problems_of_job

__all__ = ["SerialExecutor"]


class SerialExecutor:
    """An `Executor` that runs each job here, in turn."""

    def run(self, jobs: Sequence[Job], on_end: Callable[[int, End], None]) -> None:
        """Run all jobs, in their order."""
        for number, job in enumerate(jobs):
            since = time.monotonic()
            problems = problems_of_job(job)
            on_end(number, End(time.monotonic() - since, problems))

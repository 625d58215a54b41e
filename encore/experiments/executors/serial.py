"""One job after another in this process: for accelerators, which a forked process cannot use."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from encore.experiments.executors.jobs import (
    NOT_STARTED,
    NOTHING,
    End,
    Job,
    Order,
    problems_of_job,
)

__all__ = ["SerialExecutor"]


class SerialExecutor:
    """An `Executor` that runs each job here, in turn."""

    def run(
        self,
        jobs: Sequence[Job],
        on_end: Callable[[int, End], None],
        after: Mapping[int, Collection[int]] = NOTHING,
    ) -> None:
        """Run all jobs, in their order."""
        order = Order(len(jobs), after)
        while (number := order.take()) is not None:
            since = time.monotonic()
            problems = problems_of_job(jobs[number])
            end = End(time.monotonic() - since, problems)
            on_end(number, end)
            for lost in order.end(number, end):
                on_end(lost, NOT_STARTED)

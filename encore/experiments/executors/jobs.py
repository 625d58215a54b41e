"""Jobs as data, the ends of jobs, and the protocol of executors, which take one and return the
other.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from encore.errors import EncoreError, first_line, hide_credentials

__all__ = ["End", "Executor", "Job", "NOTHING", "NOT_STARTED", "Order", "problems_of_job"]

NOTHING: Mapping[int, Collection[int]] = MappingProxyType({})


@dataclass(frozen=True)
class Job:
    """A call as data: function(*arguments, **options), so that an executor may make it here, in a
    copy of this process or on another machine.

    name: of its log file. function: a module's own function, no closure. An EncoreError that it
    raises is a failure whose lines are reported as they are.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self) -> Any:
        return self.function(*self.arguments, **self.options)


@dataclass(frozen=True)
class End:
    """The end of a job. problems: empty where it succeeded, else a line each."""

    seconds: float
    problems: tuple[str, ...] = ()


class Executor(Protocol):
    """Runs jobs.

    `run` returns when all have ended; it starts them in their order and calls on_end(position,
    end) in this process as each ends. A job that fails stops no other but those behind it. after:
    position → those of earlier jobs that have to succeed before it starts.
    """

    def run(
        self,
        jobs: Sequence[Job],
        on_end: Callable[[int, End], None],
        after: Mapping[int, Collection[int]] = NOTHING,
    ) -> None:
        """Run all jobs; see the class."""
        ...


class Order:
    """Which jobs may start: those whose predecessors have succeeded. after: of `Executor.run`."""

    def __init__(self, n_jobs: int, after: Mapping[int, Collection[int]]) -> None:
        self.waiting = list(range(n_jobs))
        self.after = after
        self.succeeded: set[int] = set()
        self.failed: set[int] = set()

    def take(self) -> int | None:
        """The next job to start, which waits no longer; None where each waits for another."""
        for number in self.waiting:
            if self.succeeded.issuperset(self.after.get(number, ())):
                self.waiting.remove(number)
                return number
        return None

    def end(self, number: int, end: End) -> list[int]:
        """Take the end of a job into account; returns those that can never start because of it."""
        (self.failed if end.problems else self.succeeded).add(number)
        lost = [one for one in self.waiting if not self.failed.isdisjoint(self.after.get(one, ()))]
        for one in lost:
            self.waiting.remove(one)
        return lost + [other for one in lost for other in self.end(one, NOT_STARTED)]


NOT_STARTED = End(0.0, ("the run that it starts from failed",))


def problems_of_job(job: Job) -> tuple[str, ...]:
    """Make the call and return what went wrong, a line each; the traceback of anything but an
    EncoreError goes to standard error.
    """
    try:
        job()
    except EncoreError as error:
        return tuple(line[:1000] for line in error.lines[:20])
    except Exception as error:
        print(hide_credentials(traceback.format_exc()), end="", file=sys.stderr)
        return (hide_credentials(first_line(error, 1000)),)
    return ()

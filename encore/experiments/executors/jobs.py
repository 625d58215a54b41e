"""Jobs as data, the ends of jobs, and the protocol of executors, which take one and return the
other.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from encore.errors import EncoreError, first_line, hide_credentials

__all__ = ["End", "Executor", "Job", "problems_of_job"]


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
    """Runs jobs that do not depend on each other.

    `run` returns when all have ended; it starts them in their order and calls on_end(position,
    end) in this process as each ends. A job that fails stops no other.
    """

    def run(self, jobs: Sequence[Job], on_end: Callable[[int, End], None]) -> None:
        """Run all jobs; see the class."""
        ...


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

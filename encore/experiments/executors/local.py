"""Several jobs at once, each in a process of its own that is a copy of this one: what has been read
is shared, and nothing that dies takes another along.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from encore.errors import EncoreError, first_line

__all__ = ["End", "Job", "run_all", "run_here"]

# a process that was killed (memory, a careless hand) is started once more; one that says why it
# failed is not
_TRIES = 2


@dataclass(frozen=True)
class Job:
    """name: of its log. do: what it does; an EncoreError is a failure that is told in its own
    words.
    """

    name: str
    do: Callable[[], Any]


@dataclass(frozen=True)
class End:
    """How a job ended. problems: empty where it did what it should."""

    seconds: float
    problems: tuple[str, ...] = ()


@dataclass
class _Running:
    job: Job
    number: int
    tries: int
    slot: int
    pid: int
    said: bytearray
    since: float


def run_here(jobs: Sequence[Job], on_end: Callable[[int, End], None]) -> None:
    """One after another in this process: for accelerators, which a copy of a process cannot use."""
    for number, job in enumerate(jobs):
        since = time.monotonic()
        problems = _problems(job)
        on_end(number, End(time.monotonic() - since, problems))


def run_all(
    jobs: Sequence[Job], n: int, logs: Path, on_end: Callable[[int, End], None], *, threads: int = 1
) -> None:
    """Run the jobs in their order, `n` at a time; `on_end(position, end)` is called here, as they
    end.

    Where they fill the machine each process is pinned to `threads` cores of its own. However this
    process dies, they die with it. The caller must not have started threads: what they hold at the
    moment of a fork is held for ever. What a process prints goes to a file in `logs`, which stays
    if there is any.
    """
    alive, held = os.pipe()  # the other end closes when this process is gone, whatever ended it
    slots, waiting = list(range(n)), [(number, job, 1) for number, job in enumerate(jobs)]
    running: dict[int, _Running] = {}
    try:
        while waiting or running:
            while waiting and slots:
                number, job, tries = waiting.pop(0)
                slot = slots.pop(0)
                # Ctrl-C waits until the copy is there: Python forgets what is raised while
                # libraries put themselves in order after a fork.
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
                try:
                    told, pid = _start(
                        job, _cores(slot, n, threads), alive, held, logs, list(running)
                    )
                    running[told] = _Running(
                        job, number, tries, slot, pid, bytearray(), time.monotonic()
                    )
                finally:
                    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            for told in select.select(list(running), [], [])[0]:
                one = running[told]
                said = os.read(told, 65536)
                if said:
                    one.said += said
                    continue
                os.close(told)
                status = os.waitpid(one.pid, 0)[1]
                del running[told]
                slots.insert(0, one.slot)
                seconds = time.monotonic() - one.since
                if one.said:
                    on_end(one.number, End(seconds, tuple(json.loads(one.said))))
                elif one.tries < _TRIES:
                    waiting.insert(0, (one.number, one.job, one.tries + 1))
                else:
                    on_end(
                        one.number, End(seconds, (f"{_ending(status)}, {_TRIES} times. {_REMEDY}",))
                    )
    finally:
        for told, one in running.items():
            os.kill(one.pid, signal.SIGKILL)
            os.waitpid(one.pid, 0)
            os.close(told)
        os.close(alive)
        os.close(held)


_REMEDY = (
    "Is there too little memory? Fewer at once (--processes 1) or smaller batches "
    "(plan.micro_batch=8) need less."
)


def _start(
    job: Job, cores: set[int], alive: int, held: int, logs: Path, others: Sequence[int]
) -> tuple[int, int]:
    """(where it will say how it ended, its process)."""
    told, say = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        for handle in (held, told, *others):
            os.close(handle)
        _child(job, cores, alive, say, logs)
    os.close(say)
    return told, pid


def _child(job: Job, cores: set[int], alive: int, say: int, logs: Path) -> NoReturn:
    code = 1
    try:
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # Ctrl-C reaches the whole group; the parent sees to it
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        threading.Thread(target=_end_with, args=(alive,), daemon=True).start()
        log = logs / f"{job.name}.txt"
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout = sys.stderr = os.fdopen(
            handle, "w", encoding="utf-8", errors="replace"
        )  # whatever they were (a notebook's, say)
        if cores:
            os.sched_setaffinity(0, cores)
        problems = _problems(job)
        sys.stdout.flush()
        sys.stderr.flush()
        if not log.stat().st_size:
            log.unlink()
        os.write(say, json.dumps(problems).encode())
        code = 0
    finally:
        os._exit(code)  # no exit handlers: they are the parent's


def _end_with(alive: int) -> None:
    os.read(alive, 1)  # returns when there is nobody left who could write
    os._exit(1)


def _problems(job: Job) -> tuple[str, ...]:
    try:
        job.do()
    except EncoreError as error:
        return tuple(line[:1000] for line in error.lines[:20])
    except Exception as error:
        traceback.print_exc()
        return (first_line(error, 1000),)
    return ()


def _cores(slot: int, n: int, threads: int) -> set[int]:
    if not hasattr(os, "sched_getaffinity"):
        return set()
    mine = sorted(os.sched_getaffinity(0))
    return set(mine[slot * threads : (slot + 1) * threads]) if n * threads == len(mine) else set()


def _ending(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return (
        f"its process was killed (signal {-code})"
        if code < 0
        else f"its process ended with exit code {code}"
    )

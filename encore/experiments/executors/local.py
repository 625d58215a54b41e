"""Several jobs at once, each in a forked process: what this process has read is shared with them,
and one that dies takes no other along.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path

from encore.experiments.executors.jobs import (
    NOT_STARTED,
    NOTHING,
    End,
    Job,
    Order,
    problems_of_job,
)

__all__ = ["LocalExecutor"]

# A process that was killed (no memory left, `kill`) is started once more; one that reports why it
# failed is not.
_TRIES = 2
_REMEDY = (
    "Is there too little memory? Fewer at once (--processes 1) or smaller batches "
    "(plan.micro_batch=8) need less."
)
_FORK = multiprocessing.get_context("fork")


@dataclass
class _Running:
    job: Job
    number: int
    tries: int
    slot: int
    process: ForkProcess
    since: float


@dataclass(frozen=True)
class LocalExecutor:
    """An `Executor` that forks a process for each job, `n` at a time.

    logs: a folder for what processes print; empty files are removed. threads: of each process;
    where n times threads fill the machine, each process is pinned to cores of its own. However
    this process dies, the others die with it. The caller must not have started threads: a lock
    that one of them holds at the moment of a fork is held for ever.
    """

    n: int
    logs: Path
    threads: int = 1

    def run(
        self,
        jobs: Sequence[Job],
        on_end: Callable[[int, End], None],
        after: Mapping[int, Collection[int]] = NOTHING,
    ) -> None:
        """Run all jobs; a process that is killed is started once more."""
        order = Order(len(jobs), after)

        def ended(number: int, end: End) -> None:
            on_end(number, end)
            for lost in order.end(number, end):
                on_end(lost, NOT_STARTED)

        # The other end closes when this process is gone, whatever ended it.
        alive, held = os.pipe()
        slots, again = list(range(self.n)), list[tuple[int, int]]()  # (number, its next try)
        running: dict[Connection, _Running] = {}
        try:
            while again or order.waiting or running:
                while slots:
                    if again:
                        number, tries = again.pop(0)
                    elif (taken := order.take()) is not None:
                        number, tries = taken, 1
                    else:
                        break
                    job, slot = jobs[number], slots.pop(0)
                    # Ctrl-C waits until the process is registered: Python loses an exception that
                    # is raised while libraries run their hooks after a fork.
                    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
                    try:
                        receiver, process = self._start(job, slot, alive, held)
                        running[receiver] = _Running(
                            job, number, tries, slot, process, time.monotonic()
                        )
                    finally:
                        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
                ready = wait(list(running))
                for receiver in [each for each in running if each in ready]:
                    one, problems = running[receiver], _received(receiver)
                    one.process.join()
                    del running[receiver]
                    slots.insert(0, one.slot)
                    seconds = time.monotonic() - one.since
                    if problems is not None:
                        ended(one.number, End(seconds, problems))
                    elif one.tries < _TRIES:
                        again.append((one.number, one.tries + 1))
                    else:
                        why = f"{_ending(one.process)}, {_TRIES} times. {_REMEDY}"
                        ended(one.number, End(seconds, (why,)))
        finally:
            for receiver, one in running.items():
                one.process.kill()
                one.process.join()
                receiver.close()
            os.close(alive)
            os.close(held)

    def _start(self, job: Job, slot: int, alive: int, held: int) -> tuple[Connection, ForkProcess]:
        """Fork a process; the connection receives the job's problems, or closes without them."""
        receiver, sender = _FORK.Pipe(duplex=False)
        process = _FORK.Process(
            target=_child, args=(job, self._cores(slot), self.logs, sender, alive, held)
        )
        process.start()
        sender.close()
        return receiver, process

    def _cores(self, slot: int) -> set[int]:
        if not hasattr(os, "sched_getaffinity"):
            return set()
        mine = sorted(os.sched_getaffinity(0))
        if self.n * self.threads != len(mine):
            return set()
        return set(mine[slot * self.threads : (slot + 1) * self.threads])


def _received(receiver: Connection) -> tuple[str, ...] | None:
    """A job's problems; None where its process died before it could send them."""
    with receiver:
        try:
            return tuple(json.loads(receiver.recv_bytes()))
        except (EOFError, OSError):
            return None


def _child(
    job: Job, cores: set[int], logs: Path, sender: Connection, alive: int, held: int
) -> None:
    code = 1
    try:
        # Ctrl-C reaches the whole group of processes; the parent handles it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        os.close(held)
        threading.Thread(target=_end_with, args=(alive,), daemon=True).start()
        log = logs / f"{job.name}.txt"
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        # Whatever they were before: those of a notebook, say.
        sys.stdout = sys.stderr = os.fdopen(handle, "w", encoding="utf-8", errors="replace")
        if cores:
            os.sched_setaffinity(0, cores)
        problems = problems_of_job(job)
        sys.stdout.flush()
        sys.stderr.flush()
        if not log.stat().st_size:
            log.unlink()
        sender.send_bytes(json.dumps(problems).encode())
        code = 0
    finally:
        os._exit(code)  # no exit handlers: they are the parent's


def _end_with(alive: int) -> None:
    os.read(alive, 1)  # returns when nobody is left who could write
    os._exit(1)


def _ending(process: ForkProcess) -> str:
    code = process.exitcode or 0
    return (
        f"its process was killed (signal {-code})"
        if code < 0
        else f"its process ended with exit code {code}"
    )

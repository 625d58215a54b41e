"""Leaves a mark in the file of the variable MARKS where a run begins to train and where it has
ended: "start NAME PID", "end NAME PID". Importing it is enough; `compute_run` is for processes that
import nothing else, and `python -c "import marked; marked.main()" …` is the command line.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from encore.experiments import run_jobs
from encore.experiments.run_jobs import compute_run as really_compute
from encore.runs import execute
from encore.runs.writer import RunWriter

_train, _finish = execute._train, RunWriter.finish


def mark(what: str, name: str) -> None:
    if file := os.environ.get("MARKS"):
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.write(handle, f"{what} {name} {os.getpid()}\n".encode())
        os.close(handle)


def train(prepared: Any, folder: Path, *given: Any, **how: Any) -> Any:
    mark("start", folder.name)
    return _train(prepared, folder, *given, **how)


def finish(writer: RunWriter, prepared: Any) -> Any:
    result = _finish(writer, prepared)
    mark("end", prepared.name)
    return result


execute._train = train
RunWriter.finish = finish  # type: ignore[method-assign]


def compute_run(name: str, recipe: str, runs: str, keep_model: bool) -> None:
    really_compute(name, recipe, runs, keep_model)


def die() -> None:
    """Kill this process, as the system does where memory is short."""
    mark("dies", "-")
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    from encore.cli.app import main as command_line

    run_jobs.compute_run = compute_run
    command_line(sys.argv[1:])

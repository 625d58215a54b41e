"""The executors by name: `serial`, `local`, `ray`."""

from __future__ import annotations

from pathlib import Path

from encore.errors import Problem, RecipeError, format_given
from encore.experiments.executors.jobs import Executor
from encore.experiments.executors.local import LocalExecutor
from encore.experiments.executors.serial import SerialExecutor
from encore.runs.hardware import cores

__all__ = ["EXECUTORS", "check_executor", "executor_for"]

EXECUTORS = ("serial", "local", "ray")
_WHERE = "--executor"


def check_executor(name: str | None, *, in_process: bool = False) -> None:
    """Raise RecipeError where there is no executor of this name, where it cannot run here, or,
    with `in_process`, where it cannot use an accelerator.
    """
    if name is None:
        return
    if name not in EXECUTORS:
        raise RecipeError(
            Problem(
                where=_WHERE,
                expected=f"{', '.join(EXECUTORS[:-1])} or {EXECUTORS[-1]}",
                got=format_given(name),
            )
        )
    if name == "local" and in_process:
        raise RecipeError(
            Problem(
                where=f"{_WHERE} local",
                message="its processes are forked, and a forked process cannot use a GPU.",
                remedy="Take serial, or ray, which gives each run a GPU of its own.",
            )
        )
    if name == "ray":
        from encore.experiments.executors.ray_cluster import require_ray

        require_ray()


def executor_for(
    n_jobs: int,
    processes: int | None,
    threads: int,
    logs: Path,
    *,
    in_process: bool,
    name: str | None = None,
) -> Executor:
    """The executor of a command. processes: jobs at once; None: as many as the machine has cores
    for, on a cluster as many as it has room for. in_process: the jobs need an accelerator, so they
    cannot be forked. name: one of `EXECUTORS`; None: local, or serial with an accelerator. Raises
    like `check_executor`.
    """
    check_executor(name, in_process=in_process)
    if name == "ray":
        from encore.experiments.executors.ray_cluster import RayExecutor

        return RayExecutor(logs, threads, int(in_process), processes)
    if in_process or name == "serial":
        return SerialExecutor()
    at_once = processes or max(1, cores() // threads)
    return LocalExecutor(min(n_jobs, at_once), logs, threads)

"""Jobs on the machines of a Ray cluster, one task each, that share a folder.

A job goes there as JSON: the name of a function, and arguments. A task whose node or process is
lost is started again elsewhere. Without a cluster (`RAY_ADDRESS`, or `ray.init` before the call)
Ray is started on this machine until the jobs have ended, and listens on 127.0.0.1 only.

Source: Moritz et al., Ray: A Distributed Framework for Emerging AI Applications, 2018.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encore import files
from encore.errors import Problem, RecipeError, TrainingError, first_line
from encore.experiments.executors.jobs import (
    NOT_STARTED,
    NOTHING,
    End,
    Job,
    Order,
    problems_of_job,
)
from encore.runs.hardware import cores

__all__ = ["RayExecutor", "n_hosts", "require_ray"]

_RETRIES = 3  # of a task whose node or process was lost; one that reports why it failed has none
_LOOPBACK = "127.0.0.1"
# Read when ray is imported. Without clusters, a node's address is the loopback one, to which
# everything that Ray starts is then bound; otherwise it is bound to every address of the machine.
_PRIVATE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
_PATIENCE = 10.0  # seconds
_OBJECT_BYTES = 100 * 2**20  # jobs and their ends are short texts


def require_ray() -> None:
    """Raise RecipeError where ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise RecipeError(
            Problem(
                where="--executor ray",
                message="needs ray, which is not installed.",
                remedy="pip install 'encore-nlp[ray]'",
            )
        )


def n_hosts() -> int:
    """Machines of the cluster that `RayExecutor` would use; 1 where it would start its own."""
    if not os.environ.get("RAY_ADDRESS") and not _imported().is_initialized():
        return 1
    with _connected(1) as ray:
        return len({node.get("NodeManagerHostname") for node in ray.nodes() if node.get("Alive")})


@dataclass(frozen=True)
class RayExecutor:
    """An `Executor` that makes each job a task of Ray. Arguments of jobs are what JSON can hold.

    logs: a shared folder for what jobs print. threads: cores of a task. gpus: of a task. at_once:
    tasks at the same time at most; None: as many as the cluster has room for.
    """

    logs: Path
    threads: int = 1
    gpus: int = 0
    at_once: int | None = None

    def run(
        self,
        jobs: Sequence[Job],
        on_end: Callable[[int, End], None],
        after: Mapping[int, Collection[int]] = NOTHING,
    ) -> None:
        """Run all jobs; one whose node or process is lost is started again, thrice at most."""
        texts = [as_text(job, self.logs) for job in jobs]
        order, running = Order(len(jobs), after), dict[Any, int]()
        with _connected(self.threads * (self.at_once or max(1, cores() // self.threads))) as ray:
            self._require_room(ray)
            task = ray.remote(
                num_cpus=self.threads, num_gpus=self.gpus, max_retries=_RETRIES, max_calls=0
            )(do_text)
            try:
                while order.waiting or running:
                    while self.at_once is None or len(running) < self.at_once:
                        if (number := order.take()) is None:
                            break
                        one = task.options(name=jobs[number].name)
                        running[one.remote(texts[number])] = number
                    for ended in ray.wait(list(running))[0]:
                        number, end = running.pop(ended), _end_of(ray, ended)
                        on_end(number, end)
                        for lost in order.end(number, end):
                            on_end(lost, NOT_STARTED)
            finally:
                for left in running:
                    ray.cancel(left, force=True)

    def _require_room(self, ray: Any) -> None:
        """Raise TrainingError where no node could ever start a job: Ray would wait for one."""
        nodes = [node.get("Resources", {}) for node in ray.nodes() if node.get("Alive")]
        wanted = {"CPU": self.threads, "GPU": self.gpus}
        if not any(all(node.get(what, 0) >= n for what, n in wanted.items()) for node in nodes):
            gpu = " and a GPU" if self.gpus else ""
            raise TrainingError(
                Problem(
                    where="--executor ray",
                    message=f"no node of the cluster has {self.threads} cores{gpu} for a run.",
                    remedy="Add such a node; threads=1 in the recipe asks for one core.",
                )
            )


def as_text(job: Job, logs: Path) -> str:
    """A job as JSON. Raises TypeError where it is no data: a closure, an object as argument."""
    function = job.function
    if "<" in function.__qualname__:
        raise TypeError(f"{job.name}: {function.__qualname__} is no module's own function")
    place = [function.__module__, function.__qualname__]
    return json.dumps([*place, job.arguments, job.options, job.name, str(logs.absolute())])


def do_text(text: str) -> str:
    """Do the job of `as_text`; returns seconds and problems as JSON. What it prints goes to its
    log file.
    """
    since, printed = time.monotonic(), io.StringIO()
    module, function, arguments, options, name, logs = json.loads(text)
    call = getattr(importlib.import_module(module), function)
    job = Job(name, call, tuple(arguments), options)
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        problems = problems_of_job(job)
    if printed.getvalue():
        files.write(Path(logs) / f"{name}.txt", printed.getvalue().encode())
    return json.dumps([time.monotonic() - since, problems])


def _end_of(ray: Any, task: Any) -> End:
    try:
        seconds, problems = json.loads(ray.get(task))
    except ray.exceptions.RayError as error:
        why = (
            f"its task was lost {_RETRIES + 1} times ({first_line(error, 300)}). Is there too "
            f"little memory? Smaller batches (plan.micro_batch=8) need less."
        )
        return End(0.0, (why,))
    return End(seconds, tuple(problems))


def _imported() -> Any:
    os.environ.update(_QUIET)
    if not os.environ.get("RAY_ADDRESS"):
        os.environ.update(_PRIVATE)
    return importlib.import_module("ray")


@contextlib.contextmanager
def _connected(n_cores: int) -> Iterator[Any]:
    """Ray, connected to the user's cluster, or to one that is started here and ends with the
    context. Raises TrainingError where neither can be had.
    """
    ray, address = _imported(), os.environ.get("RAY_ADDRESS")
    if ray.is_initialized():
        yield ray
        return
    own = {} if address else {"num_cpus": n_cores, "object_store_memory": _OBJECT_BYTES}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if address:
            _require_reachable(address)
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            configure_logging=False,
            **own,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise TrainingError(
            Problem(
                where=f"RAY_ADDRESS={address}" if address else "--executor ray",
                message=f"Ray cannot be reached ({first_line(error, 300).rstrip('.')}).",
                remedy="Is the cluster running, with the same versions of ray and Python?",
            )
        ) from error
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, handler)  # Ray has put its own in the place of ours
    try:
        if not address and ray.util.get_node_ip_address() != _LOOPBACK:
            raise TrainingError(
                Problem(
                    where="--executor ray",
                    message="ray was imported before, and would listen on every address.",
                    remedy="Import encore first, or set RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0.",
                )
            )
        yield ray
    finally:
        ray.shutdown()


def _require_reachable(address: str) -> None:
    """Raise OSError where nobody listens at HOST:PORT: Ray would try for a quarter of an hour."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if port.isdigit():  # not "auto"
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()

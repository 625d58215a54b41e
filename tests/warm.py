"""A process that has imported torch and all of Encore, and forks a child for each command line it
is given. Started by the fixture `warm`.

One JSON object per line on standard input, one per line on standard output.
    {"do": "start", "arguments": […], "how": {…}}           → {"pid": …}
    {"do": "wait", "pid": …, "kill_after": seconds | null}  → {"code": …, "seconds": …, "out": …,
      "err": …, "n_operations": …}

how (everything is done to the child alone; the product has no such hooks):
    checkpoint_steps   a checkpoint every so many steps, besides those at the ends of epochs
    die_at             SIGKILL at the n-th file operation (fsync, rename, unlink, a safetensors
                       file), which leaves a file that was being written torn
    die_in             not the child itself but the first of its own processes that comes to its
                       n-th operation; it leaves a file of this name
    slow               seconds to sleep at every file operation
    limit_bytes        no file may grow beyond this (RLIMIT_FSIZE), which is how a full disk looks
    cwd                working directory
    undrawn            `encore tune` draws no pictures, which takes it longer than all else on a
                       tiny encoder
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import functools
import importlib
import json
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import safetensors.torch
import torch

import encore.api
import encore.cli.app
import encore.runs.execute

# What a first run imports on its way; the optimiser alone pulls in torch's compiler (2 s).
for name in (
    "encore.api",
    "encore.encoder.families.bert",
    "encore.evaluation.estimates",
    "encore.techniques.heads.linear",
    "encore.techniques.plans.fine_tune",
    "encore.techniques.pooling.pooler",
    "encore.runs.predict",
    "encore.cli.progress",
    "encore.report.search_figures",
    "pyarrow.csv",
    "pyarrow.dataset",
    "pyarrow.json",
    "scipy.stats",
    "sklearn.feature_extraction.text",
    "sklearn.linear_model",
    "sklearn.metrics",
    "torch._dynamo",
    "torch.fx.experimental.symbolic_shapes",
):
    importlib.import_module(name)


def main() -> None:
    torch.set_num_threads(1)
    running: dict[int, _Running] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["do"] == "start":
            started = _Running(asked["arguments"], asked["how"])
            running[started.pid] = started
            answer: dict[str, Any] = {"pid": started.pid}
        else:
            answer = running.pop(asked["pid"]).outcome(asked["kill_after"])
        print(json.dumps(answer), flush=True)


class _Running:
    """A child. Its output waits in pipes, which hold 64 KiB: no file of its own that a file size
    limit could touch.
    """

    def __init__(self, arguments: list[str], how: dict[str, Any]) -> None:
        self.begun = time.monotonic()
        self.pipes = {name: os.pipe() for name in ("out", "err", "n_operations")}
        self.pid = os.fork()
        if self.pid == 0:
            _child(arguments, how, {name: write for name, (_, write) in self.pipes.items()})
        for _, write in self.pipes.values():
            os.close(write)

    def outcome(self, kill_after: float | None) -> dict[str, Any]:
        code = self._code(kill_after)
        seconds = time.monotonic() - self.begun
        texts = {}
        for name, (read, _) in self.pipes.items():
            with os.fdopen(read, encoding="utf-8", errors="replace") as file:
                texts[name] = file.read()
        return {
            "code": code,
            "seconds": seconds,
            **texts,
            "n_operations": int(texts["n_operations"] or 0),
        }

    def _code(self, kill_after: float | None) -> int:
        if kill_after is not None:
            until = time.monotonic() + kill_after
            while time.monotonic() < until:
                found, status = os.waitpid(self.pid, os.WNOHANG)
                if found:
                    return os.waitstatus_to_exitcode(status)
                time.sleep(0.002)
            os.kill(self.pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def _child(arguments: list[str], how: dict[str, Any], pipes: dict[str, int]) -> None:
    """Never returns."""
    code = 1
    operations = _Operations(how.get("die_at"), how.get("slow", 0.0), how.get("die_in"))
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(pipes["out"], 1)
        os.dup2(pipes["err"], 2)
        sys.argv = ["encore", *arguments]
        _prepare(how)
        operations.watch()
        encore.cli.app.main(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(pipes["n_operations"], str(operations.count).encode())
        os._exit(code)


def _prepare(how: dict[str, Any]) -> None:
    if "cwd" in how:
        os.chdir(how["cwd"])
    if "limit_bytes" in how:
        resource.setrlimit(resource.RLIMIT_FSIZE, (how["limit_bytes"], resource.RLIM_INFINITY))
    if how.get("undrawn"):
        encore.api.draw_search = lambda *_: None
    if "checkpoint_steps" in how:
        encore.runs.execute.execute = functools.partial(
            encore.runs.execute.execute, checkpoint_steps=how["checkpoint_steps"]
        )


class _Operations:
    """Counts what makes files appear, move or vanish; dies at one of them."""

    def __init__(self, die_at: int | None, slow: float, die_in: str | None) -> None:
        self.die_at, self.slow, self.die_in, self.count = die_at, slow, die_in, 0
        self.child = self.owner = os.getpid()

    def watch(self) -> None:
        for module, name in (
            (os, "fsync"),
            (os, "rename"),
            (os, "replace"),
            (os, "unlink"),
            (safetensors.torch, "save_file"),
        ):
            setattr(module, name, self._watched(getattr(module, name), name))

    def _watched(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def counted(*arguments: Any, **named: Any) -> Any:
            if os.getpid() != self.owner:  # a copy counts for itself
                self.owner, self.count = os.getpid(), 0
            self.count += 1
            time.sleep(self.slow)
            if self.count == self.die_at and self._chosen():
                self._die(function, name, arguments)
            return function(*arguments, **named)

        return counted

    def _chosen(self) -> bool:
        if self.die_in is None:
            return self.owner == self.child
        if self.owner == self.child:
            return False
        try:
            os.close(os.open(self.die_in, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True

    def _die(self, function: Callable[..., Any], name: str, arguments: tuple[Any, ...]) -> None:
        """Half of the safetensors file; a part of what was to be synced; for the rest, just before
        it happens.
        """
        torn = None
        if name == "save_file":
            function(*arguments)
            torn = str(arguments[1])
        elif name == "fsync":
            torn = os.readlink(f"/proc/self/fd/{arguments[0]}")
        if torn is not None and os.path.isfile(torn):
            size = os.path.getsize(torn)
            # What an earlier fsync has returned for is on the disk: of the step log, only the last
            # line can be torn.
            os.truncate(torn, size // 2 if ".part" in torn else max(0, size - 10))
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
    os._exit(0)  # torch takes seconds to tear itself down

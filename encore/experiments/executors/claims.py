"""Claims of workers on jobs, as files in a folder that several machines share: at most one worker
has a job, and that of a worker which died is taken over.

NAME.1 is the first claim on a job. It appears atomically, and its owner renews its date while it
works. Whoever finds it silent for too long creates NAME.2, which only one can, and so on. Within a
machine the kernel tells at once that an owner died: it holds a lock on its claim. Ages are compared
by the clock of the file server, which sets all dates.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from encore import files

__all__ = ["Claims", "HeldJob", "LostClaim"]

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class LostClaim(Exception):
    """Another worker has taken the job over, since this one was silent for too long."""


class HeldJob:
    """A job that a worker has claimed, until it is released. number: of the owners that it had."""

    def __init__(self, path: Path, number: int, silent_after: float) -> None:
        self.path, self.number, self.silent_after = path, number, silent_after
        self.renewed = time.time()

    def renew(self) -> None:
        """Give a sign of life. Raises LostClaim."""
        if not self.path.exists() or _later(self.path, self.number).exists():
            raise LostClaim
        os.utime(self.path)
        self.renewed = time.time()

    def check(self) -> None:
        """Raise LostClaim where this process was stopped for so long that another may have taken
        the job.
        """
        if time.time() - self.renewed > self.silent_after / 2:
            self.renew()


@dataclass(frozen=True)
class Claims:
    """The claims in a folder. renew_after: seconds between the signs of life of an owner.
    silent_after: seconds of silence after which an owner counts as dead.
    """

    folder: Path
    renew_after: float = 30.0
    silent_after: float = 180.0  # clients of a file server may see dates a minute late

    @contextlib.contextmanager
    def holding(self, name: str) -> Iterator[HeldJob | None]:
        """A context in which this process alone has the job; None where another has it."""
        with contextlib.ExitStack() as stack:
            yield self._taken(name, stack)

    def _taken(self, name: str, stack: contextlib.ExitStack) -> HeldJob | None:
        last = self._last(name)
        if last and not self._is_dead(self.folder / f"{name}.{last}"):
            return None
        path = self.folder / f"{name}.{last + 1}"
        with files.explained(path):
            try:
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:
                return None
            stack.callback(os.close, handle)
            with contextlib.suppress(OSError):  # a file server without locks
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(handle, f"{_machine()} {socket.gethostname()} {os.getpid()}\n".encode())
        claim = HeldJob(path, last + 1, self.silent_after)
        done = threading.Event()
        thread = threading.Thread(target=self._renew, args=(claim, done), daemon=True)
        thread.start()
        stack.callback(self._release, claim, done, thread)
        return claim

    def _renew(self, claim: HeldJob, done: threading.Event) -> None:
        while not done.wait(self.renew_after):
            try:
                claim.renew()
            except LostClaim:
                return
            except OSError:  # the server does not answer: the next sign is soon enough
                continue

    def _release(self, claim: HeldJob, done: threading.Event, thread: threading.Thread) -> None:
        done.set()
        thread.join()
        name = claim.path.name.rpartition(".")[0]
        for number in range(1, claim.number + 1):
            (self.folder / f"{name}.{number}").unlink(missing_ok=True)

    def _last(self, name: str) -> int:
        """The number of the last claim; 0 where nobody has the job."""
        found = (
            path.name.rpartition(".")[2] for path in self.folder.glob(f"{glob.escape(name)}.*")
        )
        return max((int(number) for number in found if number.isdigit()), default=0)

    def _is_dead(self, path: Path) -> bool:
        try:
            with path.open("rb") as file:
                machine = file.read().decode().partition(" ")[0]
                if machine == _machine():
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    return True
            clock = self.folder / "clock"
            clock.touch()
            return clock.stat().st_mtime - path.stat().st_mtime > self.silent_after
        except OSError:  # alive and of this machine; or released in between
            return False


def _later(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name.rpartition('.')[0]}.{number + 1}")


def _machine() -> str:
    """The running kernel, whose locks every process on the machine sees, in containers too."""
    with contextlib.suppress(OSError):
        return _BOOT.read_text().strip()
    return socket.gethostname()

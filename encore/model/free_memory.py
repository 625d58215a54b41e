"""The memory that this process may still take: of the machine, of its containers, of `ulimit`; and
what it gives back.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["free_bytes", "keeping_freed_memory", "resident_bytes", "return_free_pages"]

_ROOT = Path("/")
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_UNLIMITED = 1 << 60  # cgroup v1 writes a number near 2**63 where there is no limit


def free_bytes(root: Path = _ROOT) -> int | None:
    """Bytes that this process may still take: the machine's free memory, or less where a control
    group (version 1 or 2) or `ulimit -v` allows less. None where the system does not report it.

    root: where /proc and /sys are, for tests.
    """
    found = [*_of_machine(root), *_of_groups(root), *_of_ulimit(root)]
    if not found:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return max(0, min(found)) if found else None


@contextlib.contextmanager
def keeping_freed_memory() -> Iterator[None]:
    """Inside, what is freed stays with the process, for the next one who asks: every step frees and
    takes the same large blocks, and to get new ones from the system, page by page, cost up to a
    tenth of a step on short texts. Given back at the end. Of glibc only; elsewhere nothing changes.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_MMAP_THRESHOLD, 64 << 20)  # larger blocks are mapped one by one
        libc.mallopt(_TRIM_THRESHOLD, 1 << 30)
    except (OSError, AttributeError):
        yield
        return
    try:
        yield
    finally:
        return_free_pages()


def resident_bytes() -> int:
    """The resident memory of this process; where the system does not report it, the greatest so
    far.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        return _pages(_ROOT, 1) * resource.getpagesize()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def return_free_pages() -> None:
    """Give the pages that malloc holds and nobody uses back to the system; without glibc, do
    nothing. Batches of many sizes leave gaps that malloc never returns by itself: 130 bytes per
    short row, measured over a million rows.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _of_machine(root: Path) -> Iterator[int]:
    with contextlib.suppress(OSError, ValueError, IndexError, KeyError):
        lines = (root / "proc/meminfo").read_text().splitlines()
        entries = dict(line.split(":", 1) for line in lines if ":" in line)
        yield int(entries["MemAvailable"].split()[0]) * 1024


_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = ("memory.max", "memory.current", "inactive_file")
_MOUNTS = (("sys/fs/cgroup", _V2), ("sys/fs/cgroup/unified", _V2), ("sys/fs/cgroup/memory", _V1))


def _of_groups(root: Path) -> Iterator[int]:
    """The bytes that the control groups of this process, and those around them, still allow."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for _, controllers, path in (line.split(":", 2) for line in lines):
        version = _V1 if "memory" in controllers.split(",") else None if controllers else _V2
        for top, names in ((root / mount, names) for mount, names in _MOUNTS if names is version):
            own = top / path.lstrip("/")
            # Inside a container the path is often that of the host, and only the top is there.
            for folder in (own, *own.parents):
                if folder.is_relative_to(top):
                    yield from _left(folder, *names)


def _left(group: Path, limit: str, usage: str, reclaimable: str) -> Iterator[int]:
    """The bytes that a control group still allows: its limit less its use, of which the kernel
    gives back the pages of files that nobody has read lately.
    """
    with contextlib.suppress(OSError, ValueError):
        most = int((group / limit).read_text())  # "max" is no number
        if most >= _UNLIMITED:
            return
        used = int((group / usage).read_text())
        with contextlib.suppress(OSError, ValueError):
            stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            used -= int(stat.get(reclaimable, 0))
        yield most - used


def _of_ulimit(root: Path) -> Iterator[int]:
    """The bytes that `ulimit -v` leaves of the address space."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        with contextlib.suppress(OSError, ValueError, IndexError):
            yield limit - _pages(root, 0) * resource.getpagesize()


def _pages(root: Path, column: int) -> int:
    """A column of statm: 0 is the size of the address space, 1 what of it is resident."""
    return int((root / "proc/self/statm").read_text().split()[column])

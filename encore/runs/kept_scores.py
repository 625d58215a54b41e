"""Keeps the raw scores of a long prediction on disk, so that it can be resumed after a kill.

The file lies beside the output, `.NAME.scores`: a header with the digest of everything that
determines the scores, then for each window of rows their number, a sha256 and the scores, float32.
A record that is cut off or damaged ends what is kept, and the rest is computed again.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from encore import files
from encore.data.table import display_path
from encore.errors import Problem, RecipeError, TrainingError

__all__ = ["KeptScores", "kept_scores"]

_MAGIC = b"encore scores 1\n"
_COUNT = struct.Struct("<Q")
_HEAD = _COUNT.size + hashlib.sha256().digest_size


class KeptScores:
    """The kept scores of one prediction, window by window: first those of an earlier try, in its
    order, then those that are added. n_scores: numbers per row. n_found: rows that an earlier try
    left. n_rows: rows that are kept and were read or added. dropped: why scores that an earlier
    try left are dropped; "" where there were none.
    """

    def __init__(self, file: BinaryIO, key: bytes, n_scores: int, dropped: str) -> None:
        self._file, self._key, self._n_scores = file, key, n_scores
        self.dropped = dropped
        self._at = len(_MAGIC) + len(key)
        self.n_found, self.n_rows = self._found(), 0

    def _found(self) -> int:
        """The rows of all records, by their heads."""
        at, n_rows = self._at, 0
        end = self._file.seek(0, os.SEEK_END)
        while at + _HEAD <= end:
            self._file.seek(at)
            (count,) = _COUNT.unpack(self._file.read(_COUNT.size))
            at += _HEAD + count * self._n_scores * 4
            n_rows += count if at <= end else 0
        return n_rows

    def next(self, n_rows: int) -> np.ndarray | None:
        """(n_rows, n_scores) float32: the scores of the window after the last one; None, from then
        on for ever, where they are not kept.
        """
        size = n_rows * self._n_scores * 4
        self._file.seek(self._at)
        head = self._file.read(_HEAD)
        payload = self._file.read(size)
        if head != self._head(n_rows, payload) or len(payload) != size:
            self._file.truncate(self._at)
            return None
        self._passed(n_rows, len(head) + size)
        return np.frombuffer(payload, "<f4").reshape(n_rows, self._n_scores)

    def add(self, scores: np.ndarray) -> None:
        """Keep the scores of a window. Raises OSError."""
        payload = np.ascontiguousarray(scores, "<f4").tobytes()
        self._file.seek(self._at)
        self._file.write(self._head(len(scores), payload) + payload)
        self._file.flush()
        self._passed(len(scores), _HEAD + len(payload))

    def _head(self, n_rows: int, payload: bytes) -> bytes:
        count = _COUNT.pack(n_rows)
        place = _COUNT.pack(self.n_rows)
        return count + hashlib.sha256(self._key + place + count + payload).digest()

    def _passed(self, n_rows: int, size: int) -> None:
        self._at += size
        self.n_rows += n_rows


@contextlib.contextmanager
def kept_scores(out: Path, what: Any, n_scores: int, *, resume: bool) -> Iterator[KeptScores]:
    """Open the kept scores of the prediction that is written to `out`, and remove them at the end,
    unless an exception ends it after the first window. what: everything that determines the scores,
    as JSON; those of anything else, or all without `resume`, are dropped. Raises TrainingError
    where another process writes to `out`, RecipeError where a file of that name holds anything but
    kept scores, OSError.
    """
    path = out.with_name(f".{out.name}.scores")
    head = _MAGIC + hashlib.sha256(files.canonical([what, n_scores])).digest()
    with _opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainingError(
                f"{display_path(out)}: another process is writing this file. Wait for it, or name "
                f"another file."
            ) from None
        for left in out.parent.glob(f".{glob.escape(out.name)}.????????.part"):
            left.unlink(missing_ok=True)  # of a killed process
        found = file.read(len(head))
        dropped = ""
        if found != head or not resume:
            dropped = (
                "there is no --resume" if found == head else "they are of other rows or settings"
            )
            file.seek(0)
            file.truncate()
            file.write(head)
            file.flush()
        kept = KeptScores(file, head[len(_MAGIC) :], n_scores, dropped if found else "")
        try:
            yield kept
        except BaseException:
            if not kept.n_rows:
                path.unlink(missing_ok=True)
            raise
        path.unlink(missing_ok=True)


def _opened(path: Path) -> BinaryIO:
    """The file, made where there is none. Raises RecipeError where it holds anything but what
    `kept_scores` writes.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    handle = os.open(path, flags, 0o600)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        file = open(handle, "r+b")  # noqa: SIM115 (the caller closes it)
        begin = file.read(len(_MAGIC))
        if begin == _MAGIC[: len(begin)]:
            file.seek(0)
            return file
        file.close()
    else:
        os.close(handle)
    raise RecipeError(
        Problem(
            where=display_path(path),
            message="holds no scores of Encore, which keeps those of a prediction under this name.",
            remedy="Rename it, or name another output (-o).",
        )
    )

"""The bytes of a file, read piece by piece and as often as needed."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["ByteSource"]

_PIECE = 1 << 20


class ByteSource:
    """The bytes of an open file, or bytes in memory. One reader at a time: each begins at the first
    byte.
    """

    def __init__(self, content: bytes | BinaryIO) -> None:
        self._file = io.BytesIO(content) if isinstance(content, bytes) else content

    @classmethod
    def of_file(cls, path: Path) -> ByteSource:
        """A file that stays open, so that all readers see the same one. Raises OSError."""
        return cls(path.open("rb"))

    @classmethod
    def of_pipe(cls, pipe: BinaryIO) -> ByteSource:
        """All that comes out of a pipe, kept in a temporary file without a name."""
        spool = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as this object)
        shutil.copyfileobj(pipe, spool, _PIECE)
        return cls(spool)

    def open(self) -> BinaryIO:
        """A reader of its own, which its owner may close."""
        if isinstance(self._file, io.BytesIO):
            return io.BytesIO(self._file.getvalue())
        self._file.seek(0)
        return os.fdopen(os.dup(self._file.fileno()), "rb")

    def head(self, size: int) -> bytes:
        """The first bytes, at most `size` of them; all where it is -1."""
        with self.open() as file:
            return file.read(size)

    def pieces(self) -> Iterator[bytes]:
        """All bytes, up to a MiB at a time."""
        with self.open() as file:
            while piece := file.read(_PIECE):
                yield piece

    def holds(self, byte: bytes) -> bool:
        """True where this one byte occurs."""
        return any(byte in piece for piece in self.pieces())

    @property
    def state(self) -> tuple[int, ...]:
        """Equal before and after where the file was not written to in between."""
        if isinstance(self._file, io.BytesIO):
            return ()
        now = os.fstat(self._file.fileno())
        return (now.st_size, now.st_mtime_ns)

    def digest(self) -> str:
        """sha256 of all bytes, hex."""
        found = hashlib.sha256()
        for piece in self.pieces():
            found.update(piece)
        return found.hexdigest()

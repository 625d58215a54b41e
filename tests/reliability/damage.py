"""Seeded ways of damaging a folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

__all__ = ["CHANGES", "REPLACEMENTS", "content_of", "files_in"]


def _flip(path: Path, draw: Random, outside: Path) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)


def _truncate(path: Path, draw: Random, outside: Path) -> None:
    size = path.stat().st_size
    os.truncate(path, draw.randrange(size) if size else 0)


def _empty(path: Path, draw: Random, outside: Path) -> None:
    os.truncate(path, 0)


def _remove(path: Path, draw: Random, outside: Path) -> None:
    path.unlink()


def _append(path: Path, draw: Random, outside: Path) -> None:
    with path.open("ab") as file:
        file.write(draw.randbytes(draw.randrange(1, 200)))


def _exchange(path: Path, draw: Random, outside: Path) -> None:
    """With another file of the same folder tree."""
    other = draw.choice(files_in(path.parent))
    if other != path:
        aside = path.with_name("aside")
        path.rename(aside)
        other.rename(path)
        aside.rename(other)


def _braces(path: Path, draw: Random, outside: Path) -> None:
    path.write_text("{}\n")


def _make_folder(path: Path, draw: Random, outside: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").write_text("x")


def _make_pipe(path: Path, draw: Random, outside: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link_file(path: Path, draw: Random, outside: Path) -> None:
    """To a file elsewhere with the very same content."""
    shutil.move(path, outside / "file")
    path.symlink_to(outside / "file")


def _link_to_nothing(path: Path, draw: Random, outside: Path) -> None:
    path.unlink()
    path.symlink_to(outside / "nothing")


def _link_folder(path: Path, draw: Random, outside: Path) -> None:
    """The folder that the file is in, to one elsewhere with the very same content."""
    folder = path.parent
    shutil.move(folder, outside / "folder")
    folder.symlink_to(outside / "folder")


Change = Callable[[Path, Random, Path], None]

# (file, random numbers, a folder outside of the damaged one)
CHANGES: dict[str, Change] = {
    "flip": _flip,
    "truncate": _truncate,
    "empty": _empty,
    "remove": _remove,
}
REPLACEMENTS: dict[str, Change] = {
    "append": _append,
    "exchange": _exchange,
    "braces": _braces,
    "folder": _make_folder,
    "pipe": _make_pipe,
    "link": _link_file,
    "dangling link": _link_to_nothing,
    "linked folder": _link_folder,
}


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def content_of(folder: Path) -> dict[str, bytes]:
    """Name → content of every file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in files_in(folder)}

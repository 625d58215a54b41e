"""Writes files whole or not at all (temporary file, fsync, rename), and folders with a manifest of
sha256 digests.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError

from encore.errors import Problem, TrainingError

__all__ = [
    "MANIFEST",
    "canonical",
    "commit_folder",
    "explained",
    "locked",
    "put",
    "read_bytes",
    "read_json",
    "read_text",
    "remove",
    "require_plain",
    "sha256",
    "sweep",
    "write",
    "write_json",
    "write_manifest",
    "wrong_files",
]

MANIFEST = "manifest.json"


def write(path: Path, content: bytes | Callable[[BinaryIO], Any]) -> None:
    """Write bytes, or what a function writes into the open file. Raises TrainingError where the
    disk does not take it.
    """
    with explained(path):
        put(path, content, mode=0o644)
        _sync_folder(path.parent)


def put(path: Path, content: bytes | Callable[[BinaryIO], Any], *, mode: int) -> None:
    """Write as `write` does, but raise OSError. mode: of the file."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), mode)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON. Raises TrainingError."""
    write(path, _as_json(value))


def _as_json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def read_bytes(path: Path) -> bytes:
    """Read a regular file; never a pipe, which would wait for its writer. Raises OSError."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return path.read_bytes()


def read_text(path: Path, errors: str = "strict") -> str:
    """Read a regular file of UTF-8 text. Raises OSError, ValueError. errors: as of `decode`."""
    return read_bytes(path).decode("utf-8", errors)


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises OSError or ValueError."""
    return json.loads(read_text(path))


def canonical(value: Any) -> bytes:
    """The value as JSON in its one canonical form, of which hashes are made."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode()


def sha256(path: Path) -> str:
    """The hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, files: list[Path]) -> None:
    """Write the manifest: name and digest of each file, relative to the folder."""
    write_json(
        folder / MANIFEST, {str(file.relative_to(folder)): sha256(file) for file in sorted(files)}
    )


def wrong_files(folder: Path, required: Collection[str]) -> list[str]:
    """The files of the manifest that are missing, changed, or links; the manifest itself where it
    is not as `write_manifest` writes it, or lacks one of the `required` names.
    """
    try:
        content = (folder / MANIFEST).read_bytes() if _is_plain(folder, MANIFEST) else b""
        entries = json.loads(content)
    except (OSError, ValueError):
        return [MANIFEST]
    if (
        not isinstance(entries, dict)
        or content != _as_json(entries)
        or not set(required) <= set(entries)
        or any(Path(name).is_absolute() or ".." in Path(name).parts for name in entries)
    ):
        return [MANIFEST]
    return [name for name, digest in entries.items() if not _is_as_listed(folder, name, digest)]


def _is_as_listed(folder: Path, name: str, digest: Any) -> bool:
    try:
        return _is_plain(folder, name) and sha256(folder / name) == digest
    except (OSError, ValueError):  # may not be read, or no name that a file can have
        return False


def _is_plain(folder: Path, name: str) -> bool:
    """True where a regular file of that name is in the folder itself, and not behind a link."""
    on_the_way = [folder / part for part in (Path(name), *Path(name).parents[:-1])]
    return (folder / name).is_file() and not any(path.is_symlink() for path in on_the_way)


@contextlib.contextmanager
def commit_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; at the end its files are synced, its manifest is written,
    and it is renamed to `target`, which must not exist. Raises TrainingError.
    """
    with explained(target):
        temporary = Path(
            tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
        )
        try:
            yield temporary
            files = [file for file in temporary.rglob("*") if file.is_file()]
            write_manifest(temporary, files)
            for file in files:
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
                file.chmod(0o644)
            _sync_folder(temporary)
            temporary.chmod(0o755)
            os.rename(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync_folder(target.parent)


def remove(path: Path) -> None:
    """Remove a folder; it is renamed first, so that it is never seen half removed. A file is
    removed too, and of a link the link itself.
    """
    if os.path.lexists(path):
        gone = path.parent / f".{path.name}.gone"
        _delete(gone)
        os.rename(path, gone)
        _delete(gone)


def _delete(path: Path) -> None:
    """Delete what is there, without following a link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove the half-written and half-removed files of killed processes, in `folder` and the
    folders below.
    """
    for left in [path for path in folder.rglob(".*") if path.suffix in (".part", ".gone", ".new")]:
        _delete(left)


def require_plain(folder: Path) -> None:
    """Raise TrainingError where the folder is a link, or where anything in it is neither a folder
    nor a regular file: what is written and removed there could be anywhere. Follows no link.
    """
    found = [folder]
    for inside, folders, names in os.walk(folder):
        found += [Path(inside) / name for name in (*folders, *names)]
    problems = [
        Problem(
            where=str(path),
            message=f"is {kind} where Encore keeps its own files.",
            remedy="Remove it, and run the same command again.",
        )
        for path in found
        if (kind := _foreign(path))
    ]
    if problems:
        raise TrainingError(problems)


def _foreign(path: Path) -> str:
    """The kind in words, where it is neither a folder nor a regular file; "" elsewhere."""
    try:
        mode = path.lstat().st_mode
    except OSError:  # not there, or another process has just removed it
        return ""
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    return "" if stat.S_ISDIR(mode) or stat.S_ISREG(mode) else "no regular file"


@contextlib.contextmanager
def locked(folder: Path, busy: TrainingError) -> Iterator[None]:
    """Make the folder and hold its lock; raises `busy` where another process holds it, and
    TrainingError where a link is in the folder. The kernel releases the lock when a process dies,
    however it dies.
    """
    require_plain(folder)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("a")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The process that held it may have removed the folder in between: then this file is
            # no longer the folder's lock.
            alone = os.path.samestat(os.fstat(file.fileno()), os.stat(folder / "lock"))
        except (BlockingIOError, FileNotFoundError):
            alone = False
        if not alone:
            raise busy
        yield


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Raise what fails when `path` is written as a TrainingError with the remedy."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        # safetensors writes by itself and gives no error number; nearly always the disk is full.
        full = getattr(error, "errno", errno.ENOSPC) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "Free some space" if full else "Make it writable"
        reason = getattr(error, "strerror", None) or error
        raise TrainingError(
            Problem(
                where=str(path),
                message=f"cannot be written ({reason}).",
                remedy=f"{remedy}, or choose another folder; the same command then resumes.",
            )
        ) from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Downloads files of the named tasks from a Hugging Face data set repository: whole and with the
right digest, or not at all.

There is no default repository: these sets are put together from several sources (see the notes of
each task) and a wrong file must not pass for one of them. `ENCORE_DATA_REPO` names a data set
repository laid out as the folder is (`rte/train.parquet`); `HF_ENDPOINT` names the server.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from encore import files
from encore.errors import DataError, Problem, first_line

__all__ = ["cache_folder", "download", "quiet"]

_STALE_SECONDS = 24 * 3600
_PAUSE_SECONDS = 0.5
_DISK_ERRORS = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS)


def cache_folder() -> Path:
    """The folder of downloaded files: ENCORE_CACHE, else ~/.cache/encore."""
    return Path(os.environ.get("ENCORE_CACHE") or Path.home() / ".cache" / "encore")


def download(
    file: str, *, sha256: str, repo: str, cache: Path | None = None, attempts: int = 3
) -> Path:
    """Download `file` ("rte/train.parquet") from the data set `repo` and return its path; a copy in
    the cache with the right digest is used as it is.

    The file is written to a folder of its own beside its place, checked there, and moved into place
    in one step. A transfer that breaks off is tried again, `attempts` times in all. Raises
    DataError: no such file, wrong digest, no answer, disk full.
    """
    place = (cache or cache_folder()) / "data" / file
    if place.is_file() and files.sha256(place) == sha256:
        return place
    where = f"{file}: from data set '{repo}'"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _sweep(place.parent)
        folder = Path(tempfile.mkdtemp(dir=place.parent, prefix=".incoming-"))
    except OSError as error:
        raise DataError(
            Problem(
                where=where,
                message=f"cannot write to {place.parent} ({error.strerror}).",
                remedy="Set ENCORE_CACHE to a folder that can be written.",
            )
        ) from None
    try:
        fetched = _fetch(file, repo, folder, where, attempts)
        got = files.sha256(fetched)
        if got != sha256:
            raise DataError(
                Problem(
                    where=where,
                    expected=f"sha256 {sha256}",
                    got=got,
                    remedy="The file was not kept; name a repository that holds this project's "
                    "files in ENCORE_DATA_REPO.",
                )
            )
        with fetched.open("rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(fetched, place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return place


def _fetch(file: str, repo: str, folder: Path, where: str, attempts: int) -> Path:
    """The downloaded file, in `folder`. Raises DataError where another attempt would not help, or
    after the last one.
    """
    from huggingface_hub import constants, hf_hub_download

    endpoint = os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")
    reason = ""
    for attempt in range(1, attempts + 1):
        try:
            # Forced: otherwise huggingface_hub queries a server that is down for most of a minute
            # before it raises.
            with quiet():
                return Path(
                    hf_hub_download(
                        repo,
                        file,
                        repo_type="dataset",
                        endpoint=endpoint,
                        local_dir=folder / str(attempt),
                        force_download=True,
                    )
                )
        # The HTTP library's own errors too; it changed twice in two years, so none is named here.
        except Exception as error:
            causes = _causes(error)
        final = _why_final(causes, endpoint)
        if final is not None:
            raise DataError(replace(final, where=where))
        reason = first_line(causes[-1], 160)
        if attempt < attempts:
            time.sleep(_PAUSE_SECONDS * attempt)
    raise DataError(
        Problem(
            where=where,
            message=f"the transfer from {endpoint} failed {attempts} times ({reason}). Nothing "
            f"was kept;",
            remedy="run the same command again, or set ENCORE_DATA to a folder that has the files.",
        )
    )


def _why_final(causes: Sequence[BaseException], endpoint: str) -> Problem | None:
    """The problem where another attempt would end in the same way; None where it might not."""
    from huggingface_hub import errors

    known: Mapping[type[Exception], tuple[str, str]] = {
        errors.HFValidationError: (
            "not a repository name;",
            "expected ENCORE_DATA_REPO=owner/name.",
        ),
        errors.OfflineModeIsEnabled: (
            "HF_HUB_OFFLINE is set.",
            "Unset it, or put the files in the folder that ENCORE_DATA names.",
        ),
        errors.GatedRepoError: (
            "access is restricted.",
            "Ask for access on the data set's page, and set HF_TOKEN.",
        ),
        errors.RepositoryNotFoundError: (
            f"no such data set at {endpoint} (or it is private).",
            "Check ENCORE_DATA_REPO and HF_ENDPOINT.",
        ),
        errors.EntryNotFoundError: (
            "the data set has no such file.",
            "Check ENCORE_DATA_REPO; it must be laid out as NAME/SPLIT.parquet.",
        ),
    }
    for kind, (message, remedy) in known.items():
        # LocalEntryNotFoundError is raised for servers that do not answer, too.
        if any(
            isinstance(cause, kind) and not isinstance(cause, errors.LocalEntryNotFoundError)
            for cause in causes
        ):
            return Problem(message=message, remedy=remedy)
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno in _DISK_ERRORS:
            return Problem(message=f"could not be written ({cause.strerror}). Nothing was kept.")
    return None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep huggingface_hub's progress bars and warnings out of the output; errors are raised."""
    import logging

    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    logger = logging.getLogger("huggingface_hub")
    level, were_off = logger.level, are_progress_bars_disabled()
    logger.setLevel(logging.CRITICAL)
    disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if not were_off:
            enable_progress_bars()


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what it was raised from, outermost first."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None and cause not in causes:
        causes.append(cause)
    return causes


def _sweep(folder: Path) -> None:
    """Remove what a killed download left behind, once it is a day old."""
    for left in folder.glob(".incoming-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)

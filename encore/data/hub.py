"""Files of the named tasks from a Hugging Face data set repository: whole and with the right
digest, or not at all.

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
from collections.abc import Iterator
from pathlib import Path

from encore import files
from encore.errors import DataError, first_line

__all__ = ["cache_folder", "download", "quiet"]

_STALE_SECONDS = 24 * 3600
_PAUSE_SECONDS = 0.5


def cache_folder() -> Path:
    """Where downloaded files are kept: ENCORE_CACHE, else ~/.cache/encore."""
    return Path(os.environ.get("ENCORE_CACHE") or Path.home() / ".cache" / "encore")


def download(
    file: str, *, sha256: str, repo: str, cache: Path | None = None, attempts: int = 3
) -> Path:
    """The local path of `file` ("rte/train.parquet") from the data set `repo`; a copy in the cache
    with the right digest is used as it is.

    The file comes into a folder of its own beside its place, is checked there, and moves into place
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
            f"{where}: cannot write to {place.parent} ({error.strerror}). Set ENCORE_CACHE to "
            f"a folder that can be written."
        ) from None
    try:
        fetched = _fetch(file, repo, folder, where, attempts)
        got = files.sha256(fetched)
        if got != sha256:
            raise DataError(
                f"{where}: expected sha256 {sha256}, got {got}. The file was not kept; name a "
                f"repository that holds this project's files in ENCORE_DATA_REPO."
            )
        with fetched.open("rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(fetched, place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return place


def _fetch(file: str, repo: str, folder: Path, where: str, attempts: int) -> Path:
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    endpoint = os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")
    reason = ""
    for attempt in range(1, attempts + 1):
        try:
            # forced: without it, huggingface_hub asks a server that is down for most of a minute
            # before it says so
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
        # the HTTP library's own errors too; it changed twice in two years, so none is named here
        except Exception as error:
            causes = _causes(error)
        if any(isinstance(cause, HFValidationError) for cause in causes):
            raise DataError(
                f"{where}: not a repository name; expected ENCORE_DATA_REPO=owner/name."
            )
        if any(isinstance(cause, OfflineModeIsEnabled) for cause in causes):
            raise DataError(
                f"{where}: HF_HUB_OFFLINE is set. Unset it, or put the files in the folder "
                f"that ENCORE_DATA names."
            )
        if any(isinstance(cause, GatedRepoError) for cause in causes):
            raise DataError(
                f"{where}: access is restricted. Ask for access on the data set's page, and "
                f"set HF_TOKEN."
            )
        if any(isinstance(cause, RepositoryNotFoundError) for cause in causes):
            raise DataError(
                f"{where}: no such data set at {endpoint} (or it is private). Check "
                f"ENCORE_DATA_REPO and HF_ENDPOINT."
            )
        if any(
            isinstance(cause, EntryNotFoundError) and not isinstance(cause, LocalEntryNotFoundError)
            for cause in causes
        ):
            raise DataError(
                f"{where}: the data set has no such file. Check ENCORE_DATA_REPO; it must be "
                f"laid out as NAME/SPLIT.parquet."
            )
        full = next(
            (
                cause
                for cause in causes
                if isinstance(cause, OSError)
                and cause.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS)
            ),
            None,
        )
        if full is not None:
            raise DataError(f"{where}: could not be written ({full.strerror}). Nothing was kept.")
        reason = first_line(causes[-1], 160)
        if attempt < attempts:
            time.sleep(_PAUSE_SECONDS * attempt)
    raise DataError(
        f"{where}: the transfer from {endpoint} failed {attempts} times ({reason}). Nothing "
        f"was kept; run the same command again, "
        "or set ENCORE_DATA to a folder that has the files."
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """huggingface_hub's own progress bars and warnings stay out of our output; errors come back as
    exceptions.
    """
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

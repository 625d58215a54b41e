"""Files of the named tasks from a Hugging Face data set repository: whole and with the right digest, or not at all.

There is no default repository: these sets are put together from several sources (see the notes of each task) and a wrong file must not pass for one of them.
`ENCORE_DATA_REPO` names a data set repository laid out as the folder is (`rte/train.parquet`); `HF_ENDPOINT` names the server.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from encore.errors import DataError

__all__ = ["cache_folder", "download"]

_STALE_SECONDS = 24 * 3600


def cache_folder() -> Path:
    """Where downloaded files are kept: ENCORE_CACHE, else ~/.cache/encore."""
    return Path(os.environ.get("ENCORE_CACHE") or Path.home() / ".cache" / "encore")


def download(file: str, *, sha256: str, repo: str, cache: Path | None = None, attempts: int = 3) -> Path:
    """The local path of `file` ("rte/train.parquet") from the data set `repo`; a copy in the cache with the right digest is used as it is.

    The file comes into a folder of its own beside its place, is checked there, and moves into place in one step. A transfer that breaks off is tried again,
    `attempts` times in all. Raises DataError: no such file, wrong digest, no answer, disk full.
    """
    place = (cache or cache_folder()) / "data" / file
    if place.is_file() and _digest(place) == sha256:
        return place
    where = f"{file}: from data set '{repo}'"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _sweep(place.parent)
        folder = Path(tempfile.mkdtemp(dir=place.parent, prefix=".incoming-"))
    except OSError as error:
        raise DataError(f"{where}: cannot write to {place.parent} ({error.strerror}). Set ENCORE_CACHE to a folder that can be written.") from None
    try:
        fetched = _fetch(file, repo, folder, where, attempts)
        got = _digest(fetched)
        if got != sha256:
            raise DataError(
                f"{where}: expected sha256 {sha256}, got {got}. The file was not kept; name a repository that holds this project's files in ENCORE_DATA_REPO."
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
            with _quiet():
                return Path(hf_hub_download(repo, file, repo_type="dataset", endpoint=endpoint, local_dir=folder / str(attempt), force_download=True))
        except HFValidationError:
            raise DataError(f"{where}: not a repository name; expected ENCORE_DATA_REPO=owner/name.") from None
        except OfflineModeIsEnabled:
            raise DataError(
                f"{where}: HF_HUB_OFFLINE is set, so nothing is downloaded. Unset it, or put the files in the folder that ENCORE_DATA names."
            ) from None
        except GatedRepoError:
            raise DataError(f"{where}: access is restricted. Ask for access on its page, and set HF_TOKEN.") from None
        except RepositoryNotFoundError:
            raise DataError(f"{where}: no such data set at {endpoint} (or it is private). Check ENCORE_DATA_REPO and HF_ENDPOINT.") from None
        except LocalEntryNotFoundError as error:  # an EntryNotFoundError by descent: it says that the server gave no answer
            reason = _first_line(error.__cause__ or error)
        except EntryNotFoundError:
            raise DataError(f"{where}: the data set has no such file. Check ENCORE_DATA_REPO; it must be laid out as NAME/SPLIT.parquet.") from None
        except OSError as error:
            if error.errno is not None and not isinstance(error, ConnectionError | TimeoutError) and error.strerror:
                raise DataError(f"{where}: could not be written ({error.strerror}). Nothing was kept.") from None
            reason = _first_line(error)
        except Exception as error:  # the HTTP library's own errors; it changed twice in two years, so none is named here
            reason = _first_line(error)
        if attempt < attempts:
            time.sleep(0.2 * attempt)
    raise DataError(
        f"{where}: the transfer from {endpoint} failed {attempts} times ({reason}). Nothing was kept; run the same command again, "
        "or set ENCORE_DATA to a folder that has the files."
    )


@contextlib.contextmanager
def _quiet():  # type: ignore[no-untyped-def]
    """huggingface_hub's own progress bars and warnings stay out of our output; errors come back as exceptions."""
    import logging

    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

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


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:160]}" if text else type(error).__name__


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _sweep(folder: Path) -> None:
    """Remove what a killed download left behind, once it is a day old."""
    for left in folder.glob(".incoming-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)

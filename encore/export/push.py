"""Uploads a run to the hub: exported and compared as always, then all files in one commit."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encore.data.hub import quiet
from encore.errors import Complaints, DataError, RecipeError, first_line, hide_credentials
from encore.export.folder import Exported, export_run, ready

__all__ = ["Pushed", "push_run"]

_NOT_OURS = (".gitattributes",)  # what the hub puts into a new repository by itself


@dataclass(frozen=True)
class Pushed:
    """url: of the repository; None after a dry run. files: name → bytes."""

    repository: str
    url: str | None
    private: bool
    files: dict[str, int]
    exported: Exported


def push_run(
    run: str | Path,
    repository: str,
    *,
    to: str = "hf",
    task: str | None = None,
    on: str | None = None,
    private: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
) -> Pushed:
    """Export a run and commit it to a repository of the hub, which is created if it does
    not exist. dry_run: do everything but upload; no server is contacted.

    The token comes from HF_TOKEN or the hub's own login. Raises RecipeError for a name that is none
    and for a repository that has files already (unless `overwrite`), DataError where the hub does
    not take it; what `export` raises.
    """
    complaints = Complaints()
    hub: _Hub | None = None
    there: list[str] | None = None
    with complaints.collecting():
        _check_name(repository)
    with complaints.collecting():
        if to in ("peft", "adapter"):
            remedy = f"Export it, and upload the folder: hf upload {repository} FOLDER"
            raise RecipeError(f"--to {to}: push takes hf and sentence-transformers. {remedy}")
    with complaints.collecting():
        hub = None if dry_run else _Hub(repository, _token())
    with complaints.collecting():
        if hub is not None and not complaints.errors:
            there = hub.files()
            _check_empty(repository, there or [], overwrite=overwrite)
    with tempfile.TemporaryDirectory(prefix="encore-push-") as place:
        if complaints.errors:
            # Writing takes a minute and nothing will be sent: the run is only checked.
            with complaints.collecting():
                ready(run, to, Path(place, "model"), task=task, on=on)
            complaints.raise_any()
        exported = export_run(run, to, Path(place, "model"), task=task, on=on, name=repository)
        files = exported.files
        url = (
            hub.commit(
                exported.folder,
                is_new=there is None,
                private=private,
                message=f"Encore run {Path(run).resolve().name}",
            )
            if hub
            else None
        )
    return Pushed(repository, url, private, files, exported)


def _check_empty(repository: str, there: Sequence[str], *, overwrite: bool) -> None:
    """Raises RecipeError where files would be replaced without a request to replace them."""
    if there and not overwrite:
        raise RecipeError(
            f"{repository}: has {len(there)} files already "
            f"({', '.join(there[:3])}{', …' if len(there) > 3 else ''}). Name another "
            f"repository, or pass --overwrite: they are replaced in one commit, and stay in the "
            f"repository's history."
        )


class _Hub:
    """A model repository on the hub. Its failures are DataErrors with a remedy."""

    def __init__(self, repository: str, token: str) -> None:
        from huggingface_hub import HfApi, constants

        self.repository = repository
        self.endpoint = os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")
        self.api = HfApi(endpoint=self.endpoint, token=token)

    def files(self) -> list[str] | None:
        """The files of the repository; None if it does not exist."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            return [
                name for name in self.api.list_repo_files(self.repository) if name not in _NOT_OURS
            ]
        except RepositoryNotFoundError:
            return None
        # the HTTP library's own errors too; it changed twice in two years, so none is named here
        except Exception as error:
            raise self._refused(error, "Nothing was uploaded.") from error

    def commit(self, folder: Path, *, is_new: bool, private: bool, message: str) -> str:
        """Every file in one commit, which also removes what was there before."""
        if is_new:
            try:
                self.api.create_repo(self.repository, private=private, exist_ok=True)
            except Exception as error:
                raise self._refused(error, "Nothing was uploaded.") from error
        try:
            with contextlib.nullcontext() if sys.stderr.isatty() else quiet():
                self.api.upload_folder(
                    repo_id=self.repository,
                    folder_path=folder,
                    commit_message=message,
                    delete_patterns=None if is_new else "*",
                )
        except Exception as error:
            left = (
                f"{self.repository} was created and is empty"
                if is_new
                else f"{self.repository} is as it was"
            )
            raise self._refused(
                error,
                f"{left}: files appear only with the commit, which was not reached. "
                f"The same command tries again.",
            ) from error
        return hide_credentials(f"{self.endpoint}/{self.repository}")

    def _refused(self, error: Exception, state: str) -> DataError:
        code = getattr(getattr(error, "response", None), "status_code", None)
        if code in (401, 403):
            reason = (
                f"the token may not write there ({code}); it needs write access, and "
                f"the repository has to be yours or your organisation's"
            )
        else:
            reason = first_line(error, 200).rstrip(".")
        return DataError(
            f"{self.repository}: {self.endpoint} refused the upload ({reason}). {state}"
        )


def _check_name(repository: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
        fits = repository.count("/") == 1
    except HFValidationError:
        fits = False
    if not fits:
        raise RecipeError(
            f"'{repository}': not the name of a repository; expected user/name, with letters, "
            f"digits, '-', '_' and '.'."
        )


def _token() -> str:
    from huggingface_hub import constants, get_token

    token: Any = get_token()
    if not token:
        raise DataError(
            "no token for the hub. Set HF_TOKEN to one with write access "
            "(https://huggingface.co/settings/tokens), or log in: hf auth login"
        )
    if constants.HF_HUB_OFFLINE:
        raise DataError(
            "HF_HUB_OFFLINE is set, so nothing can be uploaded. Unset it; --dry-run needs no "
            "network."
        )
    return str(token)

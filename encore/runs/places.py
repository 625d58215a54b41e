"""Places where no output may be written: an input, and what a run, a comparison or a search
consists of.
"""

from __future__ import annotations

import fcntl
import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from encore import files
from encore.errors import DataError, Problem
from encore.runs.kind import FolderKind, folder_kind

__all__ = [
    "check_output",
    "enclosing_result",
    "is_being_trained",
    "is_kept",
    "run_folder",
    "without_weights",
]


def enclosing_result(path: Path) -> tuple[Path, FolderKind] | None:
    """The outermost run, comparison or search that the path is, or is in, wherever its links
    lead, and its kind; None outside of all.
    """
    place = path.resolve()
    for folder in (*reversed(place.parents), place):
        if (kind := _kind(folder)) is not None:
            return folder, kind
    return None


def run_folder(runs: Path, name: str, kind: FolderKind = "run") -> Path:
    """The folder of the run (or the pre-training) of this name: one that was renamed keeps the
    digits at the end, by which it is found.
    """
    folder = runs / name
    if folder.exists():
        return folder
    renamed = sorted(runs.glob(f"*-{name.rpartition('-')[2]}")) if runs.is_dir() else []
    return next((each for each in renamed if _kind(each) == kind), folder)


def is_kept(run: Path) -> bool:
    """True for a complete run with its weights."""
    return (run / files.MANIFEST).exists() and (run / "model").is_dir()


def without_weights(run: Path, why: str) -> DataError:
    """The error for a complete run that has none. why: what they are needed for, or why there are
    none; no sentence.
    """
    words = ["encore", "train", str(run / "recipe.yaml"), "--runs", str(run.parent)]
    return DataError(
        f"{run}: has no weights: {why}. To get them, train it again, to the same bits: "
        f"{shlex.join(words)}"
    )


def is_being_trained(folder: Path) -> bool:
    """True while a process is training this run."""
    if not (folder / "lock").is_file():
        return False
    try:
        with (folder / "lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def check_output(out: str | Path, inputs: Iterable[str | Path]) -> None:
    """Raises DataError where the file `out` exists and is one of the inputs, however both are
    spelt and linked, or is a file of a run, a comparison or a search.
    """
    file = Path(out)
    if not file.exists():
        return
    if any(Path(each).exists() and os.path.samefile(file, each) for each in inputs):
        raise _refused(file, "this is the file that is read, so it is not replaced.")
    if (owner := enclosing_result(file)) is not None:
        raise _refused(file, f"this is a file of the {owner[1]} {owner[0]}, so it is not replaced.")


def _refused(file: Path, message: str) -> DataError:
    return DataError(Problem(where=str(file), message=message, remedy="Name another file."))


def _kind(folder: Path) -> FolderKind | None:
    """The kind of a run, comparison or search, also of a damaged one. A manifest alone says
    nothing: other programs have a manifest.json too.
    """
    if (folder / "resolved.json").is_file():
        return "run"
    if (folder / "pretraining.json").is_file():
        return "pretraining"
    if (folder / "ensemble.json").is_file() and (folder / files.MANIFEST).is_file():
        return "ensemble"
    if (folder / "folds.json").is_file() and (folder / files.MANIFEST).is_file():
        return "folds"
    if (folder / "study.json").is_file() and (folder / "recipe.yaml").is_file():
        return folder_kind(folder)
    try:
        listed = tuple(files.read_json(folder / files.MANIFEST))
    except (OSError, ValueError, TypeError):
        return None
    return "comparison" if "study.json" in listed else "run" if "resolved.json" in listed else None

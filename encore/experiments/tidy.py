"""Removes and moves runs, ensembles, pre-trainings, cross-validations, comparisons, searches and
exports. Nothing else is ever touched, nor what a process is working on.
"""

from __future__ import annotations

import contextlib
import csv
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from encore import files
from encore.data.table import display_path, join_limited, plural
from encore.errors import Complaints, DataError, Problem, RecipeError, TrainingError
from encore.runs.contents import ENSEMBLE, FOLDS, foreign_files
from encore.runs.final_test import carry_openings
from encore.runs.kind import FolderKind, folder_kind
from encore.runs.places import enclosing_result, is_being_trained

__all__ = ["checked_kinds", "describe_use", "move_run", "remove_result"]

_DIGITS = re.compile(r"-[0-9a-f]{10}$")
_MOST_NAMED = 5


def checked_kinds(folders: list[Path]) -> dict[Path, FolderKind]:
    """The kind of each folder. Raises DataError with a line for each that Encore did not write as a
    whole, and for each that a process is working on.
    """
    complaints, found = Complaints(), {}
    for folder in dict.fromkeys(folders):
        with complaints.collecting():
            found[folder] = _checked(folder)
    complaints.raise_any()
    return found


def _checked(folder: Path) -> FolderKind:
    shown = display_path(folder)
    if folder.is_symlink():
        raise DataError(f"{shown}: this is a link. Name the folder itself.")
    if not folder.is_dir():
        what = "a file" if folder.exists() else "no such folder"
        raise DataError(f"{shown}: {what}. `encore ls` lists the runs.")
    owner, kind = enclosing_result(folder), folder_kind(folder)
    if owner is not None and owner[0] != folder.resolve():
        raise DataError(f"{shown}: this is in the {owner[1]} {display_path(owner[0])}. Name that.")
    others = foreign_files(folder, kind)
    if kind == "nothing" or (owner is None and (kind != "export" or others)):
        raise DataError(
            f"{shown}: no run, comparison, search or export, so it is left as it is. `encore ls` "
            f"lists the runs."
        )
    if others:
        named = join_limited(others, _MOST_NAMED)
        raise DataError(
            f"{shown}: contains what Encore did not write ({named}), so it is left as it is. Move "
            f"that elsewhere first."
        )
    if folder.resolve() == Path.cwd():
        raise DataError(f"{shown}: this is the current working directory. Leave it first.")
    if any(is_being_trained(run) for run in _at_work(folder, kind)):
        raise DataError(
            f"{shown}: a process is working on this {kind}. Wait for it, or stop it first."
        )
    return kind


def _at_work(folder: Path, kind: FolderKind) -> list[Path]:
    """The runs whose training shows that a folder is in use. A comparison or a search that is not
    complete may be computing any run beside it.
    """
    if kind in ("run", "pretraining"):
        return [folder]
    if kind in ("export", "ensemble", "folds") or (folder / files.MANIFEST).exists():
        return []
    return list(folder.parent.iterdir())


def describe_use(folder: Path, kind: FolderKind) -> str:
    """Say what else is affected if a folder is removed; "" where nothing is."""
    if kind == "run" and (users := _users(folder)):
        named = join_limited(users, _MOST_NAMED)
        return f"needed by {named}, which would train it again"
    if kind == "run" and (ensembles := _ensembles_with(folder)):
        named = join_limited(ensembles, _MOST_NAMED)
        return f"a member of {named}, which keeps a copy of its model"
    if kind in ("comparison", "search", "folds"):
        n_runs = len(_runs_of(folder))
        return f"its {plural(n_runs, 'run')} beside it {'are' if n_runs != 1 else 'is'} kept"
    return ""


def remove_result(folder: Path) -> None:
    """Remove a folder that `checked_kinds` knows. Raises TrainingError where a process has begun to
    train it since.
    """
    with _held(folder), files.explained(folder):
        files.remove(folder)


def move_run(run: Path, target: Path) -> Path:
    """Move a run or an export into the folder `target`, or give it that name, and return its new
    path. The ten digits that end a run's name stay with it, since the command that trained it
    finds it by them. Raises DataError or RecipeError; nothing is moved then.
    """
    kind = checked_kinds([run])[run]
    if kind in ("comparison", "search", "folds"):
        what = "cross-validation" if kind == "folds" else kind
        raise DataError(
            f"{display_path(run)}: a {what}, which names the runs beside it. Move the folder of "
            f"runs as a whole: mv {display_path(run.parent)} …"
        )
    if users := _users(run):
        raise DataError(
            f"{display_path(run)}: needed by {join_limited(users, _MOST_NAMED)}, which would train "
            f"it again. Move the folder of runs as a whole, or copy this one."
        )
    place = _place(run, target, kind)
    with _held(run), files.explained(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        if kind in ("run", "ensemble"):
            carry_openings(run, place)
        _rename(run, place)
    return place


def _place(run: Path, target: Path, kind: FolderKind) -> Path:
    """The path that a run gets. Raises RecipeError where it is taken or in another result."""
    digits = _DIGITS.search(run.resolve().name)
    place = target
    if target.is_dir() and folder_kind(target) == "nothing":
        place = target / run.resolve().name
    elif kind in ("run", "pretraining", "ensemble") and digits and not os.path.lexists(target):
        place = target.with_name(target.name.removesuffix(digits[0]) + digits[0])
    shown = display_path(place)
    if os.path.lexists(place):
        raise RecipeError(f"{shown}: exists already. Name another place.")
    if (owner := enclosing_result(place)) is not None:
        raise RecipeError(f"{shown}: this is in the {owner[1]} {owner[0]}. Name another place.")
    return place


def _rename(source: Path, place: Path) -> None:
    """Rename a folder; on another file system, copy it first, so that it appears there whole."""
    if source.stat().st_dev == place.parent.stat().st_dev:
        os.rename(source, place)
        return
    temporary = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}.", suffix=".part"))
    try:
        shutil.copytree(source, temporary, dirs_exist_ok=True)
        os.rename(temporary, place)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    files.remove(source)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a run's lock, so that no process begins to train it meanwhile."""
    if folder_kind(folder) not in ("run", "pretraining"):
        yield
        return
    busy = Problem(
        where=display_path(folder),
        message="another process is training this run.",
        remedy="Wait for it, or stop it first.",
    )
    with files.locked(folder, TrainingError(busy)):
        yield


def _users(run: Path) -> list[str]:
    """The names of the comparisons, searches and cross-validations beside a run that name it as
    theirs, and of the runs that start from it.
    """
    beside, name = sorted(run.resolve().parent.iterdir()), run.resolve().name
    return [each.name for each in beside if _uses(each, name)]


def _ensembles_with(run: Path) -> list[str]:
    """The names of the ensembles beside a run that it is a member of."""
    found, name = [], run.resolve().name
    for each in sorted(run.resolve().parent.iterdir()):
        if folder_kind(each) == "ensemble":
            with contextlib.suppress(OSError, ValueError, AttributeError):
                members = files.read_json(each / ENSEMBLE).get("members", ())
                found += [each.name] if any(one.get("run") == name for one in members) else []
    return found


def _uses(folder: Path, name: str) -> bool:
    kind = folder_kind(folder)
    if kind in ("comparison", "search", "folds"):
        return name in _runs_of(folder)
    return kind == "run" and _starts_from(folder, name)


def _starts_from(folder: Path, name: str) -> bool:
    """True for a run whose encoder another run made. A run that was renamed keeps its digits."""
    try:
        encoder = str(files.read_json(folder / "resolved.json").get("encoder"))
    except (OSError, ValueError, AttributeError):
        return False
    digits = _DIGITS.search(name)
    return encoder.startswith("run ") and digits is not None and f"{digits[0]}, task" in encoder


def _runs_of(folder: Path) -> set[str]:
    """The names of the runs of a comparison, search or cross-validation; none where its files are
    damaged.
    """
    try:
        if folder_kind(folder) == "comparison":
            cells = files.read_json(folder / "cells.json").get("cells", ())
            return {run for cell in cells if (run := cell.get("run"))}
        if folder_kind(folder) == "folds":
            return set(map(str, files.read_json(folder / FOLDS).get("runs", ())))
        text = files.read_text(folder / "trials.csv")
        return {name for line in csv.DictReader(text.splitlines()) for name in line["runs"].split()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()

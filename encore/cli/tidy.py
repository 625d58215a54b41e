"""`encore rm` and `encore mv`: removes and moves runs, comparisons, searches and exports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from encore.cli.output import announce, ask, print_json, say
from encore.data.table import display_path
from encore.errors import RecipeError
from encore.experiments.tidy import checked_kinds, describe_use, move_run, remove_result

__all__ = ["move", "remove_folders"]


def remove_folders(folders: Sequence[Path], *, yes: bool, json_: bool) -> None:
    """Ask, then remove. Raises DataError before anything is removed, RecipeError where nobody can
    answer.
    """
    kinds = checked_kinds(list(folders))
    questions = [
        f"{display_path(folder)}: {kind}{f' ({use})' if use else ''}"
        for folder, kind in kinds.items()
        for use in [describe_use(folder, kind)]
    ]
    announce(questions)
    if not yes and not _confirmed(len(kinds)):
        announce(["nothing was removed"])
        return
    for folder in kinds:
        remove_result(folder)
    if json_:
        print_json({"removed": [str(folder) for folder in kinds]})
    else:
        say(*(f"removed: {display_path(folder)}" for folder in kinds))


def _confirmed(n_folders: int) -> bool:
    """The answer that is typed. Raises RecipeError where there is none."""
    what = "this" if n_folders == 1 else f"all {n_folders}"
    answer = ask(f"Remove {what}? [y/N] ")
    if not answer:
        announce([""])
        raise RecipeError("encore rm: nobody answered. To remove without asking: --yes")
    return answer.strip().lower() in ("y", "yes")


def move(run: Path, target: Path, *, json_: bool, quiet: bool) -> None:
    """Move or rename, and print the new path. Raises DataError or RecipeError."""
    place = move_run(run, target)
    if not json_ and place.name != target.name and not target.is_dir():
        announce(
            ["the digits stay: the command that trained this run finds it by them"], quiet=quiet
        )
    if json_:
        print_json({"run": str(place)})
    else:
        say(f"run: {display_path(place)}")

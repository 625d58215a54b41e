"""`encore rm` and `encore mv`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from encore.cli.options import DebugOption, JsonOption, QuietOption, RunArgument

__all__ = ["mv_entry", "rm_entry"]


def rm_entry(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Runs, comparisons, searches, pre-trainings or exports."
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
    json_: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Remove runs, comparisons, searches, pre-trainings or exports for good. A folder that Encore
    did not write, or that holds other files too, is left as it is.
    """
    from encore.cli.tidy import remove_folders

    remove_folders(folders, yes=yes, json_=json_)


def mv_entry(
    run: RunArgument,
    target: Annotated[
        Path,
        typer.Argument(metavar="NAME|FOLDER", help="A new name, or a folder to move it into."),
    ],
    json_: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Rename a run, or move it into another folder of runs. The digits at the end of its name
    stay: the command that trained it finds it by them.
    """
    from encore.cli.tidy import move

    move(run, target, json_=json_, quiet=quiet)

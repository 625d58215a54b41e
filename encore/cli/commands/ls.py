"""`encore ls`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from encore.catalogue import kinds
from encore.cli.options import DebugOption, JsonOption, RunsOption

__all__ = ["ls_entry"]


def ls_entry(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND|FOLDER",
            help="A folder of runs, or runs, tasks, recipes, techniques, or one kind of them: "
            f"{', '.join(kinds())}.",
        ),
    ] = None,
    runs: RunsOption = Path("runs"),
    json_: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List the runs, the named tasks, the recipes that come with Encore and which of their runs are
    complete, or the techniques of all kinds or of one.
    """
    from encore.cli.inventory import list_things

    list_things(what, runs, json_=json_)

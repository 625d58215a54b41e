"""`encore worker`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from encore.cli.options import DebugOption, JsonOption, QuietOption

__all__ = ["worker_entry"]


def worker_entry(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="What `encore compare RECIPE --prepare` wrote and printed."
        ),
    ],
    json_: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Compute the runs of a prepared comparison, one after the other, until none is left. Start as
    many as you like, on any machines that see the folder; the run of one that dies is taken over.

    Then `encore compare RECIPE` prints the tables.
    """
    from encore.cli.worker import worker_command

    raise typer.Exit(worker_command(folder, json_=json_, quiet=quiet))

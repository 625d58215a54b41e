"""`encore pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from encore.cli.options import DebugOption, JsonOption, QuietOption, RunsOption

__all__ = ["pretrain_entry"]


def pretrain_entry(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A recipe with texts (.yaml), or its name.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="Settings: plan.steps=2000 masking=words encoder=minilm …"
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAME", help="Only this variant; may be repeated."),
    ] = None,
    runs: RunsOption = Path("runs"),
    json_: JsonOption = False,
    quiet: QuietOption = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Train nothing: read the texts and print every setting."),
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Train an encoder on texts without labels: a checkpoint further, or a new one from scratch.

    The same command resumes where it was stopped, or reports that it is complete.
    """
    from encore.cli.pretrain import PretrainOptions, pretrain_command

    pretrain_command(
        PretrainOptions(
            recipe, tuple(overrides or ()), tuple(only or ()), runs, json_, quiet, dry_run
        )
    )

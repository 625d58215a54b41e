"""`encore distill`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from encore.cli.options import (
    DebugOption,
    DryRunOption,
    EpochsOption,
    ForceOption,
    JsonOption,
    LrOption,
    QuietOption,
    RunsOption,
    ShortForms,
)

__all__ = ["distill_entry"]


def distill_entry(
    given: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN|KEY=VALUE",
            help="A run or ensemble to learn from, or several, whose mean teaches; then settings.",
        ),
    ],
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder", metavar="NAME|FOLDER", help="The student's; by default the teacher's."
        ),
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option("--texts", metavar="FILE", help="Rows without labels to learn from, too."),
    ] = None,
    epochs: EpochsOption = None,
    lr: LrOption = None,
    runs: RunsOption = Path("runs"),
    json_: JsonOption = False,
    quiet: QuietOption = False,
    dry_run: DryRunOption = False,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Train a student on what a run, or the mean of several, gives to its training rows.

    The student is a run like any other: the same command resumes it.
    """
    from encore.cli.distill import DistilOptions, distill_command

    settings = [word for word in given if "=" in word and not Path(word).exists()]
    distill_command(
        DistilOptions(
            teachers=tuple(Path(word) for word in given if word not in settings),
            overrides=ShortForms(epochs, lr, None, None).overrides(settings),
            encoder=encoder,
            texts=texts,
            runs=runs,
            json_=json_,
            quiet=quiet,
            dry_run=dry_run,
            force=force,
        )
    )

"""`encore report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from encore.cli.options import (
    DebugOption,
    JsonOption,
    MistakesOption,
    OverwriteOption,
    QuietOption,
    whole_number,
)

__all__ = ["report_entry"]


def report_entry(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|COMPARISON|SEARCH",
            help="A folder that `encore train`, `compare` or `tune` wrote.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE.html",
            help="Where to write; report.html in the folder by default.",
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    mistakes: MistakesOption = "10",
    json_: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a run, a comparison or a search as one HTML file that needs no network and no script,
    and each of its figures as SVG and CSV.

    It holds verdicts, tables, figures, the largest errors with their text, cost, versions, digests
    of the data, and the command that repeats the run.
    """
    from encore.cli.report import report

    report(
        folder,
        out,
        n_mistakes=whole_number("--mistakes", mistakes),
        overwrite=overwrite,
        json_=json_,
        quiet=quiet,
    )

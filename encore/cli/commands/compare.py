"""`encore compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from encore.cli.options import DebugOption, JsonOption, QuietOption, RunsOption, check_runs_folder

__all__ = ["compare_entry"]


def compare_entry(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A recipe (.yaml) with variants:, or the name of one that `encore ls recipes` "
            "lists.",
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="Settings of the recipe: encoder=minilm seeds=[42,43] …"
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            metavar="NAMES",
            help="Only these variants, commas between; the reference is always there.",
        ),
    ] = None,
    curve: Annotated[
        str | None,
        typer.Option(
            "--curve", metavar="KEY=VALUES", help="A study for each size: train_rows=500,1000,2000"
        ),
    ] = None,
    race: Annotated[
        bool,
        typer.Option(
            "--race", help="Screen the variants on seeds of its own; all seeds only for the best."
        ),
    ] = False,
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes",
            min=1,
            metavar="N",
            help="Runs at once; as many as there are cores if not given.",
        ),
    ] = None,
    keep_models: Annotated[
        bool,
        typer.Option("--keep-models", help="Keep the weights of every run, which fills the disk."),
    ] = False,
    runs: RunsOption = Path("runs"),
    json_: JsonOption = False,
    quiet: QuietOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the runs and what they would cost.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Compare the variants of a recipe over several seeds, in one or more studies.

    Every distinct run is computed once. The same command again goes on where it was stopped.

    --race: every variant runs with one screening seed; the better half (and whoever equals its
    last) runs with a second; the better half of these runs, with the reference, with all of the
    recipe's seeds, and only those runs are in the table. race.seeds=[7,8,9] and race.factor=3 say
    otherwise. Each study of `each` or --curve races on its own.
    """
    from encore.cli import compare

    check_runs_folder(runs)
    how: dict[str, Any] = {
        "only": only,
        "curve": curve,
        "race": race,
        "processes": processes,
        "keep_models": keep_models,
        "runs": runs,
    }
    raise typer.Exit(
        compare.compare_command(
            recipe, overrides or (), **how, json_=json_, quiet=quiet, dry_run=dry_run
        )
    )

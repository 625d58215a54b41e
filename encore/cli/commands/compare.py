"""`encore compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from encore.cli.options import (
    DebugOption,
    EncoderOption,
    EpochsOption,
    ExecutorOption,
    JsonOption,
    LrOption,
    PoolingOption,
    ProcessesOption,
    QuietOption,
    RunsOption,
    ShortForms,
    check_runs_folder,
)

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
            help="Only these variants, separated by commas; the reference is always included.",
        ),
    ] = None,
    curve: Annotated[
        str | None,
        typer.Option(
            "--curve",
            metavar="KEY=VALUES",
            help="One study per training size: train_rows=500,1000,2000",
        ),
    ] = None,
    race: Annotated[
        bool,
        typer.Option(
            "--race",
            help="Eliminate weak variants on screening seeds; only the best get all seeds.",
        ),
    ] = False,
    processes: ProcessesOption = None,
    executor: ExecutorOption = None,
    keep_models: Annotated[
        bool,
        typer.Option("--keep-models", help="Keep the weights of every run; needs much disk space."),
    ] = False,
    prepare: Annotated[
        bool,
        typer.Option(
            "--prepare",
            help="Train nothing: write the runs as jobs, which `encore worker` takes, here or on "
            "other machines.",
        ),
    ] = False,
    epochs: EpochsOption = None,
    lr: LrOption = None,
    encoder: EncoderOption = None,
    pooling: PoolingOption = None,
    runs: RunsOption = Path("runs"),
    json_: JsonOption = False,
    quiet: QuietOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Train nothing: list the runs and the estimated cost.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Compare the variants of a recipe over several seeds, in one or more studies.

    Each distinct run is trained once. The same command resumes a stopped comparison.

    --race: every variant is trained with one screening seed, the better half (and variants tied
    with its last) with a second one. The better half of these and the reference are trained with
    all seeds of the recipe, and only they are in the table. race.seeds=[7,8,9] and race.factor=3
    change this. Each study of `each` or --curve has a race of its own.
    """
    from encore.cli import compare

    check_runs_folder(runs)
    given = ShortForms(epochs, lr, encoder, pooling).overrides(overrides)
    how: dict[str, Any] = {
        "only": only,
        "curve": curve,
        "race": race,
        "processes": processes,
        "executor": executor,
        "keep_models": keep_models,
        "prepare": prepare,
        "runs": runs,
    }
    raise typer.Exit(
        compare.compare_command(recipe, given, **how, json_=json_, quiet=quiet, dry_run=dry_run)
    )

"""`encore tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    StorageOption,
    check_runs_folder,
)
from encore.types import DEFAULTS

__all__ = ["tune_entry"]


def tune_entry(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A recipe (.yaml) with search:, optionally trials:, seeds_per_trial: and seeds:.",
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="Settings of the recipe; one that is searched is then fixed."
        ),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            "--trials",
            "-n",
            min=1,
            metavar="N",
            help="Number of trials in total, completed ones included.",
        ),
    ] = None,
    sampler: Annotated[
        str, typer.Option("--sampler", metavar="NAME", help="tpe, random, grid, gp, cmaes.")
    ] = DEFAULTS.sampler,
    pruner: Annotated[
        str,
        typer.Option(
            "--pruner",
            metavar="NAME",
            help="Stops weak trials early: none, median, hyperband, wilcoxon (over seeds).",
        ),
    ] = "none",
    storage: StorageOption = None,
    processes: ProcessesOption = None,
    executor: ExecutorOption = None,
    epochs: EpochsOption = None,
    lr: LrOption = None,
    encoder: EncoderOption = None,
    pooling: PoolingOption = None,
    runs: RunsOption = Path("runs"),
    json_: JsonOption = False,
    quiet: QuietOption = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Train nothing: print the search space and the estimated cost."
        ),
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Search for the best settings of a recipe, then train the best configuration again on fresh
    seeds.

    The same command resumes a stopped search; a larger N adds trials.
    """
    from encore.cli import search

    check_runs_folder(runs)
    given = ShortForms(epochs, lr, encoder, pooling).overrides(overrides)
    how = {
        "n": n,
        "sampler": sampler,
        "pruner": pruner,
        "storage": storage,
        "processes": processes,
        "executor": executor,
        "runs": runs,
        "json_": json_,
        "quiet": quiet,
    }
    raise typer.Exit(search.tune_command(recipe, given, dry_run=dry_run, **how))  # type: ignore[arg-type]

"""`encore calibrate`."""

from __future__ import annotations

from typing import Annotated

import typer

from encore.cli.options import DebugOption, JsonOption, QuietOption, RunArgument, TaskOption

__all__ = ["calibrate_entry"]


def calibrate_entry(
    run: RunArgument,
    thresholds: Annotated[
        str | None,
        typer.Option(
            "--thresholds",
            metavar="METRIC|auto",
            help="Also tune the thresholds of labels for this metric (auto: the task's first).",
        ),
    ] = None,
    abstain: Annotated[
        str | None,
        typer.Option(
            "--abstain",
            metavar="P|accuracy=P|coverage=P",
            help="Also give no label below a confidence: P itself, or the one from which a share P "
            "of the labels given is right, or that leaves a share P of the rows.",
        ),
    ] = None,
    no_temperature: Annotated[
        bool,
        typer.Option("--no-temperature", help="Leave the probabilities as the model gives them."),
    ] = False,
    parts: Annotated[
        str,
        typer.Option(
            "--parts", metavar="K", help="Parts of the dev set for the cross-fitted figures."
        ),
    ] = "5",
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the decisions of the run.")
    ] = False,
    task: TaskOption = None,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Calibrate the probabilities of a run or an ensemble on its dev set, and tune thresholds and
    abstention.

    What is found is kept with the model; predict, evaluate, report and export go by it. The figures
    are cross-fitted: no row is measured with what was fitted on it.
    """
    from encore.cli.calibrate import CalibrateOptions, calibrate_command

    calibrate_command(
        CalibrateOptions(
            run=run,
            thresholds=thresholds,
            abstain=abstain,
            temperature=not no_temperature,
            parts=parts,
            remove=remove,
            task=task,
            json_=json_,
            quiet=quiet,
        )
    )

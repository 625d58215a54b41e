"""`encore ensemble`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from encore.cli.options import DebugOption, JsonOption, QuietOption, RunsOption, whole_number

__all__ = ["HalvesOption", "MembersArgument", "ensemble_entry"]


MembersArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN...",
        help="Runs with their weights, or comparisons, for all runs of them that kept theirs.",
    ),
]
MethodOption = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="NAME",
        help="simple: all; greedy: the best, then each that makes the dev figure no worse; "
        "selective: the best set; best: one per task; regression: weighted logits; vote: majority.",
    ),
]
OfTasksOption = Annotated[
    str | None,
    typer.Option("--task", metavar="NAMES", help="Which tasks, separated by commas; or all."),
]
SpaceOption = Annotated[
    str,
    typer.Option("--space", metavar="NAME", help="What is averaged: probability or logit."),
]
AtLeastOption = Annotated[
    list[str] | None,
    typer.Option(
        "--at-least",
        metavar="[TASK=]FIGURE",
        help="Only runs whose own dev figure (a fraction) reaches this; may be repeated.",
    ),
]
CompatOption = Annotated[
    str | None,
    typer.Option(
        "--compat",
        metavar="gen",
        help="With --method regression: 50 steps of gradient descent, as its source.",
    ),
]
HalvesOption = Annotated[
    str,
    typer.Option("--seed", metavar="N", help="Of the two halves of the dev set."),
]


def ensemble_entry(
    members: MembersArgument,
    method: MethodOption = "greedy",
    task: OfTasksOption = None,
    space: SpaceOption = "probability",
    at_least: AtLeastOption = None,
    compat: CompatOption = None,
    seed: HalvesOption = "11",
    runs: RunsOption = Path("runs"),
    json_: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Make an ensemble of trained runs: a folder that predict, evaluate and report take like a run.

    Members are chosen by the dev scores that the runs keep. Beside each figure stands the
    cross-fitted one: chosen on one half of the dev rows, measured on the other.
    """
    from encore.cli.ensemble import ensemble_command

    names = () if task is None else tuple(name.strip() for name in task.split(","))
    ensemble_command(
        members,
        runs,
        json_=json_,
        quiet=quiet,
        at_least=at_least or (),
        method=method,
        tasks=names,
        space=space,
        compat=compat,
        seed=whole_number("--seed", seed),
    )

"""`encore soup`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from encore.cli.commands.ensemble import HalvesOption, MembersArgument
from encore.cli.options import DebugOption, JsonOption, QuietOption, RunsOption, whole_number

__all__ = ["soup_entry"]

SoupMethodOption = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="NAME",
        help="greedy: the best on dev, then each that makes the averaged weights no worse; "
        "uniform: all.",
    ),
]


def soup_entry(
    members: MembersArgument,
    method: SoupMethodOption = "greedy",
    seed: HalvesOption = "11",
    runs: RunsOption = Path("runs"),
    json_: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Make one model of trained runs, whose weights are the mean of theirs: a run like any other.

    The runs have one architecture and started from one encoder. Beside each figure stands the
    cross-fitted one: chosen on one half of the dev rows, measured on the other.
    """
    from encore.cli.soup import soup_command

    soup_command(
        members,
        runs,
        method=method,
        seed=whole_number("--seed", seed),
        json_=json_,
        quiet=quiet,
    )

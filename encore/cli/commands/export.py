"""`encore export` and `encore push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from encore.cli.options import DebugOption, JsonOption, RunArgument, TaskOption

__all__ = ["export_entry", "push_entry"]


_To = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="hf|sentence-transformers",
        help="What is to load it: transformers, or sentence-transformers (vectors).",
    ),
]
_On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="FILE",
        help="Compare on the texts of this table instead of the run's dev set.",
    ),
]


def export_entry(
    run: RunArgument,
    to: _To,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to make.")],
    task: TaskOption = None,
    on: _On = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace an earlier export. Nothing else is ever replaced."
        ),
    ] = False,
    json_: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a run as a folder that other libraries load: weights, tokenizer, label names, and a
    model card.

    It is loaded again in a fresh process and compared with Encore before it appears.
    """
    from encore.cli.export import ExportOptions, export_command

    export_command(
        run, folder, ExportOptions(to=to, task=task, on=on, overwrite=overwrite), json_=json_
    )


def push_entry(
    run: RunArgument,
    repository: Annotated[
        str,
        typer.Argument(
            metavar="USER/NAME", help="A repository of models; it is made where there is none."
        ),
    ],
    to: _To = "hf",
    task: TaskOption = None,
    on: _On = None,
    private: Annotated[
        bool, typer.Option("--private", help="If the repository is made, make it private.")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace the files of a repository that has some; its history keeps them.",
        ),
    ] = False,
    json_: JsonOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Export and compare, list the files, send nothing.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Export a run and send it to the hub (huggingface.co), in one commit. The token is HF_TOKEN,
    or that of `hf auth login`.
    """
    from encore.cli.export import ExportOptions, push_command

    push_command(
        run,
        repository,
        ExportOptions(to=to, task=task, on=on, overwrite=overwrite),
        private=private,
        dry_run=dry_run,
        json_=json_,
    )

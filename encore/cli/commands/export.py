"""`encore export` and `encore push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from encore.cli.options import DebugOption, JsonOption, RunArgument, TaskOption

__all__ = ["export_entry", "push_entry"]


_LIBRARIES = "The library that will load it: transformers, or sentence-transformers (vectors)"
_To = Annotated[
    str,
    typer.Option("--to", metavar="hf|sentence-transformers", help=f"{_LIBRARIES}."),
]
_ToAny = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="hf|sentence-transformers|peft|adapter",
        help=f"{_LIBRARIES}; or peft (LoRA alone), or Encore (the adapter alone).",
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
    to: _ToAny,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to write.")],
    task: TaskOption = None,
    on: _On = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace an earlier export; nothing else is ever replaced."
        ),
    ] = False,
    json_: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a run as a folder that other libraries load: weights, tokenizer, label names, and a
    model card.

    Before it appears, it is loaded in a fresh process and compared with Encore.
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
            metavar="USER/NAME", help="A model repository; created if it does not exist."
        ),
    ],
    to: _To = "hf",
    task: TaskOption = None,
    on: _On = None,
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository private.")
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
        bool,
        typer.Option("--dry-run", help="Export, compare and list the files, but upload nothing."),
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Export a run and upload it to the Hugging Face hub in one commit. The token is HF_TOKEN, or
    that of `hf auth login`.
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

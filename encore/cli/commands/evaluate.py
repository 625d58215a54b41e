"""`encore evaluate`."""

from __future__ import annotations

from typing import Annotated

import typer

from encore.cli.options import (
    CompareOption,
    DebugOption,
    DelimiterOption,
    EncodingOption,
    FileOptions,
    ForceOption,
    JsonOption,
    MistakesOption,
    OnBadRowOption,
    QuietOption,
    RunArgument,
    SheetOption,
    SkipLinesOption,
    TaskOption,
    whole_number,
)

__all__ = ["evaluate_entry"]


def evaluate_entry(
    run: RunArgument,
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE",
            help="A table with the columns that the run was trained on; - for standard input.",
        ),
    ] = None,
    compare: CompareOption = None,
    slices: Annotated[
        list[str] | None,
        typer.Option(
            "--slice",
            metavar="COLUMN",
            help="Also evaluate each value of this column; may be repeated.",
        ),
    ] = None,
    final: Annotated[
        bool,
        typer.Option(
            "--final",
            help="Read the recipe's test file instead of FILE, and log that it was opened.",
        ),
    ] = False,
    mistakes: MistakesOption = "10",
    task: TaskOption = None,
    on_bad_row: OnBadRowOption = None,
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
    skip_lines: SkipLinesOption = None,
    sheet: SheetOption = None,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Print metrics with 95 % intervals, the confusion matrix, metrics per value of a column, and
    the largest errors with their text.
    """
    from encore.cli.evaluate import EvaluateOptions, evaluate_command

    evaluate_command(
        EvaluateOptions(
            run=run,
            file=file,
            final=final,
            compare=compare,
            slices=tuple(slices or ()),
            n_mistakes=whole_number("--mistakes", mistakes),
            task=task,
            reading=FileOptions(on_bad_row, delimiter, encoding, skip_lines, sheet),
            json_=json_,
            quiet=quiet,
            force=force,
        )
    )

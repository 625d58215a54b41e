"""`encore check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from encore.cli.options import (
    DebugOption,
    DelimiterOption,
    DevOption,
    EncodingOption,
    FileOptions,
    GroupOption,
    JsonOption,
    LabelOption,
    MergeLabelsOption,
    OnBadRowOption,
    OverwriteOption,
    QuietOption,
    SheetOption,
    SkipLinesOption,
    TextOption,
    TextPairOption,
    whole_number,
)

__all__ = ["check_entry"]


def check_entry(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A table (.csv .tsv .jsonl .parquet .xlsx), or - for standard input.",
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings: max_length=64 data.kind=regression …"),
    ] = None,
    text: TextOption = None,
    text_pair: TextPairOption = None,
    label: LabelOption = None,
    group: GroupOption = None,
    merge_labels: MergeLabelsOption = False,
    dev: DevOption = None,
    test: Annotated[
        str | None,
        typer.Option("--test", metavar="FILE", help="Test rows, whose texts are compared."),
    ] = None,
    folds: Annotated[
        str,
        typer.Option(
            "--folds", metavar="N", help="List the labels that N-fold cross-validation doubts most."
        ),
    ] = "0",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE.html", help="Write the findings as a page too."),
    ] = None,
    overwrite: OverwriteOption = False,
    on_bad_row: OnBadRowOption = None,
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
    skip_lines: SkipLinesOption = None,
    sheet: SheetOption = None,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Check a file before training: labels, duplicates, overlap, lengths, suspicious columns."""
    from encore.cli.check import CheckOptions, check_file

    columns = {"text": text, "text_pair": text_pair, "label": label, "group": group}
    data = {**columns, "dev": dev, "test": test}
    check_file(
        CheckOptions(
            what=file,
            overrides=tuple(overrides or ()),
            data={**data, "merge_labels": merge_labels or None},
            file=FileOptions(on_bad_row, delimiter, encoding, skip_lines, sheet),
            folds=whole_number("--folds", folds),
            out=out,
            overwrite=overwrite,
            json_=json_,
            quiet=quiet,
        )
    )

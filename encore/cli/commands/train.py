"""`encore train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from encore.cli.options import (
    DebugOption,
    DelimiterOption,
    DevOption,
    DryRunOption,
    EncoderOption,
    EncodingOption,
    EpochsOption,
    FileOptions,
    FoldsOption,
    ForceOption,
    GroupOption,
    InstallCompletionOption,
    JsonOption,
    LabelOption,
    LrOption,
    MergeLabelsOption,
    OnBadRowOption,
    OnlyNewOption,
    PoolingOption,
    QuietOption,
    RunsOption,
    SettingsArgument,
    SheetOption,
    ShortForms,
    SkipLinesOption,
    StartOption,
    TestOption,
    TextOption,
    TextPairOption,
)

__all__ = ["train_entry"]


def train_entry(
    what: Annotated[
        str,
        typer.Argument(
            metavar="FILE|RECIPE|TASK",
            help="A table (.csv .tsv .jsonl .parquet .xlsx), a recipe (.yaml), or a task (rte, …).",
        ),
    ],
    overrides: SettingsArgument = None,
    start: StartOption = None,
    only_new: OnlyNewOption = False,
    text: TextOption = None,
    text_pair: TextPairOption = None,
    label: LabelOption = None,
    group: GroupOption = None,
    merge_labels: MergeLabelsOption = False,
    dev: DevOption = None,
    folds: FoldsOption = None,
    test: TestOption = None,
    on_bad_row: OnBadRowOption = None,
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
    epochs: EpochsOption = None,
    lr: LrOption = None,
    encoder: EncoderOption = None,
    pooling: PoolingOption = None,
    skip_lines: SkipLinesOption = None,
    sheet: SheetOption = None,
    runs: RunsOption = Path("runs"),
    json_: JsonOption = False,
    quiet: QuietOption = False,
    dry_run: DryRunOption = False,
    force: ForceOption = False,
    debug: DebugOption = False,
    install_completion: InstallCompletionOption = False,
) -> None:
    """Train on a table, a recipe or a named task.

    The same command resumes a stopped run, or reports that the run is complete.
    """
    from encore.cli.folds import train_command
    from encore.cli.train import TrainOptions

    columns = {"text": text, "text_pair": text_pair, "label": label, "group": group}
    train_command(
        TrainOptions(
            what=what,
            overrides=ShortForms(epochs, lr, encoder, pooling).overrides(overrides),
            data={**columns, "merge_labels": merge_labels or None, "dev": dev, "test": test},
            file=FileOptions(on_bad_row, delimiter, encoding, skip_lines, sheet),
            runs=runs,
            json_=json_,
            quiet=quiet,
            dry_run=dry_run,
            force=force,
            start=start,
            only_new=only_new,
            folds=folds,
        )
    )

"""`encore predict`."""

from __future__ import annotations

from typing import Annotated

import typer

from encore.cli.options import (
    DebugOption,
    DelimiterOption,
    EncodingOption,
    ExplainOption,
    FileOptions,
    ForceOption,
    JsonOption,
    OnBadRowOption,
    OutOption,
    OverwriteOption,
    QuietOption,
    RawOption,
    ResumeOption,
    RunArgument,
    SheetOption,
    SkipLinesOption,
    TasksOption,
    TypedPairsOption,
    TypedTextsOption,
    WithInputOption,
    share,
)

__all__ = ["predict_entry"]

_AbstainOption = Annotated[
    str | None,
    typer.Option(
        "--abstain",
        metavar="P",
        help="No label where the probability is below P (0 to 1), in place of the run's own; 0 "
        "labels every row.",
    ),
]


def predict_entry(
    run: RunArgument,
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE",
            help="A table with the text columns that the run was trained on; - for standard input.",
        ),
    ] = None,
    text: TypedTextsOption = None,
    text_pair: TypedPairsOption = None,
    out: OutOption = "-",
    with_input: WithInputOption = False,
    overwrite: OverwriteOption = False,
    raw: RawOption = False,
    resume: ResumeOption = False,
    explain: ExplainOption = False,
    task: TasksOption = None,
    abstain: _AbstainOption = None,
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
    """Predict labels and probabilities, one row for each row of the input, in its order. With
    several tasks the columns are named TASK.prediction and so on.

    With --explain and no -o the texts are shown, words with larger weights in stronger colours
    (blue: against the prediction); with -o FILE.jsonl or .parquet the weights are columns.
    """
    from encore.cli.predict import PredictOptions, predict

    predict(
        PredictOptions(
            run=run,
            file=file,
            texts=tuple(text or ()),
            pairs=tuple(text_pair or ()),
            out=out,
            with_input=with_input,
            overwrite=overwrite,
            raw=raw,
            resume=resume,
            explain=explain,
            task=task,
            abstain=None if abstain is None else share("--abstain", abstain),
            reading=FileOptions(on_bad_row, delimiter, encoding, skip_lines, sheet),
            json_=json_,
            quiet=quiet,
            force=force,
        )
    )

"""Options that several commands have, and the checks of their values."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.completion import install_callback

from encore.errors import Problem, RecipeError, format_given

# fmt: off
__all__ = [
    "CompareOption", "DebugOption", "DelimiterOption", "DevOption", "DryRunOption", "EncoderOption",
    "EncodingOption", "EpochsOption", "ExecutorOption", "ExplainOption", "FileOptions",
    "FoldsOption", "ForceOption", "GroupOption", "InstallCompletionOption", "JsonOption",
    "LabelOption", "LrOption", "MergeLabelsOption", "MistakesOption", "OnBadRowOption",
    "OnlyNewOption", "OutOption", "OverwriteOption", "PoolingOption", "ProcessesOption",
    "QuietOption", "RawOption", "ResumeOption", "RunArgument", "RunsOption", "SettingsArgument",
    "ShortForms", "SheetOption", "SkipLinesOption", "StartOption", "StorageOption", "TaskOption",
    "TasksOption", "TestOption", "TextOption", "TextPairOption", "TypedPairsOption",
    "TypedTextsOption", "WithInputOption", "check_runs_folder", "share", "whole_number",
]
# fmt: on

_ADDRESS = re.compile("[a-z][a-z0-9+.-]+:/")  # a Path has one slash

RunArgument = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="A run folder, as `encore train` and `encore ls` print it."),
]
SettingsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Settings: plan.lr=3e-5 class_weights=balanced … (--dry-run prints all of them)",
    ),
]
RunsOption = Annotated[
    Path,
    typer.Option(
        "--runs", metavar="FOLDER", envvar="ENCORE_RUNS", help="The folder that holds the runs."
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print exactly one JSON object on standard output.")
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print results only: no announcements, no progress.")
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
TaskOption = Annotated[
    str | None,
    typer.Option("--task", metavar="NAME", help="Which task of the run, if it has several."),
]
TextOption = Annotated[
    str | None, typer.Option("--text", metavar="COLUMN", help="Column with the text.")
]
TextPairOption = Annotated[
    str | None,
    typer.Option("--text-pair", metavar="COLUMN", help="Column with the second text of a pair."),
]
GroupOption = Annotated[
    str | None,
    typer.Option(
        "--group",
        metavar="COLUMN",
        help="Column whose rows belong together (author, patient): no split parts them.",
    ),
]
LabelOption = Annotated[
    str | None,
    typer.Option(
        "--label",
        metavar="COLUMN",
        help="Column with the label to predict, or columns of 0 and 1 with commas between.",
    ),
]
MergeLabelsOption = Annotated[
    bool,
    typer.Option("--merge-labels", help="Merge labels that differ only in capitals or spaces."),
]
DevOption = Annotated[
    str | None,
    typer.Option(
        "--dev",
        metavar="FILE",
        help="Labelled rows to evaluate on; by default, some training rows are held out.",
    ),
]
FoldsOption = Annotated[
    str | None,
    typer.Option(
        "--folds",
        metavar="N",
        help="Cross-validate: N runs, each evaluated on another part of the training rows.",
    ),
]
TestOption = Annotated[
    str | None,
    typer.Option(
        "--test",
        metavar="FILE",
        help="Labelled rows that only `encore evaluate --final` reads.",
    ),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Try it also where the memory may not suffice.")
]
TasksOption = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="NAMES",
        help="Which tasks of the run, separated by commas, if it has several.",
    ),
]
OnBadRowOption = Annotated[
    str | None,
    typer.Option(
        "--on-bad-row",
        metavar="fail|skip",
        help="fail: list the bad rows and stop; skip: skip them and report how many.",
    ),
]
DelimiterOption = Annotated[
    str | None,
    typer.Option(
        "--delimiter", metavar="CHARACTER", help="Delimiter of a csv file; detected by default."
    ),
]
EncodingOption = Annotated[
    str | None,
    typer.Option(
        "--encoding",
        metavar="NAME",
        help="Encoding of a text file (utf-8, cp1252, …); detected by default.",
    ),
]
SkipLinesOption = Annotated[
    str | None,
    typer.Option(
        "--skip-lines", metavar="N", help="Lines above the column names, such as a title."
    ),
]
SheetOption = Annotated[
    str | None,
    typer.Option(
        "--sheet", metavar="NAME|N", help="Sheet of a workbook; by default the first with rows."
    ),
]
StartOption = Annotated[
    Path | None,
    typer.Option(
        "--from", metavar="RUN", help="Go on training this run; FILE holds new rows of it."
    ),
]
OnlyNewOption = Annotated[
    bool,
    typer.Option("--only-new", help="With --from: train on the new rows without the old ones."),
]
CompareOption = Annotated[
    Path | None,
    typer.Option(
        "--compare", metavar="RUN", help="Another run: test the difference on the same rows."
    ),
]
MistakesOption = Annotated[
    str, typer.Option("--mistakes", metavar="N", help="How many of the largest errors to show.")
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace the output file if it exists.")
]
WithInputOption = Annotated[
    bool, typer.Option("--with-input", help="Put the columns of the input before the predictions.")
]
RawOption = Annotated[
    bool,
    typer.Option(
        "--raw",
        help="Write csv texts unchanged even if a spreadsheet would take them for formulas; by "
        "default they get an apostrophe.",
    ),
]
ResumeOption = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Resume where the same command was stopped; the output is identical.",
    ),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL",
        envvar="ENCORE_STORAGE",
        help="A database that several machines share; a local file by default.",
    ),
]
TypedTextsOption = Annotated[
    list[str] | None,
    typer.Option("--text", metavar="TEXT", help="A text, in place of FILE; as often as you like."),
]
TypedPairsOption = Annotated[
    list[str] | None,
    typer.Option("--text-pair", metavar="TEXT", help="The second text of a pair, for each --text."),
]
OutOption = Annotated[
    str,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help="Where to write: .csv .tsv .jsonl .parquet; - for csv on standard output.",
    ),
]
EpochsOption = Annotated[
    str | None, typer.Option("--epochs", metavar="N", help="Short for plan.epochs=N.")
]
LrOption = Annotated[
    str | None, typer.Option("--lr", metavar="RATE", help="Short for plan.lr=RATE.")
]
EncoderOption = Annotated[
    str | None,
    typer.Option("--encoder", metavar="NAME|FOLDER", help="Short for encoder=NAME."),
]
PoolingOption = Annotated[
    str | None, typer.Option("--pooling", metavar="NAME", help="Short for pooling=NAME.")
]
InstallCompletionOption = Annotated[
    bool,
    # Typer offers it to `encore` alone, and it installs the completion of all commands.
    typer.Option(
        "--install-completion",
        callback=install_callback,
        is_eager=True,
        expose_value=False,
        help="Let the tab key complete commands and options in this shell.",
    ),
]
ProcessesOption = Annotated[
    int | None,
    typer.Option(
        "--processes",
        min=1,
        metavar="N",
        help="Number of runs at the same time; one per core by default.",
    ),
]
ExecutorOption = Annotated[
    str | None,
    typer.Option(
        "--executor",
        metavar="NAME",
        help="Where runs are computed: local (processes of this machine, the default), serial (one "
        "after the other; the default on a GPU), ray (a cluster; RAY_ADDRESS names it).",
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Train nothing: print the recipe with every setting, the rows, and the estimated "
        "cost.",
    ),
]
ExplainOption = Annotated[
    bool,
    typer.Option(
        "--explain",
        help="Show the weight of each word: attention where the run's pooling has it, else "
        "integrated gradients, and a test of them.",
    ),
]
_MOST_DIGITS = 15  # of a whole number
_SHORT = {"epochs": "plan.epochs", "lr": "plan.lr", "encoder": "encoder", "pooling": "pooling"}


@dataclass(frozen=True)
class ShortForms:
    """Options that are short for an override; None where not given."""

    epochs: str | None
    lr: str | None
    encoder: str | None
    pooling: str | None

    def overrides(self, typed: Sequence[str] | None) -> tuple[str, ...]:
        """The options as overrides, then those that were typed as such. Raises RecipeError where a
        setting is given in both forms.
        """
        given = {
            _SHORT[name]: (name, value) for name, value in asdict(self).items() if value is not None
        }
        typed = tuple(typed or ())
        keys = {text.partition("=")[0].strip(): text for text in typed}
        twice = [
            Problem(
                where=f"--{name} {value}",
                message=f"{keys[setting]} sets the same.",
                remedy="Keep one of the two.",
            )
            for setting, (name, value) in given.items()
            if setting in keys
        ]
        if twice:
            raise RecipeError(twice)
        return (*(f"{setting}={value}" for setting, (_, value) in given.items()), *typed)


@dataclass(frozen=True)
class FileOptions:
    """Options for reading a table; None to detect them from the file."""

    on_bad_row: str | None
    delimiter: str | None
    encoding: str | None
    skip_lines: str | None = None
    sheet: str | None = None

    def settings(self) -> dict[str, Any]:
        """The options that were given. Raises RecipeError for an unknown --on-bad-row
        and a --skip-lines that is no number.
        """
        if self.on_bad_row not in (None, "fail", "skip"):
            raise RecipeError(f"--on-bad-row: expected fail or skip, got '{self.on_bad_row}'.")
        lines = None if self.skip_lines is None else whole_number("--skip-lines", self.skip_lines)
        given = {
            "on_bad_row": self.on_bad_row,
            "delimiter": self.delimiter,
            "encoding": self.encoding,
            "skip_lines": lines,
            "sheet": self.sheet,
        }
        return {key: value for key, value in given.items() if value is not None}


def whole_number(option: str, value: str) -> int:
    """The value of an option that counts something. Raises RecipeError."""
    if not value.isdecimal() or len(value) > _MOST_DIGITS:
        limit = f" and at most {_MOST_DIGITS} digits" if value.isdecimal() else ""
        expected = f"a whole number of at least 0{limit}"
        raise RecipeError(f"{option}: expected {expected}, got {format_given(value)}.")
    return int(value)


def share(option: str, value: str) -> float:
    """The value of an option that is a number from 0 to 1. Raises RecipeError."""
    try:
        found = float(value)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        meant = f" Write {found / 100:g}." if 1 < found <= 100 else ""
        expected = "a number from 0 to 1, such as 0.9"
        raise RecipeError(f"{option}: expected {expected}, got {format_given(value)}.{meant}")
    return found


def check_runs_folder(folder: Path) -> None:
    """Raises RecipeError where no run can be written there, before an hour is spent on one."""
    from encore.runs.places import enclosing_result

    if _ADDRESS.match(str(folder)) and not folder.exists():
        raise RecipeError(
            f"--runs {folder}: expected a folder, got an address. Runs lock and rename their "
            f"files, which object stores cannot: name a mounted file system, and copy complete "
            f"runs."
        )
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise RecipeError(f"--runs {folder}: {there} is a file. Name a folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RecipeError(f"--runs {folder}: nothing can be written there. Name another folder.")
    if (owner := enclosing_result(folder)) is not None:
        where, kind = owner
        raise RecipeError(f"--runs {folder}: this is in the {kind} {where}. Name another folder.")

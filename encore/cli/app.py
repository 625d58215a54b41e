"""The command line. Results go to standard output, everything else to standard error.

Torch and everything else that is heavy is imported by the commands that need it, so that `encore
--help` answers at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from encore.cli.commands.calibrate import calibrate_entry
from encore.cli.commands.check import check_entry
from encore.cli.commands.compare import compare_entry
from encore.cli.commands.distill import distill_entry
from encore.cli.commands.ensemble import ensemble_entry
from encore.cli.commands.evaluate import evaluate_entry
from encore.cli.commands.export import export_entry, push_entry
from encore.cli.commands.ls import ls_entry
from encore.cli.commands.predict import predict_entry
from encore.cli.commands.pretrain import pretrain_entry
from encore.cli.commands.report import report_entry
from encore.cli.commands.soup import soup_entry
from encore.cli.commands.tidy import mv_entry, rm_entry
from encore.cli.commands.train import train_entry
from encore.cli.commands.tune import tune_entry
from encore.cli.commands.worker import worker_entry
from encore.cli.output import announce, say
from encore.errors import EncoreError, TrainingError, first_line, format_given, shown_command

__all__ = ["app", "main"]

_INTERRUPTED = 130

app = typer.Typer(
    help="Fine-tune pretrained text encoders and measure how good they are. Start with: encore "
    "train FILE.csv",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _entry, _summary in (
    ("train", train_entry, "Train on a table, a recipe or a named task."),
    ("check", check_entry, "Check a table before training on it."),
    ("compare", compare_entry, "Compare the variants of a recipe over several seeds."),
    ("tune", tune_entry, "Search for the best settings of a recipe."),
    ("worker", worker_entry, "Compute runs of a prepared comparison, here or on other machines."),
    ("distill", distill_entry, "Train a smaller model on what runs say of its rows."),
    ("pretrain", pretrain_entry, "Train an encoder on texts without labels."),
    ("ensemble", ensemble_entry, "Make one predictor of several runs."),
    ("soup", soup_entry, "Make one model of the mean weights of runs."),
    ("evaluate", evaluate_entry, "Evaluate a run on labelled rows."),
    ("predict", predict_entry, "Label new texts with a run."),
    ("calibrate", calibrate_entry, "Calibrate a run's probabilities; tune thresholds."),
    ("report", report_entry, "Write a run, a comparison or a search as one HTML file."),
    ("export", export_entry, "Write a run as a folder that transformers loads."),
    ("push", push_entry, "Export a run and upload it to the Hugging Face hub."),
    ("ls", ls_entry, "List runs, named tasks, recipes or techniques."),
    ("mv", mv_entry, "Rename a run, or move it elsewhere."),
    ("rm", rm_entry, "Remove runs, comparisons, searches, pre-trainings or exports."),
):
    app.command(_name, short_help=_summary)(_entry)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"encore {version('encore-nlp')}")
        raise typer.Exit


@app.callback()
def _encore(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Options of `encore` itself."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit. Errors become one line each on standard error and an exit code
    (docs/design.md, "Errors").
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    _open_streams()
    _interrupt_when_terminated()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show '→' gets a '?'.
        with contextlib.suppress(AttributeError, OSError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        code = _run(given)
    finally:
        if "--install-completion" in given:
            _complete_at_first_tab()
    if code == _INTERRUPTED:
        resumed = ("train", "compare", "tune", "distill", "pretrain", "worker")
        resumable = given[:1] in [[command] for command in resumed]
        again = f". Nothing is lost; to resume: {shlex.join(['encore', *shown_command(given)])}"
        announce(["", f"interrupted{again if resumable else ''}"])
    sys.exit(code)


def _complete_at_first_tab() -> None:
    """Let zsh complete at the first tab of a session: typer's file, which is read at that tab,
    defines its function and does not call it.
    """
    file = Path.home() / ".zfunc" / "_encore"
    with contextlib.suppress(OSError):
        text = file.read_text(encoding="utf-8")
        if text.endswith("compdef _encore_completion encore"):
            file.write_text(f'{text}\n_encore_completion "$@"\n', encoding="utf-8")


def _open_streams() -> None:
    """Replace standard streams that are closed: files that are opened later would take their
    numbers, and what is printed would be written into them.
    """
    closed = sys.stdout is None
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if sys.__dict__[name] is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))
    if closed:
        announce(["standard output is closed, so nothing is printed there"])


def _interrupt_when_terminated() -> None:
    """Let SIGTERM (`kill`, a batch system) end a command as Ctrl-C does, unless it is handled or
    ignored already.
    """
    with contextlib.suppress(ValueError):  # not in the main thread
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, signal.default_int_handler)


def _run(given: Sequence[str]) -> int:
    """Run a command and return its exit code. With --debug, exceptions are raised."""
    try:
        # typer returns the code of an interrupt (130) or of `typer.Exit` instead of raising it.
        code = app(given or ["--help"], prog_name="encore", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return _INTERRUPTED
    except (BrokenPipeError, SystemExit) as error:
        # `encore … | head`: the reader has seen enough. typer turns that into a failing SystemExit.
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if "--debug" in given:
            raise
        lines, code = _failure(error, given)
        announce(lines)
        return code


def _failure(error: Exception, given: Sequence[str]) -> tuple[Sequence[str], int]:
    """The lines that describe an error, and the exit code."""
    if isinstance(error, EncoreError):
        return error.lines, error.exit_code
    if hasattr(error, "format_message"):  # typer's parser; its classes moved between versions
        from encore.cli.usage import usage_problem

        return [str(usage_problem(error, given))], 2
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return [f"encore: the file name {format_given(error.filename)} is too long."], 2
    if isinstance(error, OverflowError):
        return ["encore: a number is too large to compute with. Give a smaller one."], 2
    if _out_of_memory(error):
        remedy = (
            "Process fewer rows at a time (plan.micro_batch=8) or shorter ones (max_length=64); "
            "`--dry-run` estimates the memory."
        )
        return [f"encore: not enough memory. {remedy}"], TrainingError.exit_code
    return [
        f"encore: internal error: {first_line(error, 500)}. Add --debug for the traceback, and "
        f"please report it."
    ], 1


def _out_of_memory(error: Exception) -> bool:
    """Recognises torch's errors without importing torch. On the CPU it raises a RuntimeError."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or any(words in str(error) for words in ("can't allocate", "Cannot allocate memory"))
    )

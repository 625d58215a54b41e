"""The command line. Results go to standard output, everything else to standard error.

Torch and everything heavy is imported by the commands that need it, so that `encore --help` answers
at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from encore.catalogue import kinds
from encore.errors import (
    Complaints,
    EncoreError,
    RecipeError,
    TrainingError,
    did_you_mean,
    first_line,
    printable,
)
from encore.types import DEFAULTS

if TYPE_CHECKING:
    from rich.console import Console


app = typer.Typer(
    help="Fine-tune pretrained text encoders and know how good they are. Start with: encore "
    "train FILE.csv",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_BAD_ROW = "fail: list the bad rows and stop; skip: leave them out and say how many."
_Runs = Annotated[
    Path,
    typer.Option("--runs", metavar="FOLDER", envvar="ENCORE_RUNS", help="Where runs are kept."),
]
_Json = Annotated[
    bool, typer.Option("--json", help="Print exactly one JSON object on standard output.")
]
_Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No announcements and no progress, only results.")
]
_Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
_Task = Annotated[
    str | None,
    typer.Option("--task", metavar="NAME", help="Which task of the run, where it has several."),
]
_OnBadRow = Annotated[str | None, typer.Option("--on-bad-row", metavar="fail|skip", help=_BAD_ROW)]
_Delimiter = Annotated[
    str | None,
    typer.Option(
        "--delimiter", metavar="CHARACTER", help="Of a csv file; found out where it is not given."
    ),
]
_Encoding = Annotated[
    str | None,
    typer.Option(
        "--encoding",
        metavar="NAME",
        help="Of a text file (utf-8, cp1252, …); found out where it is not given.",
    ),
]
_Mistakes = Annotated[
    str, typer.Option("--mistakes", metavar="N", help="How many of the worst mistakes to show.")
]
_Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the output file if there is one.")
]
_RunFolder = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="A run folder, as `encore train` and `encore ls` print it."),
]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"encore {version('encore-nlp')}")
        raise typer.Exit


@app.callback()
def encore(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and leave."
        ),
    ] = False,
) -> None:
    """Options of `encore` itself."""


@app.command("train", short_help="Train on a table, a recipe or a named task.")
def _train(
    what: Annotated[
        str,
        typer.Argument(
            metavar="FILE|RECIPE|TASK",
            help="A table (.csv .tsv .jsonl .parquet), a recipe (.yaml), or a named task (rte, …).",
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Settings: plan.lr=3e-5 pooling=cls … (--dry-run: those in force)",
        ),
    ] = None,
    text: Annotated[str | None, typer.Option("--text", metavar="COLUMN", help="The text.")] = None,
    text_pair: Annotated[
        str | None,
        typer.Option(
            "--text-pair", metavar="COLUMN", help="The second text, where texts come in pairs."
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--label", metavar="COLUMN", help="The label: what is to be predicted."),
    ] = None,
    dev: Annotated[
        str | None,
        typer.Option(
            "--dev",
            metavar="FILE",
            help="Labelled rows to measure on; without it a part of the training rows.",
        ),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(
            "--test",
            metavar="FILE",
            help="Labelled rows that only `encore evaluate --final` opens.",
        ),
    ] = None,
    on_bad_row: _OnBadRow = None,
    delimiter: _Delimiter = None,
    encoding: _Encoding = None,
    runs: _Runs = Path("runs"),
    json_: _Json = False,
    quiet: _Quiet = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the recipe with everything filled in, the rows, and what training would "
            "cost.",
        ),
    ] = False,
    debug: _Debug = False,
) -> None:
    """Train on a table, a recipe or a named task.

    The same command again resumes the run, or says that it is complete.
    """
    from encore.api import prepared_from
    from encore.cli import train as words
    from encore.cli import usage

    options = {
        "text": text,
        "text_pair": text_pair,
        "label": label,
        "dev": dev,
        "test": test,
        **_reading(on_bad_row, delimiter, encoding),
    }
    complaints = Complaints()
    complaints.of(_check_runs, runs)
    given = usage.option_values(options)
    prepared = complaints.of(prepared_from, what, tuple(overrides or ()), **given)
    complaints.raise_any()
    assert prepared is not None
    folder = runs / prepared.name
    _say([*words.announcements(prepared), words.run_line(folder)], quiet=quiet)
    if dry_run:
        from encore.runs.cost import estimate_cost

        cost = estimate_cost(prepared)
        print(
            json.dumps(words.dry_run_object(prepared, cost, folder), ensure_ascii=False)
            if json_
            else "\n".join(words.dry_run_lines(prepared, cost))
        )
        return
    from encore.cli.progress import Watch
    from encore.runs.execute import execute

    with (
        contextlib.nullcontext() if quiet else Watch(sys.stderr, **words.extent(prepared)) as watch
    ):
        result = execute(prepared, runs, watch=watch)
    if json_:
        print(json.dumps(result.summary(), ensure_ascii=False))
        return
    from encore.tables.listing import show

    for table in words.result_tables(result, prepared):
        show(table, _console())
    print(words.last_line(result, prepared))


@app.command("compare", short_help="Compare the variants of a recipe over several seeds.")
def _compare(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A recipe (.yaml) with variants:, or the name of one that `encore ls recipes` "
            "lists.",
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="Settings of the recipe: encoder=minilm seeds=[42,43] …"
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            metavar="NAMES",
            help="Only these variants, commas between; the reference is always there.",
        ),
    ] = None,
    curve: Annotated[
        str | None,
        typer.Option(
            "--curve", metavar="KEY=VALUES", help="A study for each size: train_rows=500,1000,2000"
        ),
    ] = None,
    race: Annotated[
        bool,
        typer.Option(
            "--race", help="Screen the variants on seeds of its own; all seeds only for the best."
        ),
    ] = False,
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes",
            min=1,
            metavar="N",
            help="Runs at once; as many as there are cores if not given.",
        ),
    ] = None,
    keep_models: Annotated[
        bool,
        typer.Option("--keep-models", help="Keep the weights of every run, which fills the disk."),
    ] = False,
    runs: _Runs = Path("runs"),
    json_: _Json = False,
    quiet: _Quiet = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the runs and what they would cost.")
    ] = False,
    debug: _Debug = False,
) -> None:
    """Compare the variants of a recipe over several seeds, in one or more studies.

    Every distinct run is computed once. The same command again goes on where it was stopped.

    --race: every variant runs with one screening seed; the better half (and whoever equals its
    last) runs with a second; the better half of these runs, with the reference, with all of the
    recipe's seeds, and only those runs are in the table. race.seeds=[7,8,9] and race.factor=3 say
    otherwise. Each study of `each` or --curve races on its own.
    """
    from encore.cli import compare

    _check_runs(runs)
    how: dict[str, Any] = {
        "only": only,
        "curve": curve,
        "race": race,
        "processes": processes,
        "keep_models": keep_models,
        "runs": runs,
    }
    raise typer.Exit(
        compare.compare_command(
            recipe, overrides or (), **how, json_=json_, quiet=quiet, dry_run=dry_run
        )
    )


@app.command("tune", short_help="Search for the best settings of a recipe.")
def _tune(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A recipe (.yaml) with search:, and if need be trials:, seeds_per_trial: and "
            "seeds:.",
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="Settings of the recipe; one that is searched is then fixed."
        ),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            "--trials", "-n", min=1, metavar="N", help="Trials in all, with those that are there."
        ),
    ] = None,
    sampler: Annotated[
        str, typer.Option("--sampler", metavar="NAME", help="tpe, random, grid, gp, cmaes.")
    ] = DEFAULTS.sampler,
    pruner: Annotated[
        str,
        typer.Option(
            "--pruner",
            metavar="NAME",
            help="Gives trials up: none, median, hyperband, wilcoxon (over seeds).",
        ),
    ] = "none",
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage", metavar="URL", help="A database for several machines; a file if not given."
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes",
            min=1,
            metavar="N",
            help="Trials at once; as many as there are cores if not given.",
        ),
    ] = None,
    runs: _Runs = Path("runs"),
    json_: _Json = False,
    quiet: _Quiet = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be searched and what it would cost.")
    ] = False,
    debug: _Debug = False,
) -> None:
    """Search for the best settings of a recipe, then train the best configuration again on fresh
    seeds.

    The same command again goes on where it was stopped; a larger N adds trials.
    """
    from encore.cli import search

    _check_runs(runs)
    how = {
        "n": n,
        "sampler": sampler,
        "pruner": pruner,
        "storage": storage,
        "processes": processes,
        "runs": runs,
        "json_": json_,
        "quiet": quiet,
    }
    raise typer.Exit(search.tune_command(recipe, overrides or (), dry_run=dry_run, **how))  # type: ignore[arg-type]


@app.command("evaluate", short_help="Measure a run on labelled rows.")
def _evaluate(
    run: _RunFolder,
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE",
            help="A table with the columns that the run was trained on; - for standard input.",
        ),
    ] = None,
    slices: Annotated[
        list[str] | None,
        typer.Option(
            "--slice", metavar="COLUMN", help="Metrics for each value of a column; may be repeated."
        ),
    ] = None,
    final: Annotated[
        bool,
        typer.Option(
            "--final",
            help="Open the recipe's test file instead of FILE, and log that it was opened.",
        ),
    ] = False,
    mistakes: _Mistakes = "10",
    task: _Task = None,
    on_bad_row: _OnBadRow = None,
    delimiter: _Delimiter = None,
    encoding: _Encoding = None,
    json_: _Json = False,
    quiet: _Quiet = False,
    debug: _Debug = False,
) -> None:
    """Metrics with 95 % intervals, confusion matrix, metrics per value of a column, and the worst
    mistakes with their text.
    """
    n_mistakes, wanted = _count("--mistakes", mistakes), tuple(slices or ())
    if final == (file is not None):
        raise RecipeError(
            "encore evaluate: "
            + (
                "FILE and --final are both given; keep one."
                if final
                else "which rows? Name a labelled FILE, or pass --final."
            )
        )
    from encore.runs.evaluate import evaluate_run, open_final
    from encore.runs.predict import load
    from encore.tables.listing import show

    reading = _reading(on_bad_row, delimiter, encoding)
    model = load(run)
    chosen = model.task(task).name
    log = (lambda line: None) if quiet else (lambda line: print(line, file=sys.stderr))
    dataset = (
        open_final(model, chosen, log=log, keep=wanted)
        if final
        else model.read(str(file), task=chosen, with_labels=True, keep=wanted, **reading)
    )
    _say([dataset.how_read], quiet=quiet)
    found = evaluate_run(model, chosen, dataset, slices=wanted, n_mistakes=n_mistakes)
    if json_:
        print(json.dumps(found.as_object(), ensure_ascii=False))
        return
    for table in found.tables():
        show(table, _console())


@app.command("predict", short_help="Label new texts with a run.")
def _predict(
    run: _RunFolder,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A table with the text columns that the run was trained on; - for standard input.",
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Where to write: .csv .tsv .jsonl .parquet; - for csv on standard output.",
        ),
    ] = "-",
    with_input: Annotated[
        bool, typer.Option("--with-input", help="Begin each row with the columns of the input.")
    ] = False,
    overwrite: _Overwrite = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Show how much each word weighs, where the run's pooling has weights "
            "(attention, …).",
        ),
    ] = False,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="NAMES",
            help="Which tasks of the run, commas between, where it has several.",
        ),
    ] = None,
    on_bad_row: _OnBadRow = None,
    delimiter: _Delimiter = None,
    encoding: _Encoding = None,
    json_: _Json = False,
    quiet: _Quiet = False,
    debug: _Debug = False,
) -> None:
    """Labels and probabilities, one row for each row of the input, in its order. Of several tasks
    the columns are called TASK.prediction and so on.

    With --explain and no -o the texts are shown, the words that weigh most in the strongest colour;
    with -o FILE.jsonl or .parquet the weights are columns.
    """
    from encore.data.write import check_target, write_rows
    from encore.runs.predict import load, task_columns, with_columns

    complaints = Complaints()
    if explain:
        complaints.of(_check_explained, out, with_input=with_input)
    elif json_ and out == "-":
        complaints.errors.append(
            RecipeError(
                "encore predict: --json and the predictions cannot both go to standard output. "
                "Name a file: -o predictions.csv"
            )
        )
    complaints.of(check_target, out, overwrite=overwrite)
    reading = complaints.of(_reading, on_bad_row, delimiter, encoding) or {}
    model = complaints.of(load, run)
    asked = complaints.of(model.chosen, task, alone=explain) if model is not None else None
    chosen = asked[0] if asked else None
    dataset = (
        complaints.of(model.read, file, task=chosen.name, keep_all=with_input, **reading)
        if model is not None and chosen is not None
        else None
    )
    found = (
        complaints.of(model.explanations, dataset, task=chosen.name)
        if explain and model and chosen and dataset is not None
        else None
    )
    complaints.raise_any()
    assert model is not None
    assert asked is not None
    assert chosen is not None
    assert dataset is not None
    _say([dataset.how_read, *dataset.notes], quiet=quiet)
    of_tasks = model.scores_of([one.name for one in asked], dataset)
    scores = of_tasks[chosen.name]
    if found is not None and out == "-":
        from encore.cli.predict import explained_lines, explained_object

        if json_:
            print(
                json.dumps(
                    {"run": str(run), "file": file, **explained_object(chosen, scores, found)},
                    ensure_ascii=False,
                )
            )
            return
        console = _console()
        for line in explained_lines(chosen, dataset, scores, found):
            if console.is_terminal:
                console.print(line)
            else:
                print(line.plain)
        return
    columns = task_columns(of_tasks, asked)
    if found is not None:
        from encore.runs.explain import weight_columns

        columns |= weight_columns(found, pair=dataset.pairs is not None)
    write_rows(out, with_columns(dataset, columns) if with_input else columns, overwrite=overwrite)
    if json_:
        print(
            json.dumps(
                {"run": str(run), "file": file, "out": out, "rows": len(dataset)},
                ensure_ascii=False,
            )
        )
    elif out != "-":
        _say([f"{len(dataset):,} row{'' if len(dataset) == 1 else 's'} → {out}"], quiet=quiet)


@app.command("report", short_help="Write a run, a comparison or a search as one HTML file.")
def _report(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|COMPARISON|SEARCH",
            help="A folder that `encore train`, `compare` or `tune` printed.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE.html",
            help="Where to write; report.html in the folder if not given.",
        ),
    ] = None,
    overwrite: _Overwrite = False,
    mistakes: _Mistakes = "10",
    json_: _Json = False,
    quiet: _Quiet = False,
    debug: _Debug = False,
) -> None:
    """Write a run, a comparison or a search as one HTML file that needs no network and no script,
    and beside it each figure as SVG and CSV.

    Verdicts, tables, figures, the worst mistakes with their text, cost, versions and digests of the
    data, and the command to repeat it.
    """
    n_mistakes = _count("--mistakes", mistakes)
    from encore.data.table import display_path
    from encore.report.write import write_report as write

    written = write(folder, out, n_mistakes=n_mistakes, overwrite=overwrite)
    _say(written.notes, quiet=quiet)
    if json_:
        print(json.dumps(written.as_object(), ensure_ascii=False))
    else:
        print(
            f"report: {display_path(written.html)} ({written.n_figures} figures, also as SVG "
            f"and CSV "
            f"in {display_path(written.figures)})"
        )


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


@app.command("export", short_help="Write a run as a folder that transformers loads.")
def _export(
    run: _RunFolder,
    to: _To,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to make.")],
    task: _Task = None,
    on: _On = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace an earlier export. Nothing else is ever replaced."
        ),
    ] = False,
    json_: _Json = False,
    debug: _Debug = False,
) -> None:
    """Write a run as a folder that other libraries load: weights, tokenizer, label names, and a
    model card.

    It is loaded again in a fresh process and compared with Encore before it appears.
    """
    from encore.cli.export import export_command

    export_command(run, to, folder, task=task, on=on, overwrite=overwrite, json_=json_)


@app.command("push", short_help="Export a run and send it to the hub.")
def _push(
    run: _RunFolder,
    repository: Annotated[
        str,
        typer.Argument(
            metavar="USER/NAME", help="A repository of models; it is made where there is none."
        ),
    ],
    to: _To = "hf",
    task: _Task = None,
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
    json_: _Json = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Export and compare, list the files, send nothing.")
    ] = False,
    debug: _Debug = False,
) -> None:
    """Export a run and send it to the hub (huggingface.co), in one commit. The token is HF_TOKEN,
    or that of `hf auth login`.
    """
    from encore.cli.export import push_command

    push_command(
        run,
        repository,
        to=to,
        task=task,
        on=on,
        private=private,
        overwrite=overwrite,
        dry_run=dry_run,
        json_=json_,
    )


@app.command("ls", short_help="List runs, named tasks, recipes or techniques.")
def _list(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND", help=f"tasks, recipes, or techniques: {', '.join(kinds())}."
        ),
    ] = None,
    runs: _Runs = Path("runs"),
    json_: _Json = False,
    debug: _Debug = False,
) -> None:
    """The runs that there are, the named tasks, the recipes that come with Encore and what there is
    of them, or the techniques of one kind.
    """
    from encore.cli import inventory
    from encore.tables.listing import show

    if what is not None and what not in ("tasks", "recipes", *kinds()):
        raise RecipeError(
            f"encore ls: nothing called '{what}'. "
            f"{did_you_mean(what, ['tasks', 'recipes', *kinds()])}"
        )
    if what is None:
        found = inventory.runs(runs)
        table = inventory.runs_table(found)
    elif what == "recipes":
        found = inventory.recipes(runs)
        table = inventory.recipes_table(found)
    else:
        found = inventory.named_tasks() if what == "tasks" else inventory.techniques(what)
        table = inventory.table(found)
    if json_:
        print(json.dumps({what or "runs": found}, ensure_ascii=False))
    elif not found:
        print(f"no runs in {runs}. Start one: encore train FILE.csv")
    else:
        show(table, _console())


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command; errors become one line each on standard error and an exit code
    (docs/design.md, "Errors").
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(
            AttributeError, OSError
        ):  # a terminal that has no '→' gets a '?', and nobody an error
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        code = app(given or ["--help"], prog_name="encore", standalone_mode=False)
        sys.stdout.flush()
    except EncoreError as error:
        code = _told(error.lines, error.exit_code, error, given)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except (
        BrokenPipeError,
        SystemExit,
    ) as error:  # `encore … | head`: whoever read has seen enough; typer makes a failure of it
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if hasattr(
            error, "format_message"
        ):  # what typer's parser raises; its classes moved between versions
            from encore.cli.usage import usage_problem

            code = _told([usage_problem(error, given)], 2, error, given)
        else:
            code = _unexpected(error, given)
    if code == 130:  # which typer makes of an interrupt, without a word
        again = (
            f". Nothing is lost; to go on: {shlex.join(['encore', *given])}"
            if given[:1] in (["train"], ["compare"], ["tune"])
            else ""
        )
        print(f"\ninterrupted{again}", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def _told(lines: Sequence[str], code: int, error: Exception, given: Sequence[str]) -> int:
    if "--debug" in given:
        raise error
    _say(lines, quiet=False)
    return code


def _unexpected(error: Exception, given: Sequence[str]) -> int:
    if (
        isinstance(error, MemoryError)
        or "can't allocate memory" in str(error)
        or type(error).__name__ == "OutOfMemoryError"
    ):
        remedy = (
            "Compute fewer rows at once (plan.micro_batch=8) or shorter ones "
            "(max_length=64); `--dry-run` estimates what is needed."
        )
        return _told(
            [f"encore: not enough memory. {remedy}"], TrainingError.exit_code, error, given
        )
    return _told(
        [
            f"encore: internal error: {first_line(error)}. With --debug it shows where; please "
            f"report it."
        ],
        1,
        error,
        given,
    )


def _console() -> Console:
    from rich.console import Console

    return Console()


def _say(lines: Sequence[str], *, quiet: bool) -> None:
    for line in () if quiet else lines:
        print(printable(line), file=sys.stderr)


def _reading(on_bad_row: str | None, delimiter: str | None, encoding: str | None) -> dict[str, Any]:
    if on_bad_row not in (None, "fail", "skip"):
        raise RecipeError(f"--on-bad-row: expected fail or skip, got '{on_bad_row}'.")
    return {
        key: value
        for key, value in (
            ("on_bad_row", on_bad_row),
            ("delimiter", delimiter),
            ("encoding", encoding),
        )
        if value is not None
    }


def _count(option: str, given: str) -> int:
    if not given.isdecimal():
        raise RecipeError(f"{option}: expected a whole number of at least 0, got '{given}'.")
    return int(given)


def _check_explained(out: str, *, with_input: bool) -> None:
    """Weights are lists, one entry per word: a cell of a csv file holds none."""
    if Path(out).suffix.lower() in (".csv", ".tsv"):
        raise RecipeError(
            f"encore predict: {out} cannot hold the weights of --explain, which are lists. "
            f"Name a .jsonl or .parquet file."
        )
    if out == "-" and with_input:
        raise RecipeError(
            "encore predict: --explain shows texts, not columns, so --with-input needs a file "
            "beside it: -o explained.jsonl"
        )


def _check_runs(folder: Path) -> None:
    """Whether runs can be kept there, before an hour is spent on one."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise RecipeError(f"--runs {folder}: {there} is a file. Name a folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RecipeError(f"--runs {folder}: nothing can be written there. Name another folder.")

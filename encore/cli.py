"""The command line. Torch and everything heavy is imported by the commands that need it, so that `encore --help` answers at once."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import click
import typer

from encore.errors import EncoreError, RecipeError

if TYPE_CHECKING:
    from rich.console import Console

    from encore.predict import Model
    from encore.prepare import Prepared
    from encore.recipe import Recipe
    from encore.run import Result

app = typer.Typer(
    help="Fine-tune pretrained text encoders and know how good they are. Start with: encore train FILE.csv",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Runs = Annotated[Path, typer.Option("--runs", envvar="ENCORE_RUNS", help="Folder for runs.")]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No announcements and no progress.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Task = Annotated[str | None, typer.Option("--task", help="Which task of the run, where it has several.")]
OnBadRow = Annotated[str, typer.Option("--on-bad-row", help="fail: stop and list them; skip: leave them out and say how many.")]
Delimiter = Annotated[str | None, typer.Option("--delimiter", help="Of a csv file; sniffed otherwise.")]
Encoding = Annotated[str | None, typer.Option("--encoding", help="Of a text file; sniffed otherwise.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as `encore train` prints it.")]


@app.command()
def train(
    what: Annotated[str, typer.Argument(metavar="FILE|RECIPE|TASK", help="A table (.csv .tsv .jsonl .parquet), a recipe (.yaml), or a named task (rte, sst5, …).")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings of the recipe, e.g. plan.lr=3e-5 pooling=mean.")] = None,
    text: Annotated[str | None, typer.Option("--text", help="Column with the text.")] = None,
    text_pair: Annotated[str | None, typer.Option("--text-pair", help="Column with the second text of a pair.")] = None,
    label: Annotated[str | None, typer.Option("--label", help="Column with the label.")] = None,
    dev: Annotated[str | None, typer.Option("--dev", help="Labelled file to measure on; without it a part of the training file.")] = None,
    test: Annotated[str | None, typer.Option("--test", help="Labelled file that only `encore evaluate --final` opens.")] = None,
    on_bad_row: Annotated[str | None, typer.Option("--on-bad-row", help="fail: stop and list them; skip: leave them out and say how many.")] = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    runs: Runs = Path("runs"),
    json_: Json = False,
    quiet: Quiet = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe, rows, truncation, parameters, and what it will cost; train nothing.")] = False,
    debug: Debug = False,
) -> None:
    """Train on a table, a recipe or a named task. The same command again resumes, or says that the run is complete."""
    from encore.api import recipe_of

    given = {"text": text, "text_pair": text_pair, "label": label, "dev": dev, "test": test, "on_bad_row": on_bad_row, "delimiter": delimiter, "encoding": encoding}
    recipe = recipe_of(what, tuple(overrides or ()), **{key: value for key, value in given.items() if value is not None})
    from encore.prepare import prepare

    prepared = prepare(recipe)
    if dry_run:
        _dry_run(prepared, runs, json_=json_)
        return
    from encore.run import execute

    say = _console(stderr=json_, silent=quiet)
    for line in _announcements(prepared):
        say.print(line, markup=False, highlight=False, soft_wrap=True)
    folder = runs / prepared.name
    resumed = (folder / "checkpoint").is_dir() and not (folder / "manifest.json").exists()
    if resumed:
        say.print(f"resuming {folder}", markup=False, highlight=False)
    try:
        with nullcontext() if quiet else _watch(prepared) as watch:
            result = execute(prepared, runs, watch=watch)
    except KeyboardInterrupt:
        print(f"\ninterrupted; nothing is lost. To go on: {_command()}", file=sys.stderr)
        raise SystemExit(130) from None
    if json_:
        print(json.dumps(result.summary()))
        return
    _show_result(result, recipe, prepared)


@app.command()
def evaluate(
    run: RunFolder,
    file: Annotated[str | None, typer.Argument(metavar="[FILE]", help="A labelled table with the columns that the run was trained on.")] = None,
    slices: Annotated[list[str] | None, typer.Option("--slice", help="Metrics for each value of this column; may be given several times.")] = None,
    final: Annotated[bool, typer.Option("--final", help="Open the recipe's test file, and log that it was opened.")] = False,
    mistakes: Annotated[int, typer.Option("--mistakes", min=0, help="How many of the worst mistakes to show.")] = 10,
    task: Task = None,
    on_bad_row: OnBadRow = "fail",
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Metrics with 95 % intervals, confusion matrix, worst mistakes, and metrics per value of any column."""
    from encore.predict import load

    if final == (file is not None):
        raise RecipeError("encore evaluate: give either a labelled FILE, or --final for the recipe's test file.")
    model = load(run)
    chosen = model.task(task)
    if final:
        dataset = _test_set(model, chosen.name)
    else:
        reading = {"on_bad_row": _choice("--on-bad-row", on_bad_row, ("fail", "skip")), "delimiter": delimiter, "encoding": encoding}
        dataset = model.read(str(file), task=chosen.name, with_labels=True, keep=slices or (), **reading)
    _evaluation(model, chosen.name, dataset, slices or [], mistakes, json_=json_)


@app.command()
def predict(
    run: RunFolder,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A table with the text columns that the run was trained on; - for standard input.")],
    out: Annotated[str, typer.Option("--out", "-o", help="Where to write, by suffix: .csv .tsv .jsonl .parquet; - for csv on standard output.")] = "-",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output file if there is one.")] = False,
    task: Task = None,
    on_bad_row: OnBadRow = "fail",
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    json_: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Labels and probabilities, one row for each row of the input, in its order."""
    from encore.data.read import write_rows
    from encore.predict import columns_of, load

    if json_ and out == "-":
        raise RecipeError("encore predict: --json and the predictions cannot both go to standard output. Name a file: -o predictions.csv")
    if out != "-" and Path(out).exists() and not overwrite:
        raise RecipeError(f"{out}: exists already and is left as it is. Name another file, or pass --overwrite.")
    model = load(run)
    chosen = model.task(task)
    reading = {"on_bad_row": _choice("--on-bad-row", on_bad_row, ("fail", "skip")), "delimiter": delimiter, "encoding": encoding}
    dataset = model.read(file, task=chosen.name, **reading)
    say = _console(stderr=True, silent=quiet)
    for note in dataset.notes:
        say.print(note, markup=False, highlight=False, soft_wrap=True)
    write_rows(out, columns_of(model.scores(dataset, task=chosen.name), chosen.labels), overwrite=overwrite)
    if json_:
        print(json.dumps({"run": str(run), "file": file, "out": out, "rows": len(dataset)}))
    elif out != "-":
        say.print(f"{len(dataset):,} rows → {out}", markup=False, highlight=False)


@app.command("ls")
def list_(
    what: Annotated[str | None, typer.Argument(metavar="[KIND]", help="tasks, pooling, heads, losses, curves, plans or metrics; nothing: the runs.")] = None,
    runs: Runs = Path("runs"),
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """The runs there are, or the techniques of one kind."""
    from encore import catalogue

    if what is None:
        _list_runs(runs, json_=json_)
        return
    if what == "tasks":
        from encore.data.tasks import names

        found: Sequence[str] = names()
    elif what in catalogue.kinds():
        found = catalogue.names(what)
    else:
        from encore.errors import did_you_mean

        raise RecipeError(f"encore ls: nothing called '{what}'. {did_you_mean(what, ['tasks', *catalogue.kinds()])}")
    print(json.dumps({what: list(found)}) if json_ else "\n".join(found))


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command; errors become one line each on standard error and an exit code (DESIGN §6)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # With two threads on a busy machine OpenMP's spinning costs more than it gains; has to be set before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = app(given, prog_name="encore", standalone_mode=False)
    except EncoreError as error:
        if "--debug" in given:
            raise
        for line in error.problems:
            print(line, file=sys.stderr)
        code = error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        code = 0
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx is not None else "encore"
        print(f"{where}: {' '.join(error.format_message().split())} See `{where} --help`.", file=sys.stderr)
        code = 2
    except (KeyboardInterrupt, click.Abort):
        print("interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:                              # `encore … | head`: whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if "--debug" in given:
            raise
        told = str(error).strip().splitlines()
        print(f"encore: internal error: {type(error).__name__}{': ' + told[0] if told else ''}. With --debug it shows where; please report it.", file=sys.stderr)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _console(*, stderr: bool = False, silent: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, quiet=silent)


def _watch(prepared: Prepared) -> Any:
    from encore.progress import Watch

    epochs = sum(phase.epochs for phase in prepared.plan)
    steps = sum(-(-len(prepared.streams[task].train) // phase.batch_size) * phase.epochs for phase in prepared.plan for task in phase.tasks)
    return Watch(sys.stderr, epochs=epochs, steps=steps)


def _command() -> str:
    import shlex

    return shlex.join(["encore", *sys.argv[1:]])


def _choice(option: str, value: str, allowed: Sequence[str]) -> Any:
    if value not in allowed:
        raise RecipeError(f"{option}: expected {' or '.join(allowed)}, got '{value}'.")
    return value


def _announcements(prepared: Prepared) -> list[str]:
    """Everything that was inferred or decided, before anything is spent on it."""
    lines = [f"{task}: {note}" for task, data in prepared.data.items() for note in data.notes]
    for task, pooling in prepared.poolings.items():
        why = f" ({prepared.source.why})" if prepared.recipe.tasks[task].pooling is None else ""
        lines.append(f"{task}: encoder {prepared.recipe.encoder}, pooling {pooling['name']}{why}")
    lines += [note for note in prepared.notes if " rows cut to " in note]
    lines.append(f"{prepared.precision} on {prepared.device}, {prepared.threads} thread{'s' if prepared.threads > 1 else ''}; seed {prepared.recipe.seed}")
    return lines


def _dry_run(prepared: Prepared, runs: Path, *, json_: bool) -> None:
    from encore.estimate import estimate
    from encore.recipe import resolved, to_yaml

    cost = estimate(prepared)
    rows = {task: {"train": len(data.train), **{split: len(part) for split, part in data.dev.items()}} for task, data in prepared.data.items()}
    if json_:
        told = {"run": str(runs / prepared.name), "recipe": resolved(prepared.recipe), "rows": rows}
        told |= {"cut": {task: {split: n for split, (n, _) in splits.items()} for task, splits in prepared.cut.items()}, "notes": list(prepared.notes)}
        told |= {"parameters": cost.parameters, "parameters_trained": cost.trained, "steps": cost.steps, "tokens_per_epoch": cost.tokens_per_epoch}
        told |= {"estimated_seconds": cost.seconds, "estimated_memory_bytes": cost.memory_bytes}
        print(json.dumps(told))
        return
    print(to_yaml(prepared.recipe))
    for line in _announcements(prepared):
        print(line)
    for task, splits in prepared.cut.items():
        limit = prepared.recipe.tasks[task].max_length
        for split, (n, of) in splits.items():
            print(f"{task} {split}: {of:,} rows, {n:,} longer than {limit} tokens")
    print(f"{cost.parameters:,} parameters, of which {cost.trained:,} are trained; {cost.steps:,} steps of {prepared.recipe.plan.batch_size} rows")
    print(f"about {_duration(cost.seconds)} and {cost.memory_bytes / 1e9:.1f} GB of memory on this machine as busy as it is now (within a factor of two)")
    print(f"would be {runs / prepared.name}")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _show_result(result: Result, recipe: Recipe, prepared: Prepared) -> None:
    from encore.evaluate import DevScores, results_table, show

    console = _console()
    if result.already_complete:
        console.print(f"already complete: {result.folder}", markup=False, highlight=False, soft_wrap=True)
    for task, sets in result.metrics.items():
        described = {split: len(part) for split, part in prepared.data[task].dev.items()}
        kept = f"{result.keep} epoch ({result.epoch} of {result.epochs})"
        rows = [DevScores(split, described[split], columns) for split, columns in sets.items()]
        show(results_table(rows, title=f"{task}, {kept}", notes=result.notes), console)
    print(f"{_duration(result.seconds)}, {result.tokens_per_second:,.0f} tokens/s")
    data = next(iter(recipe.tasks.values())).data
    example = "new.csv" if data.train is None else Path(data.train).name
    print(f"run: {result.folder}")
    print(f"next: encore predict {result.folder} {example} -o predictions.csv")


def _test_set(model: Model, task: str) -> Any:
    """The run's test file, through the only function that opens one; what was opened, and when, is kept in the run folder."""
    import datetime

    from encore.data.dataset import load_task, open_test
    from encore.recipe import load_recipe

    recipe = load_recipe(model.folder / "recipe.yaml")

    def log(line: str) -> None:
        print(line, file=sys.stderr)
        with (model.folder / "test_opened.log").open("a", encoding="utf-8") as file:
            file.write(f"{datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')} {line}\n")

    settings = recipe.tasks[task]
    return open_test(load_task(task, metrics=settings.metrics, seed=recipe.seed, base=recipe.base, **settings.data.model_dump()), log=log)


def _evaluation(model: Model, task: str, dataset: Any, slices: list[str], n_mistakes: int, *, json_: bool) -> None:
    from dataclasses import asdict

    from encore.evaluate import DevScores, by_slice, confusion, confusion_table, evaluate, mistakes_table, results_table, show, slices_table, worst_mistakes
    from encore.predict import named_predictions

    chosen = model.task(task)
    labels, metrics, seed = chosen.labels, chosen.metrics, model.seed
    scores = model.scores(dataset, task=task)
    found = evaluate(scores, dataset.targets, labels, metrics, seed)
    worst = worst_mistakes(scores, dataset.targets, labels, n_mistakes)
    sliced = {column: by_slice(dataset.extra[column], scores, dataset.targets, labels, metrics, seed) for column in slices}
    matrix = None if labels.kind == "regression" else confusion(scores, dataset.targets, labels)
    lines = dataset.lines if dataset.lines is not None else dataset.rows
    if json_:
        said = named_predictions(scores[worst], labels) if len(worst) else []
        told = {"run": str(model.folder), "file": dataset.path, "rows": len(dataset), "metrics": {name: asdict(value) for name, value in found.items()}}
        told |= {"labels": list(labels.names), "confusion": None if matrix is None else matrix.tolist()}
        told |= {"mistakes": [
            {"line": int(lines[row]), "text": dataset.texts[int(row)].as_py(), "prediction": one.label} for row, one in zip(worst.tolist(), said, strict=True)
        ]}
        told |= {"slices": {
            column: [{"value": part.value, "rows": part.n_rows, "metrics": {name: asdict(value) for name, value in part.estimates.items()}} for part in parts]
            for column, parts in sliced.items()
        }}
        print(json.dumps(told, ensure_ascii=False))
        return
    console = _console()
    for note in dataset.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    show(results_table([DevScores(dataset.name, len(dataset), {"model": found})], title=f"{task}: {dataset.path}"), console)
    if matrix is not None:
        show(confusion_table(matrix, labels), console)
    for column, parts in sliced.items():
        show(slices_table(column, parts), console)
    if n_mistakes:
        show(mistakes_table(worst, scores, dataset.targets, labels, dataset.texts, dataset.pairs, where=lines), console)


def _list_runs(runs: Path, *, json_: bool) -> None:
    from encore.files import read_json

    found = []
    for folder in sorted(runs.iterdir()) if runs.is_dir() else []:
        if not (folder / "resolved.json").exists():
            continue
        if not (folder / "manifest.json").exists():
            epochs = (folder / "metrics.jsonl").read_bytes().count(b"\n") if (folder / "metrics.jsonl").exists() else 0
            found.append({"run": str(folder), "state": f"interrupted after epoch {epochs}", "figures": {}})
            continue
        results = read_json(folder / "results.json")
        figures = {
            f"{task}.{split}.{name}": value["value"] for task, sets in results["metrics"].items() for split, who in sets.items() for name, value in who["model"].items()
        }
        found.append({"run": str(folder), "state": "complete", "figures": figures})
    if json_:
        print(json.dumps({"runs": found}))
    elif not found:
        print(f"no runs in {runs}. Start one: encore train FILE.csv")
    for entry in [] if json_ else found:
        print("  ".join([entry["run"], entry["state"], *(f"{name} {value:.4f}" for name, value in entry["figures"].items())]))


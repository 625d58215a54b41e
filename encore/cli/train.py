"""`encore train`: what it announces before training, and what it prints after it."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from encore import catalogue
from encore.cli.dry_run import dry_run_lines, dry_run_object, truncation_line
from encore.cli.options import FileOptions, check_runs_folder
from encore.cli.output import announce, console, print_json, say
from encore.data.table import display_path, plural
from encore.errors import Complaints
from encore.runs.places import is_kept, run_folder
from encore.tables.formatting import format_duration

if TYPE_CHECKING:
    from encore.model.task_model import TaskModel
    from encore.runs.folder import RunResult
    from encore.runs.prepared import Prepared
    from encore.tables.listing import Listing

__all__ = [
    "TrainOptions",
    "announcements",
    "complete_run",
    "extent",
    "first_lines",
    "last_line",
    "result_tables",
    "run_line",
    "train",
    "train_prepared",
]


_LOW_FOR_ADAPTERS = 5e-5  # rates of full fine-tuning, and below


@dataclass(frozen=True)
class TrainOptions:
    """The arguments of `encore train`. data: column and file options, None where not given. start:
    the run to go on from, of which `what` are new rows. folds: how many, as it was typed.
    """

    what: str
    overrides: tuple[str, ...]
    data: Mapping[str, str | bool | None]
    file: FileOptions
    runs: Path
    json_: bool
    quiet: bool
    dry_run: bool
    force: bool
    start: Path | None = None
    only_new: bool = False
    folds: str | None = None


def train(options: TrainOptions) -> None:
    """Train, or resume, or find the run complete, and print the results. Raises EncoreError."""
    prepared = _prepare(options)
    result = train_prepared(prepared, options)
    if result is None:
        return
    from encore.runs.decide import decision_file, read_decisions
    from encore.runs.go_on import measure_old_rows
    from encore.tables.listing import show

    old = [] if options.start is None else measure_old_rows(prepared, result, options.start)
    decisions = read_decisions(result.folder)
    if options.json_:
        lost = {"old_rows": {one.split: one.as_object() for one in old}} if old else {}
        fitted = {task: asdict(one.decision) for task, one in decisions.items()}
        print_json({**result.summary(), **lost, **({"decisions": fitted} if fitted else {})})
        return
    for table in result_tables(result, prepared):
        show(table, console())
    for table in (table for one in old for table in one.tables()):
        show(table, console())
    where = display_path(decision_file(result.folder))
    for task, one in decisions.items():
        prefix = f"{task}: " if len(result.metrics) > 1 else ""
        say(f"{prefix}decision: {one.described or 'changes nothing'} ({where})")
    say(last_line(result, prepared))


def train_prepared(prepared: Prepared, options: TrainOptions) -> RunResult | None:
    """Announce a run and train it behind those that it needs; None after a dry run."""
    folder = run_folder(options.runs, prepared.name)
    lines = [*announcements(prepared), *first_lines(prepared, options.runs), run_line(folder)]
    announce(lines, quiet=options.quiet)
    if options.dry_run:
        _print_dry_run(prepared, folder, json_=options.json_)
        return None
    return complete_run(prepared, options)


def complete_run(prepared: Prepared, options: TrainOptions) -> RunResult:
    """Train a run behind those that it needs, or find it complete."""
    missing = [one for one in prepared.firsts if not is_kept(run_folder(options.runs, one.name))]
    for number, one in enumerate([*missing, prepared], start=1):
        if missing:
            announce([f"{number} of {len(missing) + 1}: {one.name}"], quiet=options.quiet)
        result = _execute(one, options)
    return result


def _execute(prepared: Prepared, options: TrainOptions) -> RunResult:
    """Train the run with a progress line."""
    from encore.cli.progress import Watch
    from encore.runs.execute import execute
    from encore.runs.memory import offering

    progress = Watch(sys.stderr, **extent(prepared))
    with (
        contextlib.nullcontext() if options.quiet else progress as watch,
        offering("To try all the same: --force."),
    ):
        return execute(prepared, options.runs, watch=watch, force=options.force)


def _prepare(options: TrainOptions) -> Prepared:
    """The run, read and checked. Raises EncoreError with everything that is wrong."""
    from encore import api
    from encore.cli import usage

    given = usage.option_values({**options.data, **options.file.settings()})
    complaints = Complaints()
    with complaints.collecting():
        check_runs_folder(options.runs)
    with complaints.collecting():
        prepared = api.prepared_from(
            options.what,
            options.overrides,
            start=options.start,
            only_new=options.only_new,
            **given,
        )
    complaints.raise_any()
    return prepared


def _print_dry_run(prepared: Prepared, folder: Path, *, json_: bool) -> None:
    from encore.runs.cost import estimate_cost

    cost = estimate_cost(prepared)
    if json_:
        print_json(dry_run_object(prepared, cost, folder))
    else:
        say("\n".join(dry_run_lines(prepared, cost)))


def announcements(prepared: Prepared) -> list[str]:
    """One line for everything that was inferred or decided, printed before training."""
    from encore.runs.compatibility import build_skeletons

    several = len(prepared.data) > 1
    models = build_skeletons(prepared.parts, prepared.recipe, prepared.source)
    lines: list[str] = []
    for task, data in prepared.data.items():
        prefix = f"{task}: " if several else ""
        why = f" ({prepared.source.why})" if prepared.recipe.tasks[task].pooling is None else ""
        lines += map(prepared.note_line, data.notes)
        pair = prepared.pairs[task]["name"]
        apart = data.columns.text_pair is not None and catalogue.find("pairs", pair).n_sides > 1
        pairs = f", pairs {pair}" if apart else ""
        lines.append(
            f"{prefix}encoder {prepared.recipe.encoder}, pooling "
            f"{prepared.poolings[task]['name']}{why}{pairs}"
        )
        lines.append(f"{prefix}{truncation_line(prepared, task)}")
        if data.labels.kind != "unlabelled":
            lines.append(f"{prefix}{_export_line(prepared, task, models[task])}")
    threads = plural(prepared.threads, "thread")
    if prepared.shares > 1:
        threads = f"{prepared.shares} processes of {threads} each"
    if several:
        lines.append(_together(prepared))
    if prepared.recipe.adapter is not None:
        lines += _adapter_lines(prepared, models)
    return [
        *lines,
        *prepared.decided,
        f"{prepared.precision} on {prepared.device}, {threads}; seed {prepared.recipe.seed}",
    ]


def _export_line(prepared: Prepared, task: str, model: TaskModel) -> str:
    """The answer to whether `encore export --to hf` will write what transformers loads alone."""
    from encore.export.stock import obstacle

    part, pair = prepared.parts[task], prepared.pairs[task]
    single = prepared.data[task].columns.text_pair is None
    why = obstacle(
        prepared.source.config,
        part.pooling,
        part.head,
        adapter="" if prepared.recipe.adapter is None else prepared.recipe.adapter.name,
        n_encoders=len(model.branches),
        in_one_row=single or (model.n_sides == 1 and pair.get("eval_order", "given") == "given"),
    )
    return f"exports to plain transformers: {f'no, {why}' if why else 'yes'}"


def _adapter_lines(prepared: Prepared, models: Mapping[str, TaskModel]) -> list[str]:
    """The adapter, how many of the models' parameters train, and a rate that is too low for it."""
    from encore.model.parameters import unique_parameters

    assert prepared.recipe.adapter is not None
    name, lr = prepared.recipe.adapter.name, prepared.recipe.plan.lr
    every = unique_parameters(models).values()
    n_all = sum(each.numel() for each in every)
    n_trained = sum(each.numel() for each in every if each.requires_grad)
    share = f"{100 * n_trained / n_all:.2g} %"
    begun = [
        f", begins as {display_path(one.folder) if one.folder else one.name}"
        for one in prepared.starts
        if one.place.part == "adapter_from"
    ]
    trained = f"{n_trained:,} of {n_all:,} parameters train ({share})"
    lines = [f"adapter {name}: {trained}{''.join(begun)}"]
    if lr is not None and lr <= _LOW_FOR_ADAPTERS:
        lines.append(
            f"plan.lr={lr:g} is low for an adapter, which hardly learns at it: usual are 1e-4 to "
            f"1e-3"
        )
    return lines


def _together(prepared: Prepared) -> str:
    """The sharing and the mixing of several tasks."""
    recipe = prepared.recipe
    silent = [task for task, data in prepared.data.items() if not data.metrics]
    words = (
        f"{len(prepared.data)} tasks, sharing {recipe.sharing.name}, mixing "
        f"{recipe.plan.mixing.name}"
    )
    if not silent:
        return words
    return f"{words}; {', '.join(silent)}: no metric, so ignored when the best epoch is chosen"


def first_lines(prepared: Prepared, runs: Path) -> list[str]:
    """A line for each run that is to be complete before this one."""
    lines = []
    teachers = {one.name for one in prepared.starts if one.place.part == "teacher"}
    for first in prepared.firsts:
        tasks, steps = "+".join(first.data), extent(first).get("steps")
        state = "complete" if is_kept(run_folder(runs, first.name)) else f"{steps:,} steps first"
        verb = "learns" if first.name in teachers else "starts"
        lines.append(f"{verb} from the run {first.name} on {tasks}: {state}")
    return lines


def run_line(folder: Path) -> str:
    """The folder of the run, and its state if it exists already."""
    if (folder / "manifest.json").exists():
        return f"run {folder}: complete already" + (
            ""
            if (folder / "model").is_dir()
            else ", but without weights; trains again to the same bits"
        )
    steps = (
        (folder / "steps.jsonl").read_bytes().count(b"\n")
        if (folder / "steps.jsonl").is_file()
        else 0
    )
    return f"run {folder}: resumes after step {steps:,}" if steps else f"run {folder}"


def extent(prepared: Prepared) -> dict[str, int]:
    """Epochs and optimiser steps of the whole run."""
    steps = sum(
        count * phase.epochs for count, phase in zip(prepared.steps, prepared.plan, strict=True)
    )
    return {"epochs": sum(phase.epochs for phase in prepared.plan), "steps": steps}


def result_tables(result: RunResult, prepared: Prepared) -> list[Listing]:
    """One table per task: the model beside the baselines, and what qualifies the figures."""
    from encore.tables.evaluation import DevScores, results_table

    found = []
    several = len(result.metrics) > 1
    for task, sets in result.metrics.items():
        if not prepared.data[task].metrics:
            continue
        dev = prepared.data[task].dev
        rows = [
            DevScores(split, len(dev[split]), columns, grouped=dev[split].groups is not None)
            for split, columns in sets.items()
        ]
        found.append(
            results_table(
                rows,
                title=f"{task}: {result.describe_epoch(task)}",
                notes=[*map(str, result.notes_of(task)), *result.caveats(task)],
            )
        )
    if several and found:
        found[-1] = replace(found[-1], notes=(*found[-1].notes, *_best_epochs(result, prepared)))
    return found


def _best_epochs(result: RunResult, prepared: Prepared) -> list[str]:
    """The best epoch of each task and the best common one, as SerBERTus' Table 6 sets them side by
    side.
    """
    best = result.best
    if not best.get("tasks") or result.epochs == 1:
        return []
    each = ", ".join(
        f"{task} {found['epoch']} ({prepared.data[task].metrics[0]} {found['value']:.3f})"
        for task, found in best["tasks"].items()
    )
    common = ", ".join(f"{task} {value:.3f}" for task, value in best["common"]["values"].items())
    return [
        f"best epoch of each task: {each}; mean {best['mean_of_tasks']:.3f}",
        f"best common epoch: {best['common']['epoch']} ({common}); mean "
        f"{best['common']['mean']:.3f}",
    ]


def last_line(result: RunResult, prepared: Prepared) -> str:
    """The run folder, what it cost, and the next command to type."""
    tested = [task for task, data in prepared.data.items() if data.test is not None]
    task = (tested or list(prepared.data))[0]
    which = ["--task", task] if len(prepared.data) > 1 else []
    if tested:
        words = ["evaluate", str(result.folder), *which, "--final"]
    else:
        train = prepared.recipe.tasks[task].data.train
        example = (
            "new.csv" if train in (None, "-") else display_path(prepared.recipe.path(str(train)))
        )
        words = ["predict", str(result.folder), *which, example, "-o", "predictions.csv"]
    command = shlex.join(["encore", *words])
    state = (
        "complete already"
        if result.already_complete
        else f"{format_duration(result.seconds)}, {result.tokens_per_second:,.0f} tokens/s"
    )
    return f"run: {result.folder} ({state}); next: {command}"

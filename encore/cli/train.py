"""What the command line says: announcements before training, the dry run, results, and what is
wrong with a command.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encore.data.table import display_path
from encore.recipe.located_yaml import write_yaml
from encore.recipe.write import resolved
from encore.tables.formatting import format_duration

if TYPE_CHECKING:
    from encore.runs.cost import Cost
    from encore.runs.folder import RunResult
    from encore.runs.prepare import Prepared
    from encore.tables.listing import Listing

__all__ = [
    "announcements",
    "dry_run_lines",
    "dry_run_object",
    "extent",
    "last_line",
    "result_tables",
    "run_line",
]


def announcements(prepared: Prepared) -> list[str]:
    """Everything that was inferred or decided, before anything is spent on it."""
    several = len(prepared.data) > 1
    lines = []
    for task, data in prepared.data.items():
        prefix = f"{task}: " if several else ""
        why = f" ({prepared.source.why})" if prepared.recipe.tasks[task].pooling is None else ""
        lines += [f"{prefix}{note}" for note in data.notes]
        pair = prepared.pairs[task]["name"]
        pairs = f", pairs {pair}" if data.columns.text_pair is not None and pair != "cross" else ""
        lines.append(
            f"{prefix}encoder {prepared.recipe.encoder}, pooling "
            f"{prepared.poolings[task]['name']}{why}{pairs}"
        )
        lines.append(f"{prefix}{_cut(prepared, task)}")
    threads = f"{prepared.threads} thread{'s' if prepared.threads > 1 else ''}"
    if several:
        lines.append(_together(prepared))
    return [
        *lines,
        *prepared.decided,
        f"{prepared.precision} on {prepared.device}, {threads}; seed {prepared.recipe.seed}",
    ]


def _together(prepared: Prepared) -> str:
    """What several tasks have in common, and whose turn it is."""
    recipe = prepared.recipe
    silent = [task for task, data in prepared.data.items() if not data.metrics]
    words = (
        f"{len(prepared.data)} tasks, sharing {recipe.sharing.name}, mixing "
        f"{recipe.plan.mixing.name}"
    )
    return words + (
        f"; {', '.join(silent)}: no metric, so no part in choosing an epoch" if silent else ""
    )


def _cut(prepared: Prepared, task: str) -> str:
    settings = prepared.recipe.tasks[task]
    cut = [f"{n:,} of {of:,} {split} rows" for split, (n, of) in prepared.cut[task].items() if n]
    if not cut:
        return f"no row is longer than {settings.max_length} tokens"
    return f"cut to {settings.max_length} tokens ({settings.truncation}): {', '.join(cut)}"


def run_line(folder: Path) -> str:
    """Which run this is, and whether there is something of it already."""
    if (folder / "manifest.json").exists():
        return f"run {folder}: complete already" + (
            ""
            if (folder / "model").is_dir()
            else " but for its weights, which are trained again, to the same bits"
        )
    steps = (
        (folder / "steps.jsonl").read_bytes().count(b"\n")
        if (folder / "steps.jsonl").exists()
        else 0
    )
    return f"run {folder}: goes on after step {steps:,}" if steps else f"run {folder}"


def extent(prepared: Prepared) -> dict[str, int]:
    """Epochs and optimiser steps of the whole run."""
    steps = sum(
        count * phase.epochs for count, phase in zip(prepared.steps, prepared.plan, strict=True)
    )
    return {"epochs": sum(phase.epochs for phase in prepared.plan), "steps": steps}


# ------------------------------------------------------------------------------------------ dry run


def filled_in(prepared: Prepared) -> dict[str, Any]:
    """The recipe as plain data with what was inferred in the place of what was left open, and
    without what stays empty.
    """
    settings = resolved(prepared.recipe)
    settings |= {"precision": prepared.precision, "threads": prepared.threads}
    for name, task in settings["tasks"].items():
        data, columns = prepared.data[name], prepared.data[name].columns
        if task["data"]["train"] is not None:
            task["data"] |= {
                "text": columns.text,
                "text_pair": columns.text_pair,
                "label": columns.label,
                "kind": columns.kind,
            }
            if columns.labels and task["data"]["labels"] is None:
                task["data"]["labels"] = list(columns.labels)
        task |= {"pooling": dict(prepared.poolings[name]), "metrics": list(data.metrics)}
        task["losses"] = {
            term: {**spec, "name": spec["name"] or prepared.task_loss(name)}
            for term, spec in task["losses"].items()
        }
    return _short(settings)


def _short(value: Any) -> Any:
    """Without nulls and empty mappings; `{name: x}` is x, and a weight of 1 goes without saying."""
    if isinstance(value, Mapping):
        entries = {
            key: _short(entry)
            for key, entry in value.items()
            if entry is not None and entry != {} and not (key == "weight" and entry == 1)
        }
        return (
            entries["name"]
            if set(entries) == {"name"}
            else {key: entry for key, entry in entries.items() if entry != {}}
        )
    return [_short(item) for item in value] if isinstance(value, (list, tuple)) else value


def dry_run_lines(prepared: Prepared, cost: Cost) -> list[str]:
    """A recipe that loads, and as its comments what it would come to."""
    lines = [write_yaml(filled_in(prepared)).rstrip()]
    for task, data in prepared.data.items():
        rows = ", ".join(
            f"{len(part):,} {name}" for name, part in {"train": data.train, **data.dev}.items()
        )
        lines += [f"# {task}: {rows} rows; {_cut(prepared, task)}"]
    lines.append(
        f"# {cost.parameters:,} parameters, {cost.trained:,} of them trained; {cost.steps:,} "
        f"steps, {cost.tokens_per_epoch:,} tokens per epoch"
    )
    lines.append(
        f"# takes about {format_duration(cost.seconds)} and {cost.memory_bytes / 1e9:.1f} GB "
        f"on this machine as busy as it is now (within a factor of two)"
    )
    return lines


def dry_run_object(prepared: Prepared, cost: Cost, folder: Path) -> dict[str, Any]:
    """The same for programs."""
    return {
        "run": str(folder),
        "recipe": filled_in(prepared),
        "rows": {
            task: {name: len(part) for name, part in {"train": data.train, **data.dev}.items()}
            for task, data in prepared.data.items()
        },
        "cut": {
            task: {split: n for split, (n, _) in splits.items()}
            for task, splits in prepared.cut.items()
        },
        "notes": list(prepared.notes),
        "parameters": cost.parameters,
        "parameters_trained": cost.trained,
        "steps": cost.steps,
        "tokens_per_epoch": cost.tokens_per_epoch,
        "estimated_seconds": cost.seconds,
        "estimated_memory_bytes": cost.memory_bytes,
    }


# ------------------------------------------------------------------------------------------ results


def result_tables(result: RunResult, prepared: Prepared) -> list[Listing]:
    """One table per task: the model beside the baselines, and what qualifies the figures."""
    from encore.tables.evaluation import DevScores, results_table

    found = []
    several = len(result.metrics) > 1
    for task, sets in result.metrics.items():
        if not prepared.data[task].metrics:
            continue
        rows = [
            DevScores(split, len(prepared.data[task].dev[split]), columns)
            for split, columns in sets.items()
        ]
        found.append(
            results_table(
                rows,
                title=f"{task}: {result.kept(task)}",
                notes=[*result.notes_of(task), *result.caveats(task)],
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
    train = next(iter(prepared.recipe.tasks.values())).data.train
    example = "new.csv" if train in (None, "-") else display_path(prepared.recipe.path(str(train)))
    which = ["--task", next(iter(prepared.data))] if len(prepared.data) > 1 else []
    command = shlex.join(
        ["encore", "predict", str(result.folder), *which, example, "-o", "predictions.csv"]
    )
    state = (
        "complete already"
        if result.already_complete
        else f"{format_duration(result.seconds)}, {result.tokens_per_second:,.0f} tokens/s"
    )
    return f"run: {result.folder} ({state}); next: {command}"

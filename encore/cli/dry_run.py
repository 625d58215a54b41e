"""`encore train --dry-run`: the recipe with every setting, its rows, and the cost of training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encore.recipe.located_yaml import write_yaml
from encore.recipe.write import resolved
from encore.tables.formatting import format_duration

if TYPE_CHECKING:
    from encore.runs.cost import Cost
    from encore.runs.prepared import Prepared

_MANY_CUT = 0.2  # of the rows: their ends may matter
_USUAL_MOST = 512  # tokens, the most that a usual encoder reads

__all__ = ["dry_run_lines", "dry_run_object", "filled_in", "truncation_line"]


def filled_in(prepared: Prepared) -> dict[str, Any]:
    """The recipe as plain data with what was inferred in the place of what was left open, and
    without what stays empty.
    """
    settings = resolved(prepared.recipe)
    used = {"threads": prepared.threads, "shares": prepared.shares}
    settings |= {"precision": prepared.precision, **used}
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
                named = {cell: columns.labels[index] for cell, index in columns.cells.items()}
                same = set(named) == set(columns.labels) or columns.merge_labels
                task["data"]["labels"] = list(columns.labels) if same else named
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
        lines += [f"# {task}: {rows} rows; {truncation_line(prepared, task)}"]
    lines.append(
        f"# {cost.parameters:,} parameters, {cost.trained:,} of them trained; {cost.steps:,} "
        f"steps, {cost.tokens_per_epoch:,} tokens per epoch"
    )
    lines.append(
        f"# takes about {format_duration(cost.seconds)} and {cost.memory_bytes / 1e9:.1f} GB "
        f"on this machine under its present load (within a factor of two)"
    )
    if cost.available_bytes is not None:
        fits = cost.memory_bytes <= cost.available_bytes
        refused = "" if fits else ": too little, so training is refused without --force"
        lines.append(f"# {cost.available_bytes / 1e9:.1f} GB of memory are free for it{refused}")
    return lines


def dry_run_object(prepared: Prepared, cost: Cost, folder: Path) -> dict[str, Any]:
    """The same for programs."""
    return {
        "run": str(folder),
        "starts_from": [first.name for first in prepared.firsts],
        "recipe": filled_in(prepared),
        "rows": {
            task: {name: len(part) for name, part in {"train": data.train, **data.dev}.items()}
            for task, data in prepared.data.items()
        },
        "cut": {
            task: {split: n for split, (n, _) in splits.items()}
            for task, splits in prepared.cut.items()
        },
        "notes": list(map(prepared.note_line, prepared.notes)),
        "parameters": cost.parameters,
        "parameters_trained": cost.trained,
        "steps": cost.steps,
        "tokens_per_epoch": cost.tokens_per_epoch,
        "estimated_seconds": cost.seconds,
        "estimated_memory_bytes": cost.memory_bytes,
        "free_memory_bytes": cost.available_bytes,
    }


def truncation_line(prepared: Prepared, task: str) -> str:
    """The number of rows that are longer than max_length, in each split."""
    settings = prepared.recipe.tasks[task]
    cut = [f"{n:,} of {of:,} {split} rows" for split, (n, of) in prepared.cut[task].items() if n]
    if not cut:
        return f"no row is longer than {settings.max_length} tokens"
    n, of = prepared.cut[task]["train"]
    longer = ""
    if n > _MANY_CUT * of and settings.max_length < _USUAL_MOST:
        longer = f"; max_length={2 * settings.max_length} reads more, and takes longer"
    return f"cut to {settings.max_length} tokens ({settings.truncation}): {', '.join(cut)}{longer}"

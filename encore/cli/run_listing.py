"""The runs in a folder: what they were trained on, what was set, their state and first figure."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from encore import catalogue, files
from encore.data.table import display_path
from encore.errors import EncoreError
from encore.evaluation.estimates import Estimate
from encore.recipe.load import load_recipe
from encore.recipe.schema import PROSE, PlanRecipe, Recipe, TaskRecipe
from encore.recipe.technique import Technique
from encore.recipe.write import changed
from encore.runs.kind import folder_kind
from encore.runs.places import is_being_trained
from encore.tables.formatting import format_estimate, format_setting
from encore.tables.listing import Listing

__all__ = ["runs", "runs_table"]


def runs(folder: Path) -> list[dict[str, Any]]:
    """The runs in a folder, the newest last: run, task, data (task → train file), encoder, settings
    that differ from the defaults (dotted name → value), state, and of the complete ones epoch,
    metrics (task → dev set → metric → value and interval of the model) and seconds.
    """
    entries = (
        [
            entry
            for entry in folder.iterdir()
            if folder_kind(entry) == "run" and (entry / "resolved.json").is_file()
        ]
        if folder.is_dir()
        else []
    )
    return [
        _run(entry)
        for entry in sorted(
            entries, key=lambda entry: ((entry / "resolved.json").stat().st_mtime, entry.name)
        )
    ]


def _run(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {
        "run": str(folder),
        "task": folder.name.rpartition("-")[0],
        **_recipe_of(folder),
    }
    if not (folder / files.MANIFEST).exists():
        steps = (
            (folder / "steps.jsonl").read_bytes().count(b"\n")
            if (folder / "steps.jsonl").is_file()
            else 0
        )
        at_work = is_being_trained(folder)
        return found | {"state": "training" if at_work else f"stopped after step {steps}"}
    try:
        results, cost = (
            files.read_json(folder / "results.json"),
            files.read_json(folder / "cost.json"),
        )
        metrics = {
            task: {split: who["model"] for split, who in sets.items()}
            for task, sets in results["metrics"].items()
        }
        return found | {
            "state": "complete",
            "epoch": results["epoch"],
            "metrics": metrics,
            "seconds": cost["seconds"],
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return found | {"state": "damaged"}


def _recipe_of(folder: Path) -> dict[str, Any]:
    """Train files, encoder and changed settings of a run; nothing where its recipe is damaged or
    was written for another version of Encore.
    """
    try:
        recipe = load_recipe(folder / "recipe.yaml")
        settings = changed(recipe)
    except (EncoreError, OSError, ValueError):
        return {}
    trained_on = {name: task.data.train or name for name, task in recipe.tasks.items()}
    # The settings of a single task are written as a recipe does, without its name.
    tasks = settings.pop("tasks")
    for task in tasks.values():
        for key in ("train", "dev", "test"):
            task.get("data", {}).pop(key, None)
    settings |= next(iter(tasks.values())) if len(tasks) == 1 else {"tasks": tasks}
    shown = {key: entry for key, entry in settings.items() if key not in (*PROSE, "encoder")}
    return {"data": trained_on, "encoder": recipe.encoder, "settings": dict(_dotted(shown))}


def _dotted(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as the command line names them: ("plan.lr", 3e-05); a technique by its name,
    with its own settings after it.
    """
    for key, entry in settings.items():
        if isinstance(entry, Mapping) and "name" in entry:
            own = {other: value for other, value in entry.items() if other != "name"}
            if entry["name"] != _usual_names().get(key):
                yield f"{prefix}{key}", entry["name"]
            yield from _dotted(own, f"{prefix}{key}.")
        elif isinstance(entry, Mapping):
            yield from _dotted(entry, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", entry


@functools.cache
def _usual_names() -> dict[str, str]:
    """Setting → the name of the technique that is its default."""
    defaults = {
        key: field.get_default(call_default_factory=True)
        for section in (Recipe, TaskRecipe, PlanRecipe)
        for key, field in section.model_fields.items()
        if not field.is_required()
    }
    return {key: each.name for key, each in defaults.items() if isinstance(each, Technique)}


def runs_table(found: Sequence[Mapping[str, Any]]) -> Listing:
    """One line per run, with its first metric on its first dev set, of the first task that has
    one.
    """
    rows = []
    for entry in found:
        figures, seconds = ("", ""), f"{entry['seconds']:,.0f} s" if "seconds" in entry else ""
        named = entry.get("metrics", {})
        measured = (
            (task, found)
            for task, sets in named.items()
            for found in list(sets.values())[:1]
            if found
        )
        task, values = next(measured, ("", {}))
        for name, value in list(values.items())[:1]:
            metric = catalogue.find("metrics", name)
            figures = (
                f"{task} {metric.title}" if len(named) > 1 else metric.title,
                format_estimate(Estimate(value["value"], value["low"], value["high"]), metric.form),
            )
        settings = entry.get("settings", {})
        rows.append(
            (
                entry["run"],
                ", ".join(map(_short_path, entry.get("data", {}).values())),
                _short_path(entry.get("encoder", "")),
                entry["state"],
                *figures,
                seconds,
                " ".join(f"{key}={format_setting(value)}" for key, value in settings.items()),
            )
        )
    columns = ("run", "data", "encoder", "state", "metric", "dev figure", "time", "not by default")
    return Listing("", columns, tuple(rows), (), frozenset({5, 6}))


def _short_path(path: str) -> str:
    """A path from here, or the last two parts of one that lies elsewhere."""
    shown = display_path(Path(path)) if path else ""
    outside = Path(shown).is_absolute() or shown.startswith("..")
    return "/".join(Path(shown).parts[-2:]) if outside else shown

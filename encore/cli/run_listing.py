"""The runs in a folder: what they were trained on, what was set, their state and first figure."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
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
from encore.runs.folder import RunResult
from encore.runs.kind import folder_kind
from encore.runs.places import is_being_trained
from encore.tables.formatting import format_estimate, format_setting
from encore.tables.listing import Listing

__all__ = ["ListedRun", "runs", "runs_table"]


@dataclass(frozen=True)
class ListedRun:
    """A run as it is listed. data: task → train file; settings: those that differ from the
    defaults, dotted name → value; both empty where the recipe cannot be read. result: of a complete
    run.
    """

    folder: Path
    state: str
    data: Mapping[str, str]
    encoder: str
    settings: Mapping[str, Any]
    result: RunResult | None = None

    def to_json(self) -> dict[str, Any]:
        """run, task, state; data, encoder and settings where the recipe can be read; of a complete
        run epoch, metrics (task → dev set → metric → value and interval of the model) and seconds.
        """
        found: dict[str, Any] = {
            "run": str(self.folder),
            "task": self.folder.name.rpartition("-")[0],
            "state": self.state,
        }
        if self.encoder:
            settings = dict(self.settings)
            found |= {"data": dict(self.data), "encoder": self.encoder, "settings": settings}
        if self.result is None:
            return found
        metrics = {
            task: {
                split: {name: asdict(one) for name, one in measured.items()}
                for split, measured in sets.items()
            }
            for task, sets in _of_model(self.result).items()
        }
        seconds = self.result.seconds
        return found | {"epoch": self.result.epoch, "metrics": metrics, "seconds": seconds}


def _of_model(result: RunResult) -> dict[str, dict[str, Mapping[str, Estimate]]]:
    """Task → dev set → metric → the model's figure."""
    return {
        task: {split: who["model"] for split, who in sets.items()}
        for task, sets in result.metrics.items()
    }


def runs(folder: Path) -> list[ListedRun]:
    """The runs in a folder, the newest last."""
    entries = list(folder.iterdir()) if folder.is_dir() else []
    found = [entry for entry in entries if folder_kind(entry) == "run"]
    begun = {entry: entry / "resolved.json" for entry in found}
    return [
        _run(entry)
        for entry in sorted(
            (entry for entry, file in begun.items() if file.is_file()),
            key=lambda entry: (begun[entry].stat().st_mtime, entry.name),
        )
    ]


def _run(folder: Path) -> ListedRun:
    about = _recipe_of(folder)
    if not (folder / files.MANIFEST).exists():
        steps = folder / "steps.jsonl"
        n_steps = steps.read_bytes().count(b"\n") if steps.is_file() else 0
        at_work = is_being_trained(folder)
        return ListedRun(folder, "training" if at_work else f"stopped after step {n_steps}", *about)
    try:
        cost = files.read_json(folder / "cost.json")
        stored = files.read_json(folder / "results.json")
        result = RunResult.from_json(folder, stored, seconds=cost["seconds"])
        _of_model(result)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ListedRun(folder, "damaged", *about)
    return ListedRun(folder, "complete", *about, result)


def _recipe_of(folder: Path) -> tuple[dict[str, str], str, dict[str, Any]]:
    """Train files, encoder and changed settings of a run; nothing where its recipe is damaged or
    was written for another version of Encore.
    """
    try:
        recipe = load_recipe(folder / "recipe.yaml")
        settings = changed(recipe)
    except (EncoreError, OSError, ValueError):
        return {}, "", {}
    trained_on = {name: task.data.train or name for name, task in recipe.tasks.items()}
    # The settings of a single task are written as a recipe does, without its name.
    tasks = settings.pop("tasks")
    for task in tasks.values():
        for key in ("train", "dev", "test"):
            task.get("data", {}).pop(key, None)
    settings |= next(iter(tasks.values())) if len(tasks) == 1 else {"tasks": tasks}
    shown = {key: entry for key, entry in settings.items() if key not in (*PROSE, "encoder")}
    return trained_on, recipe.encoder, dict(_dotted(shown))


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


def runs_table(found: Sequence[ListedRun]) -> Listing:
    """One line per run, with its first metric on its first dev set, of the first task that has
    one.
    """
    rows = [
        (
            str(run.folder),
            ", ".join(map(_short_path, run.data.values())),
            _short_path(run.encoder),
            run.state,
            *(("", "") if run.result is None else _first_figure(run.result)),
            "" if run.result is None else f"{run.result.seconds:,.0f} s",
            " ".join(f"{key}={format_setting(value)}" for key, value in run.settings.items()),
        )
        for run in found
    ]
    columns = ("run", "data", "encoder", "state", "metric", "dev figure", "time", "not by default")
    return Listing("", columns, tuple(rows), (), frozenset({5, 6}))


def _first_figure(result: RunResult) -> tuple[str, str]:
    """Its name and itself; empty where no dev set was measured."""
    for task, sets in _of_model(result).items():
        for name, estimate in next(iter(sets.values()), {}).items():
            metric = catalogue.find("metrics", name)
            title = f"{task} {metric.title}" if len(result.metrics) > 1 else metric.title
            return title, format_estimate(estimate, metric.form)
    return "", ""


def _short_path(path: str) -> str:
    """A path from here, or the last two parts of one that lies elsewhere."""
    shown = display_path(Path(path)) if path else ""
    outside = Path(shown).is_absolute() or shown.startswith("..")
    return "/".join(Path(shown).parts[-2:]) if outside else shown

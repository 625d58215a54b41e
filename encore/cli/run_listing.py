"""The runs, pre-trainings, ensembles and cross-validations in a folder: what they were trained on,
what was set, their state and first figure.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from encore import catalogue, files
from encore.data.table import display_path, plural
from encore.errors import EncoreError
from encore.evaluation.estimates import Estimate
from encore.recipe.load import load_recipe
from encore.recipe.pretraining import pretraining_recipes
from encore.recipe.reference import RunReference
from encore.recipe.references import Place, with_references
from encore.recipe.schema import PROSE, PlanRecipe, Recipe, TaskRecipe
from encore.recipe.technique import Technique
from encore.recipe.write import changed
from encore.runs.contents import ENSEMBLE, FOLDS
from encore.runs.cross_validation import CrossValidation, read_folds
from encore.runs.ensemble import MadeEnsemble, read_made
from encore.runs.folder import RunResult
from encore.runs.kind import FolderKind, folder_kind
from encore.runs.places import is_being_trained
from encore.runs.pretrain_folder import PretrainFigures
from encore.tables.formatting import format_estimate, format_setting
from encore.tables.listing import Listing

__all__ = ["ListedEnsemble", "ListedFolds", "ListedRun", "runs", "runs_table"]

Listed: TypeAlias = "ListedRun | ListedPretraining | ListedEnsemble | ListedFolds"


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

    @property
    def seconds(self) -> float | None:
        """None of a run that is not complete."""
        return None if self.result is None else self.result.seconds

    @property
    def figure(self) -> tuple[str, str]:
        """The first metric of the first task that has one, and its value on the first dev set;
        empty where no dev set was measured.
        """
        if self.result is None:
            return "", ""
        for task, sets in _of_model(self.result).items():
            for name, estimate in next(iter(sets.values()), {}).items():
                metric = catalogue.find("metrics", name)
                several = len(self.result.metrics) > 1
                title = f"{task} {metric.title}" if several else metric.title
                return title, format_estimate(estimate, metric.form)
        return "", ""


@dataclass(frozen=True)
class ListedPretraining:
    """A pre-training as it is listed. data: its texts, tasks or files; encoder: the one that it
    began with, "" from scratch; figures, seconds: of a complete one.
    """

    folder: Path
    state: str
    data: Mapping[str, str]
    encoder: str
    settings: Mapping[str, Any]
    figures: PretrainFigures | None = None
    seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """pretraining, state, texts, encoder (None from scratch), settings; of a complete one the
        contents of results.json and seconds.
        """
        found: dict[str, Any] = {
            "pretraining": str(self.folder),
            "state": self.state,
            "texts": list(self.data.values()),
            "encoder": self.encoder or None,
            "settings": dict(self.settings),
        }
        if self.figures is None:
            return found
        return found | {"figures": self.figures.to_json(), "seconds": self.seconds}

    @property
    def figure(self) -> tuple[str, str]:
        """The loss on the held-out rows after the last step; empty where there are none."""
        last = self.figures.kept[-1].held_out if self.figures and self.figures.kept else None
        return ("held-out loss", f"{last.loss:.3f}") if last else ("", "")


@dataclass(frozen=True)
class ListedEnsemble:
    """An ensemble as it is listed. made: None of a damaged one."""

    folder: Path
    state: str
    made: MadeEnsemble | None = None
    seconds: float | None = None

    @property
    def data(self) -> dict[str, str]:
        """Its tasks, by themselves."""
        return {one.task: one.task for one in self.made.results} if self.made else {}

    @property
    def encoder(self) -> str:
        """The number of its members, in the place of an encoder."""
        return plural(len(self.made.members), "member") if self.made else ""

    @property
    def settings(self) -> dict[str, Any]:
        """Its method, and what is averaged if that is not probabilities."""
        if self.made is None:
            return {}
        chosen = self.made.settings
        space = {"space": chosen.space} if chosen.space != "probability" else {}
        return {"method": chosen.method, **space}

    @property
    def figure(self) -> tuple[str, str]:
        """The cross-fitted figure of its first task."""
        if self.made is None:
            return "", ""
        first = self.made.results[0]
        metric = catalogue.find("metrics", first.metrics[0])
        estimate = first.cross_fitted[first.metrics[0]]
        return f"{metric.title}, cross-fitted", format_estimate(estimate, metric.form)

    def to_json(self) -> dict[str, Any]:
        """ensemble, state; of a whole one what `encore ensemble --json` prints."""
        made = self.made.to_json() if self.made else {}
        return {**made, "ensemble": str(self.folder), "state": self.state}


@dataclass(frozen=True)
class ListedFolds:
    """A cross-validation as it is listed. found: None of a damaged one."""

    folder: Path
    state: str
    data: Mapping[str, str]
    encoder: str
    settings: Mapping[str, Any]
    found: CrossValidation | None = None
    seconds: float | None = None

    @property
    def figure(self) -> tuple[str, str]:
        """The first metric of all rows."""
        if self.found is None:
            return "", ""
        (name, estimate), *_ = self.found.record.out_of_fold.items()
        metric = catalogue.find("metrics", name)
        return f"{metric.title}, out of fold", format_estimate(estimate, metric.form)

    def to_json(self) -> dict[str, Any]:
        """cross_validation, state; of a whole one what `encore train --folds --json` prints."""
        found = self.found.to_json() if self.found else {}
        return {**found, "cross_validation": str(self.folder), "state": self.state}


def _of_model(result: RunResult) -> dict[str, dict[str, Mapping[str, Estimate]]]:
    """Task → dev set → metric → the model's figure."""
    return {
        task: {split: who["model"] for split, who in sets.items()}
        for task, sets in result.metrics.items()
    }


def runs(folder: Path) -> list[Listed]:
    """The runs, pre-trainings, ensembles and cross-validations in a folder, the newest last."""
    begun = []
    for entry in folder.iterdir() if folder.is_dir() else ():
        kind = folder_kind(entry)
        if kind not in _FIRST:
            continue
        first, listed = _FIRST[kind]
        if (entry / first).is_file():
            begun.append(((entry / first).stat().st_mtime, entry.name, entry, listed))
    return [listed(entry) for *_, entry, listed in sorted(begun, key=lambda one: one[:2])]


def _ensemble(folder: Path) -> ListedEnsemble:
    try:
        return ListedEnsemble(folder, "complete", read_made(folder))
    except EncoreError:
        return ListedEnsemble(folder, "damaged")


def _folds(folder: Path) -> ListedFolds:
    data, encoder, settings = _recipe_of(folder)
    try:
        found = read_folds(folder)
    except EncoreError:
        return ListedFolds(folder, "damaged", data, encoder, settings)
    settings = {"folds": len(found.record.folds), **settings}
    return ListedFolds(folder, "complete", data, encoder, settings, found)


def _run(folder: Path) -> ListedRun:
    about = _recipe_of(folder)
    if not (folder / files.MANIFEST).exists():
        return ListedRun(folder, _unfinished(folder), *about)
    try:
        cost = files.read_json(folder / "cost.json")
        stored = files.read_json(folder / "results.json")
        result = RunResult.from_json(folder, stored, seconds=cost["seconds"])
        _of_model(result)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ListedRun(folder, "damaged", *about)
    return ListedRun(folder, "complete", *about, result)


def _pretraining(folder: Path) -> ListedPretraining:
    try:
        (recipe,) = pretraining_recipes(folder / "recipe.yaml").values()
        texts = {str(at): one.task or one.file or "" for at, one in enumerate(recipe.texts)}
        about = texts, recipe.encoder or "", _plain_settings(changed(recipe))
    except (EncoreError, OSError, ValueError):
        about = {}, "", {}
    if not (folder / files.MANIFEST).exists():
        return ListedPretraining(folder, _unfinished(folder), *about)
    try:
        seconds = files.read_json(folder / "cost.json")["seconds"]
        figures = PretrainFigures.from_json(files.read_json(folder / "results.json"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ListedPretraining(folder, "damaged", *about)
    return ListedPretraining(folder, "complete", *about, figures, seconds)


_FIRST: dict[FolderKind, tuple[str, Callable[[Path], Listed]]] = {
    "run": ("resolved.json", _run),
    "pretraining": ("pretraining.json", _pretraining),
    "ensemble": (ENSEMBLE, _ensemble),
    "folds": (FOLDS, _folds),
}


def _unfinished(folder: Path) -> str:
    if is_being_trained(folder):
        return "training"
    steps = folder / "steps.jsonl"
    n_steps = steps.read_bytes().count(b"\n") if steps.is_file() else 0
    return f"stopped after step {n_steps}"


def _recipe_of(folder: Path) -> tuple[dict[str, str], str, dict[str, Any]]:
    """Train files, encoder and changed settings of a run; nothing where its recipe is damaged or
    was written for another version of Encore.
    """
    try:
        recipe = load_recipe(folder / "recipe.yaml")
        settings = changed(with_references(recipe, _in_short))
    except (EncoreError, OSError, ValueError):
        return {}, "", {}
    trained_on = {name: task.data.train or name for name, task in recipe.tasks.items()}
    # The settings of a single task are written as a recipe does, without its name.
    tasks = settings.pop("tasks")
    for task in tasks.values():
        for key in ("train", "dev", "test", "more"):
            task.get("data", {}).pop(key, None)
    settings |= next(iter(tasks.values())) if len(tasks) == 1 else {"tasks": tasks}
    return trained_on, str(recipe.encoder), _plain_settings(settings)


def _in_short(reference: RunReference, place: Place) -> RunReference:
    """The reference without the whole recipe of its run."""
    return reference.to(str(reference).removeprefix("of "))


def _plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted name → value, without what the listing shows elsewhere."""
    elsewhere = (*PROSE, "encoder", "texts", "fine_tune")
    return dict(_dotted({key: each for key, each in settings.items() if key not in elsewhere}))


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


def runs_table(found: Sequence[Listed]) -> Listing:
    """One line per run or pre-training, with its first figure."""
    rows = [
        (
            str(run.folder),
            ", ".join(map(_short_path, run.data.values())),
            _short_path(run.encoder) or ("from scratch" if _from_scratch(run) else ""),
            run.state,
            *run.figure,
            "" if run.seconds is None else f"{run.seconds:,.0f} s",
            " ".join(f"{key}={format_setting(value)}" for key, value in run.settings.items()),
        )
        for run in found
    ]
    columns = ("run", "data", "encoder", "state", "metric", "dev figure", "time", "not by default")
    return Listing("", columns, tuple(rows), (), frozenset({5, 6}))


def _from_scratch(run: Listed) -> bool:
    return isinstance(run, ListedPretraining) and "size.layers" in run.settings


def _short_path(path: str) -> str:
    """A path from here, or the last two parts of one that lies elsewhere."""
    shown = display_path(Path(path)) if path else ""
    outside = Path(shown).is_absolute() or shown.startswith("..")
    return "/".join(Path(shown).parts[-2:]) if outside else shown

"""Distils runs into a student: its recipe, and what its dev rows show beside its teachers'."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encore import catalogue
from encore.data.dataset import Dataset
from encore.data.table import display_path
from encore.errors import RecipeError
from encore.evaluation.paired import PairedDifference, paired_differences
from encore.evaluation.teacher_scores import mean_of_teachers
from encore.model.parameters import unique_parameters
from encore.recipe.data_recipe import DataRecipe
from encore.recipe.load import load_recipe, recipe_from
from encore.recipe.overrides import Override
from encore.recipe.schema import PROSE, Recipe
from encore.recipe.write import resolved
from encore.runs.folder import RunResult, read_result
from encore.runs.kind import folder_kind
from encore.runs.loading import load_predictor
from encore.runs.predictor import Predictor
from encore.runs.prepared import Prepared
from encore.tables.listing import Listing
from encore.tables.paired import paired_table
from encore.types import LabelSpace, Loss

__all__ = ["Distilled", "StudentRows", "measure_student", "recipe_to_distil"]

_TIMED_ROWS = 256


def recipe_to_distil(
    teachers: Sequence[str | Path],
    overrides: tuple[Override, ...] = (),
    *,
    encoder: str | None = None,
    texts: str | Path | None = None,
) -> Recipe:
    """The recipe of a student: that of the first run among its teachers, or of the first member of
    an ensemble, with their scores beside its labels. encoder: the student's, with a rate and epochs
    chosen for it; None for that of the run. texts: a file of rows without labels that it also
    learns from. Raises RecipeError, and DataError where a run is not complete.
    """
    folders = [Path(one).absolute() for one in teachers]
    first = _first_run(folders)
    before = load_recipe(first / "recipe.yaml")
    names = [name for name, task in before.tasks.items() if task.data.kind != "unlabelled"]
    if texts is not None and len(names) > 1:
        raise RecipeError(
            f"--texts: {display_path(folders[0])} has several tasks, and these texts belong to "
            f"one. Write a recipe with a task without labels for it (docs/guides/distillation.md)."
        )
    whole = {key: each for key, each in resolved(before).items() if key not in PROSE}
    whole |= {"encoder": encoder or before.pretrained, "adapter": None, "adapter_from": None}
    if whole.get("encoder") != before.encoder:  # the rate is the encoder's
        whole |= {"plan": {**whole.get("plan", {}), "epochs": None, "lr": None}}
    tasks = {}
    for name, task in before.tasks.items():
        own = {**resolved(task), "head_from": None}
        data = resolved(task.data)
        # A dev set that was split off stays the same with another seed.
        data |= {"seed": before.seed if task.data.seed is None else task.data.seed}
        own |= {"data": data}
        if name in names:
            found = [{"run": str(folder), "task": name} for folder in folders]
            own |= {"losses": _with_teachers(own.get("losses", {}), found)}
        tasks[name] = own
    if texts is not None:
        (name,) = names
        tasks[f"{name}_texts"] = _unlabelled(folders[0], name, tasks[name], texts)
    return recipe_from({**whole, "tasks": tasks}, overrides)


def _first_run(folders: Sequence[Path]) -> Path:
    """The folder with the recipe of the first run, or of the first member of an ensemble."""
    runs = [folder for folder in folders if folder_kind(folder) == "run"]
    if runs or folder_kind(folders[0]) != "ensemble":
        first = (*runs, folders[0])[0]
        read_result(first)
        return first
    ensemble = load_predictor(folders[0])
    return ensemble.origins(next(iter(ensemble.tasks)))[0]


def _with_teachers(losses: Mapping[str, Any], teachers: list[dict[str, str]]) -> dict[str, Any]:
    """The terms of a task, of which the task's own is distilled; beside one that is no mean over
    the rows the teacher is a term by itself.
    """
    key = "task" if "task" in losses else next(iter(losses))
    term = dict(losses.get(key, {}))
    weight, name = term.pop("weight", 1.0), term.pop("name", None)
    if name is not None and catalogue.find("losses", name).has_teacher:  # itself a student
        return {**losses, key: {"name": name, "weight": weight, **term, "teacher": teachers}}
    loss: type[Loss] | None = None if name is None else catalogue.find("losses", name)
    if loss is not None and loss.weight is not Loss.weight:
        apart = {"name": "distill", "teacher": teachers, "use_labels": False}
        return {**losses, "teacher": {**apart, "weight": 2 / 3 * weight}}
    of = None if name is None else {"name": name, **term}
    distill = {"name": "distill", "teacher": teachers, "weight": weight}
    return {**losses, key: distill | ({} if of is None else {"of": of})}


def _unlabelled(run: Path, name: str, task: Mapping[str, Any], texts: str | Path) -> dict[str, Any]:
    """The task that learns from the teachers what they give to texts without labels. Its columns
    are those of the run.
    """
    served = load_predictor(run, force=True).task(name)
    data = resolved(DataRecipe()) | {"train": str(Path(texts).absolute()), "kind": "unlabelled"}
    data |= {"text": served.columns.text, "text_pair": served.columns.text_pair}
    data |= {"normalise": served.normalise}
    (distill,) = (one for one in task.get("losses", {}).values() if one.get("teacher") is not None)
    alone = {"name": "distill", "teacher": distill.get("teacher"), "weight": 1.0}
    alike = {key: task.get(key) for key in ("pooling", "max_length", "truncation", "pair")}
    return {**alike, "data": data, "same_as": name, "losses": {"task": alone}}


@dataclass(frozen=True)
class Size:
    """The size and the speed of one model, or of several together. rows_per_second: of the dev
    rows, as this machine scored them just now.
    """

    parameters: int
    megabytes: float
    rows_per_second: float


@dataclass(frozen=True)
class StudentRows:
    """A student and its teachers on the same dev rows: the difference of each metric is the
    student's less theirs, who are one model, their mean.
    """

    task: str
    split: str
    n_rows: int
    metrics: Mapping[str, PairedDifference]
    student: Size
    teacher: Size

    def tables(self) -> list[Listing]:
        """The table of the metrics, and that of size and speed."""
        title = f"{self.task}: student against teacher on the {self.n_rows:,} rows of {self.split}"
        found = paired_table(self.metrics, names=("teacher", "student"), title=title)
        cells = [
            (
                name,
                f"{one.parameters:,}",
                f"{one.megabytes:,.1f}",
                f"{one.rows_per_second:,.0f}",
            )
            for name, one in (("teacher", self.teacher), ("student", self.student))
        ]
        columns = ("model", "parameters", "MB", "rows/s")
        return [found, Listing("size and speed", columns, tuple(cells), (), frozenset({1, 2, 3}))]

    def as_object(self) -> dict[str, Any]:
        """Its part of the object that `--json` prints."""
        return asdict(self)


@dataclass(frozen=True)
class Distilled:
    """A student's run, and its dev rows beside its teachers'."""

    result: RunResult
    rows: tuple[StudentRows, ...]


def measure_student(
    prepared: Prepared, result: RunResult, teachers: Sequence[str | Path]
) -> tuple[StudentRows, ...]:
    """A complete student against its teachers on each dev set. Raises DataError where a folder is
    damaged.
    """
    student, found = load_predictor(result.folder), []
    others = [load_predictor(one) for one in teachers]
    for task, data in prepared.data.items():
        for split, part in data.dev.items() if data.metrics else ():
            mine, own = _scored([student], task, data.labels, part)
            theirs, their = _scored(others, task, data.labels, part)
            assert part.targets is not None
            differences = paired_differences(
                mine, theirs, part.targets, data.labels, data.metrics, prepared.recipe.seed
            )
            found.append(StudentRows(task, split, len(part), differences, own, their))
    return tuple(found)


def _scored(
    models: Sequence[Predictor[Any]], task: str, labels: LabelSpace, rows: Dataset
) -> tuple[np.ndarray, Size]:
    """(rows, n_scores) of the mean of some models, with the columns of `labels`, and their size."""
    scores, n_parameters, n_bytes, seconds = [], 0, 0, 0.0
    some = rows.take(np.arange(min(len(rows), _TIMED_ROWS)))
    for model in models:
        one = model.tasks[task]
        columns = [one.labels.names.index(name) for name in labels.names] or [0]
        scores.append(model.scores(rows, task=task)[:, columns])
        begun = time.perf_counter()
        model.scores(some, task=task)
        seconds += time.perf_counter() - begun
        parts = {str(number): each for number, each in enumerate(one.models)}
        n_parameters += sum(each.numel() for each in unique_parameters(parts).values())
        n_bytes += sum(file.stat().st_size for file in model.folder.rglob("*.safetensors"))
    size = Size(n_parameters, n_bytes / 1e6, len(some) / max(seconds, 1e-9))
    return mean_of_teachers(scores, labels), size

"""Fits the decisions of a run on the dev scores that it keeps, and keeps them with its model, as
model/decision.json; those of an ensemble as decision.json in its folder.

The file is no part of the results and in no manifest, since it may be written again and removed. It
has a digest of its own, and that of the model or the ensemble that it belongs to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from encore import catalogue, files
from encore.data.table import display_path
from encore.errors import DataError, Problem, RecipeError
from encore.evaluation.decision import Decision
from encore.evaluation.decision_figures import DecisionFigures, measure_decision
from encore.evaluation.fit_decision import CrossFitted, cross_fit, fit_decision, threshold_metric
from encore.evaluation.metric import Metric
from encore.recipe.decision_recipe import AUTO, DecisionRecipe
from encore.runs.folder import DevPredictions, RunResult, read_predictions
from encore.runs.kind import folder_kind
from encore.runs.model_folder import read_parts
from encore.runs.predictor import chosen_task
from encore.runs.prepared import Prepared
from encore.types import LabelSpace

__all__ = [
    "DECISION",
    "FittedDecision",
    "TaskScores",
    "check_decision",
    "decision_file",
    "fit_on",
    "keep_decisions",
    "read_decisions",
    "task_scores",
    "write_decisions",
]

DECISION = "decision.json"
_AGAIN = (
    "Write it again (encore calibrate FOLDER), or remove it (encore calibrate FOLDER --remove)."
)


@dataclass(frozen=True)
class TaskScores:
    """The dev scores of a task that a decision is fitted on: those of the first dev set after the
    epoch that the run keeps (of an ensemble 0). metrics: the task's. seed: the run's. alone: the
    run has no other task. chosen_by_dev: the same rows chose the epoch.
    """

    task: str
    labels: LabelSpace
    metrics: tuple[str, ...]
    gives_probabilities: bool
    split: str
    epoch: int
    seed: int
    dev: DevPredictions
    alone: bool
    chosen_by_dev: bool

    def cross_fitted(self, settings: DecisionRecipe) -> CrossFitted:
        """The rows, each answered by a decision that was fitted without it."""
        metric = check_decision(
            settings, self.labels, self.metrics, gives_probabilities=self.gives_probabilities
        )
        dev, labels = self.dev, self.labels
        return cross_fit(
            dev.scores, dev.targets, labels, settings, metric, self.seed, groups=dev.groups
        )


@dataclass(frozen=True)
class FittedDecision:
    """A decision that was fitted on all rows of a dev set, with its settings. described:
    in a line of words. figures: cross-fitted on the same rows. notes: they qualify it.
    """

    decision: Decision
    described: str
    settings: DecisionRecipe
    split: str
    epoch: int
    figures: DecisionFigures
    notes: tuple[str, ...]

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> FittedDecision:
        """The decision of a task in the file. Raises ValueError, KeyError, TypeError."""
        decision = stored.get("decision", {})
        return cls(
            Decision(**{**decision, "thresholds": tuple(decision.get("thresholds", ()))}),
            str(stored.get("described")),
            DecisionRecipe.model_validate(stored.get("settings")),
            str(stored.get("split")),
            int(stored.get("epoch", 0)),
            DecisionFigures.from_json(stored.get("figures", {})),
            tuple(map(str, stored.get("notes", ()))),
        )

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "settings": self.settings.model_dump()}


def check_decision(
    settings: DecisionRecipe,
    labels: LabelSpace,
    metrics: tuple[str, ...],
    *,
    gives_probabilities: bool = True,
    n_rows: int = 2,
) -> Metric | None:
    """The metric that thresholds are tuned for, None for none. Raises RecipeError, one line, where
    such a decision cannot be fitted. n_rows: of the dev set.
    """
    if labels.kind in ("regression", "unlabelled"):
        what = "a regression" if labels.kind == "regression" else "a task without labels"
        _refuse(f"{what} predicts no probabilities, so there is nothing to calibrate.")
    if not gives_probabilities:
        _refuse(
            "the scores of this head are no logits, so there are no probabilities to calibrate."
        )
    if n_rows < 2:
        _refuse(f"expected a dev set of two rows or more, got {n_rows}.")
    if settings.thresholds is None:
        return None
    name = metrics[0] if settings.thresholds == AUTO else settings.thresholds
    return threshold_metric(name, labels)


def _refuse(message: str) -> NoReturn:
    raise RecipeError(Problem(setting="decision", message=message))


def fit_on(found: TaskScores, settings: DecisionRecipe) -> FittedDecision:
    """Fit on all rows, and measure by cross-fitting. Raises RecipeError where nothing can be
    fitted.
    """
    labels, dev = found.labels, found.dev
    metric = check_decision(
        settings,
        labels,
        found.metrics,
        gives_probabilities=found.gives_probabilities,
        n_rows=len(dev.rows),
    )
    decision, notes = fit_decision(dev.scores, dev.targets, labels, settings, metric)
    answers = found.cross_fitted(settings).answers
    figures = measure_decision(
        dev.scores, answers, dev.targets, labels, found.metrics, found.seed, groups=dev.groups
    )
    if found.chosen_by_dev:
        notes = (*notes, "the same rows chose the epoch, so these figures are slightly optimistic")
    words = decision.described(labels)
    return FittedDecision(decision, words, settings, found.split, found.epoch, figures, notes)


def task_scores(run: Path, name: str | None, result: RunResult) -> TaskScores:
    """The dev scores of a task of a complete run, or of the only one. Raises RecipeError."""
    assembly, parts = read_parts(run / "model")
    names = [name for name, part in parts.items() if part.labels.kind != "unlabelled"]
    task = chosen_task(run, names, name)
    if not result.metrics.get(task):
        raise RecipeError(
            f"{run}: task '{task}' has no dev scores to fit a decision on. Train it with a dev set."
        )
    split, epoch = next(iter(result.metrics[task])), result.epoch_of(task)
    head = catalogue.find("heads", dict(parts[task].head).get("name", ""))
    settings = assembly.get("tasks", {}).get(task, {})
    return TaskScores(
        task,
        parts[task].labels,
        tuple(settings.get("metrics", ())),
        head.gives_probabilities,
        split,
        epoch,
        assembly.get("seed", 0),
        read_predictions(run, task, split, epoch),
        len(result.metrics) == 1,
        bool(result.caveats(task)),
    )


def keep_decisions(prepared: Prepared, result: RunResult) -> None:
    """Fit the decisions that the recipe of a run wants, at its end, and keep them with its model;
    nothing where it keeps none.
    """
    run = result.folder
    wanted = {
        task: recipe.decision
        for task, recipe in prepared.recipe.tasks.items()
        if recipe.decision is not None
    }
    if not wanted or not (run / "model").is_dir():
        return
    fitted = {
        task: fit_on(task_scores(run, task, result), settings) for task, settings in wanted.items()
    }
    write_decisions(run, fitted)


def decision_file(folder: Path) -> Path:
    """The file of the decisions of a run or an ensemble, beside the manifest of what predicts."""
    return (folder if folder_kind(folder) == "ensemble" else folder / "model") / DECISION


def write_decisions(folder: Path, decisions: Mapping[str, FittedDecision]) -> None:
    """Write the decisions for the tasks of a run or an ensemble, whole or not at all. Raises
    TrainingError.
    """
    file = decision_file(folder)
    content = _with_model(file, {name: one.to_json() for name, one in decisions.items()})
    files.sweep(file.parent)
    files.write_json(file, {"sha256": _digest(content), **content})


def _with_model(file: Path, tasks: Mapping[str, Any]) -> dict[str, Any]:
    return {"model": files.sha256(file.with_name(files.MANIFEST)), "tasks": dict(tasks)}


def _digest(content: Any) -> str:
    return hashlib.sha256(files.canonical(content)).hexdigest()


def read_decisions(folder: Path) -> dict[str, FittedDecision]:
    """Task → its decision; none where the run or the ensemble has no such file. Raises DataError,
    one line, where it is damaged or belongs to another model.
    """
    file = decision_file(folder)
    if not file.exists() and not file.is_symlink():
        return {}
    where = display_path(file)
    try:
        if file.is_symlink():
            raise ValueError("a link")
        stored = dict(files.read_json(file))
        digest = stored.pop("sha256", "")
        if digest != _digest(stored):
            raise ValueError("another digest")
        tasks = stored.get("tasks", {})
        belongs = stored == _with_model(file, tasks)
        found = {name: FittedDecision.from_json(one) for name, one in tasks.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError(f"{where}: not as Encore wrote it. {_AGAIN}") from None
    if not belongs:
        raise DataError(f"{where}: belongs to another model than the one beside it. {_AGAIN}")
    return found

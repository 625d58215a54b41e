"""Fits the decisions of a run on the dev scores that it keeps, and keeps them with its model, as
model/decision.json.

The file is no part of the results and in no manifest, since it may be written again and removed. It
has a digest of its own, and that of the model that it belongs to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from encore import catalogue, files
from encore.data.table import display_path
from encore.errors import DataError, Problem, RecipeError, did_you_mean
from encore.evaluation.decision import Decision
from encore.evaluation.decision_figures import DecisionFigures, measure_decision
from encore.evaluation.fit_decision import CrossFitted, cross_fit, fit_decision, threshold_metric
from encore.evaluation.metric import Metric
from encore.recipe.decision_recipe import AUTO, DecisionRecipe
from encore.runs.folder import DevPredictions, RunResult, read_predictions
from encore.runs.model_folder import read_parts
from encore.runs.prepared import Prepared
from encore.types import LabelSpace

__all__ = [
    "DECISION",
    "FittedDecision",
    "TaskScores",
    "check_decision",
    "fit_on",
    "keep_decisions",
    "read_decisions",
    "task_scores",
    "write_decisions",
]

DECISION = "decision.json"
_AGAIN = "Write it again (encore calibrate RUN), or remove it (encore calibrate RUN --remove)."


@dataclass(frozen=True)
class TaskScores:
    """The dev scores of a task that a decision is fitted on: those of the first dev set after the
    epoch that the run keeps. metrics: the task's. seed: the run's.
    """

    labels: LabelSpace
    metrics: tuple[str, ...]
    gives_probabilities: bool
    split: str
    epoch: int
    seed: int
    dev: DevPredictions

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


def fit_on(found: TaskScores, settings: DecisionRecipe, *, chosen_by_dev: bool) -> FittedDecision:
    """Fit on all rows, and measure by cross-fitting. chosen_by_dev: the same rows chose the epoch.
    Raises RecipeError where nothing can be fitted.
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
    if chosen_by_dev:
        notes = (*notes, "the same rows chose the epoch, so these figures are slightly optimistic")
    words = decision.described(labels)
    return FittedDecision(decision, words, settings, found.split, found.epoch, figures, notes)


def task_scores(run: Path, task: str | None, result: RunResult) -> tuple[str, TaskScores]:
    """The name and the dev scores of a task of a complete run, or of the only one. Raises
    RecipeError.
    """
    assembly, parts = read_parts(run / "model")
    names = [name for name, part in parts.items() if part.labels.kind != "unlabelled"]
    if task is None and len(names) == 1:
        [task] = names
    if task is None or task not in names:
        problem = (
            "several tasks in this run; name one (--task; in Python task=)"
            if task is None
            else f"no task called '{task}' in this run"
        )
        raise RecipeError(f"{run}: {problem}. {did_you_mean(task or '', names)}")
    if not result.metrics.get(task):
        raise RecipeError(
            f"{run}: task '{task}' has no dev scores to fit a decision on. Train it with a dev set."
        )
    split, epoch = next(iter(result.metrics[task])), result.epoch_of(task)
    head = catalogue.find("heads", dict(parts[task].head).get("name", ""))
    settings = assembly.get("tasks", {}).get(task, {})
    return task, TaskScores(
        parts[task].labels,
        tuple(settings.get("metrics", ())),
        head.gives_probabilities,
        split,
        epoch,
        assembly.get("seed", 0),
        read_predictions(run, task, split, epoch),
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
    fitted = {}
    for task, settings in wanted.items():
        _, found = task_scores(run, task, result)
        fitted[task] = fit_on(found, settings, chosen_by_dev=bool(result.caveats(task)))
    write_decisions(run, fitted)


def write_decisions(run: Path, decisions: Mapping[str, FittedDecision]) -> None:
    """Write the decisions of a run's tasks, whole or not at all. Raises TrainingError."""
    content = _with_model(run, {name: one.to_json() for name, one in decisions.items()})
    files.sweep(run / "model")
    files.write_json(run / "model" / DECISION, {"sha256": _digest(content), **content})


def _with_model(run: Path, tasks: Mapping[str, Any]) -> dict[str, Any]:
    return {"model": files.sha256(run / "model" / files.MANIFEST), "tasks": dict(tasks)}


def _digest(content: Any) -> str:
    return hashlib.sha256(files.canonical(content)).hexdigest()


def read_decisions(run: Path) -> dict[str, FittedDecision]:
    """Task → its decision; none where the run has no such file. Raises DataError, one line, where
    it is damaged or belongs to another model.
    """
    file = run / "model" / DECISION
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
        belongs = stored == _with_model(run, tasks)
        found = {name: FittedDecision.from_json(one) for name, one in tasks.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError(f"{where}: not as Encore wrote it. {_AGAIN}") from None
    if not belongs:
        raise DataError(f"{where}: belongs to another model than the one beside it. {_AGAIN}")
    return found

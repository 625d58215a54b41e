"""Fits the decision of a finished run or of an ensemble, and removes it: `encore.calibrate`."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from encore import files
from encore.errors import (
    Problem,
    RecipeError,
    TrainingError,
    describe_type,
    format_given,
)
from encore.recipe.decision_recipe import DecisionRecipe, Wanted
from encore.recipe.fields import Flaws
from encore.runs.decide import (
    FittedDecision,
    decision_file,
    fit_on,
    read_decisions,
    task_scores,
    write_decisions,
)
from encore.runs.ensemble_model import ensemble_scores, read_ensemble
from encore.runs.folder import read_result
from encore.runs.kind import folder_kind
from encore.runs.places import without_weights

__all__ = ["calibrate", "remove_decision"]


def calibrate(
    run: str | Path,
    *,
    temperature: bool = True,
    thresholds: str | None = None,
    abstain: Wanted | None = None,
    parts: int = 5,
    task: str | None = None,
) -> FittedDecision:
    """Fit the decision of a finished run, or of an ensemble, on its dev set, and keep it with the
    model, over an earlier one; `predict`, `evaluate`, `report` and `export` go by it.

    >>> found = encore.calibrate(run, thresholds="f1", abstain={"accuracy": 0.95})  # doctest: +SKIP
    >>> found.decision.temperature, found.figures.decided["ece"].value  # doctest: +SKIP

    temperature: calibrate the probabilities. thresholds: the metric that those of labels are tuned
    for; "auto" for the task's first. abstain: the confidence below which no label is given, or
    {"accuracy": …} or {"coverage": …} on the dev set. parts: for the cross-fitted figures. Raises
    RecipeError where nothing can be fitted, DataError where the run is not complete, is damaged or
    has no weights, TrainingError where another process works on it.
    """
    settings = _settings(temperature, thresholds, abstain, parts)
    run = Path(run)
    if folder_kind(run) == "ensemble":
        found = ensemble_scores(run, task)
    else:
        result = read_result(run)
        if not (run / "model").is_dir():
            raise without_weights(run, "a decision is kept with them")
        found = task_scores(run, task, result)
    fitted = fit_on(found, settings)
    with _locked(run):
        others = {} if found.alone else read_decisions(run)
        write_decisions(run, {**others, found.task: fitted})
    return fitted


def _settings(
    temperature: bool, thresholds: str | None, abstain: Wanted | None, parts: int
) -> DecisionRecipe:
    """The settings in their one form. Raises RecipeError."""
    given = {
        "temperature": temperature,
        "thresholds": thresholds,
        "abstain": abstain,
        "parts": parts,
    }
    try:
        return DecisionRecipe.model_validate(given)
    except ValidationError as error:
        problems: list[Problem] = []
        for each in error.errors(include_url=False):
            raised = each.get("ctx", {}).get("error")
            (name, *_) = each.get("loc", ("",))
            if isinstance(raised, Flaws):
                problems += [replace(problem, setting=str(name)) for _, problem in raised.flaws]
            else:
                field = DecisionRecipe.model_fields[str(name)]
                expected = describe_type(field.annotation, field.metadata)
                got = format_given(given.get(str(name)))
                problems.append(Problem(setting=str(name), expected=expected, got=got))
    raise RecipeError(problems)


def remove_decision(run: Path) -> bool:
    """Remove the decisions of a run or an ensemble, damaged or not; False where there are none.
    Raises DataError where it is no complete run, TrainingError.
    """
    if folder_kind(run) == "ensemble":
        read_ensemble(run)
    else:
        read_result(run)
    file = decision_file(run)
    if not file.exists() and not file.is_symlink():
        return False
    with _locked(run), files.explained(file):
        file.unlink(missing_ok=True)
    return True


def _locked(run: Path) -> contextlib.AbstractContextManager[None]:
    return files.locked(run, TrainingError(f"{run}: another process is working on this folder."))

"""Reads the rows and the encoder of a recipe, and checks everything that needs no tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from encore import catalogue
from encore.data.dataset import TaskData
from encore.data.load import load_task
from encore.encoder import load
from encore.encoder.dropout_rates import with_dropout
from encore.encoder.encoder import Shape
from encore.errors import Complaints, EncoreError, Problem, RecipeError
from encore.evaluation.estimates import metrics_named
from encore.model.assembly import located
from encore.recipe.decision_recipe import DecisionRecipe
from encore.recipe.schema import Recipe, data_settings
from encore.runs.cache import Cache
from encore.runs.compatibility import (
    build_skeletons,
    check_layers,
    check_losses,
    check_metrics,
    check_negatives,
    check_pair,
    check_shapes,
    check_unlabelled,
    head_of,
    losses_of,
    parts_of,
    pooling_of,
    shape_of,
)
from encore.runs.decide import check_decision
from encore.runs.prepared import Start
from encore.runs.references import located_encoder
from encore.runs.teachers import check_teachers
from encore.training.streams import class_weights, sampling_weights

__all__ = ["Inputs", "read_inputs"]


@dataclass
class Inputs:
    """Rows by task, the encoder and its shape. Those that could not be read are missing."""

    data: dict[str, TaskData] = field(default_factory=dict)
    source: load.Source | None = None
    shape: Shape | None = None


def read_inputs(
    recipe: Recipe, cache: Cache, complaints: Complaints, unfit: Complaints, starts: Sequence[Start]
) -> Inputs:
    """Read and check. complaints: takes the mistakes; unfit: takes the parts that do not go
    together. starts: the parts that other runs made.
    """
    inputs = Inputs()
    with complaints.collecting():
        found = located_encoder(recipe, cache, starts)
        _read_encoder(recipe, found, cache, inputs, unfit)
    with complaints.collecting(), located(recipe.problem, ("plan", "mixing")):
        catalogue.build("mixing", recipe.plan.mixing)
    for name in recipe.tasks:
        with complaints.collecting():
            inputs.data[name] = _read_rows(recipe, name, cache)
        if name in inputs.data:
            _check_task(recipe, inputs.data[name], complaints, unfit)
    for name in inputs.data:
        with complaints.collecting():
            check_teachers(recipe, starts, name, inputs.data)
    _check_models(recipe, inputs, unfit)
    return inputs


def _read_encoder(
    recipe: Recipe, found: load.Source, cache: Cache, inputs: Inputs, unfit: Complaints
) -> None:
    source = inputs.source = _with_dropout(recipe, found)
    shape = inputs.shape = cache.get_or_make(
        ("shape", source.folder), lambda: shape_of(recipe, source)
    )
    with unfit.collecting():
        check_shapes(recipe, source, shape)
    with unfit.collecting():
        check_layers(recipe, source)


def _with_dropout(recipe: Recipe, source: load.Source) -> load.Source:
    """The encoder with the recipe's rates of dropout. Raises RecipeError at a setting that the
    encoder has no place for.
    """
    wanted = {
        "hidden_dropout": recipe.hidden_dropout,
        "attention_dropout": recipe.attention_dropout,
    }
    rates = {setting: rate for setting, rate in wanted.items() if rate is not None}
    try:
        return replace(source, config=with_dropout(source.config, rates)) if rates else source
    except KeyError as error:
        message = f"Encore cannot set this rate in the encoder {recipe.encoder_name}."
        remedy = "Remove it, or choose an encoder of another family."
        problem = Problem(message=message, remedy=remedy)
        raise RecipeError(recipe.problem((error.args[0],), problem)) from None


def _read_rows(recipe: Recipe, name: str, cache: Cache) -> TaskData:
    """The rows of a task. Where there are several tasks, its problems name it."""
    settings = data_settings(recipe, name)
    try:
        return cache.get_or_make(("rows", name, repr(settings)), lambda: load_task(name, settings))
    except EncoreError as error:
        if len(recipe.tasks) == 1:
            raise
        raise type(error)(replace(problem, task=name) for problem in error.problems) from None


def _check_task(recipe: Recipe, data: TaskData, complaints: Complaints, unfit: Complaints) -> None:
    """Check a task's settings against its rows."""
    name, task = data.name, recipe.tasks[data.name]
    if data.labels.kind == "unlabelled":
        with complaints.collecting():
            check_unlabelled(recipe, name)
    else:
        checks: dict[str, Callable[[], Any]] = {
            "metrics": lambda: metrics_named(data.metrics, data.labels.kind),
            "class_weights": lambda: class_weights(data, task),
            "sampling": lambda: sampling_weights(data, task),
        }
        for setting, check in checks.items():
            with unfit.collecting(), located(recipe.problem, ("tasks", name, setting)):
                check()
    if task.decision is not None and data.labels.kind != "unlabelled":
        with unfit.collecting(), located(recipe.problem, ("tasks", name, "decision")):
            _check_decision(recipe, data, task.decision)
    with unfit.collecting():
        losses_of(recipe, name, data.labels)
    with unfit.collecting():
        check_pair(recipe, name, data)
    with unfit.collecting():
        check_negatives(recipe, name, data)
    with unfit.collecting():
        check_metrics(recipe, name, data)


def _check_decision(recipe: Recipe, data: TaskData, settings: DecisionRecipe) -> None:
    head = catalogue.find("heads", head_of(recipe, data.name).name)
    check_decision(
        settings,
        data.labels,
        data.metrics,
        gives_probabilities=head.gives_probabilities,
        n_rows=len(next(iter(data.dev.values()))),
    )


def _check_models(recipe: Recipe, inputs: Inputs, unfit: Complaints) -> None:
    """Build the models without weights, to check that their parts go together."""
    source = inputs.source
    if source is None or inputs.shape is None or len(inputs.data) < len(recipe.tasks):
        return
    labels = {name: each.labels for name, each in inputs.data.items()}
    if any(
        each.kind == "unlabelled" and recipe.tasks[name].same_as is None
        for name, each in labels.items()
    ):
        return  # a task without labels has no head of its own: check_unlabelled reports it
    poolings = {name: pooling_of(task, source) for name, task in recipe.tasks.items()}
    with unfit.collecting():
        models = build_skeletons(parts_of(recipe, labels, poolings), recipe, source)
        check_losses(recipe, labels, models)

"""The references of a recipe to runs, each at its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from encore.errors import Problem, RecipeError, format_given
from encore.recipe.fields import Flaws
from encore.recipe.reference import RunReference
from encore.recipe.schema import Recipe, TaskRecipe
from encore.recipe.technique import Technique
from encore.recipe.write import plain_reference

__all__ = ["Part", "Place", "with_references"]

Part = Literal["encoder", "adapter_from", "adapter", "head", "teacher"]


@dataclass(frozen=True)
class Place:
    """The place of a reference: the encoder, the adapter that the run's own begins as, the fused
    adapter of this number, the head of the task of this number, the teacher of this number of all.
    steps: the keys that lead to it.
    """

    part: Part
    index: int
    steps: tuple[str, ...]


def with_references(
    recipe: Recipe, change: Callable[[RunReference, Place], RunReference]
) -> Recipe:
    """The recipe with every reference as `change` has it, in a fixed order: the encoder, the
    adapter, those that are fused, heads, teachers. Raises RecipeError for what is no reference.
    """
    changes: dict[str, Any] = {}
    if isinstance(recipe.encoder, RunReference):
        changes |= {"encoder": change(recipe.encoder, Place("encoder", 0, ("encoder",)))}
    if (given := recipe.adapter_from) is not None:
        place = Place("adapter_from", 0, ("adapter_from",))
        changes |= {"adapter_from": change(_by_name(given), place)}
    if recipe.adapter is not None and (named := recipe.adapter.settings.get("of")):
        of = [
            plain_reference(
                change(_reference(recipe, each, _FUSED), Place("adapter", index, _FUSED))
            )
            for index, each in enumerate(named)
        ]
        settings = {**recipe.adapter.settings, "of": of}
        changes |= {"adapter": Technique(recipe.adapter.name, settings)}
    tasks = {}
    for index, (name, task) in enumerate(recipe.tasks.items()):
        if (given := task.head_from) is not None:
            place = Place("head", index, ("tasks", name, "head_from"))
            tasks[name] = task.model_copy(update={"head_from": change(_by_name(given), place)})
    tasks |= _with_teachers(recipe, tasks, change)
    if tasks:
        changes |= {"tasks": {**recipe.tasks, **tasks}}
    return recipe.model_copy(update=changes) if changes else recipe


def _with_teachers(
    recipe: Recipe,
    changed: Mapping[str, TaskRecipe],
    change: Callable[[RunReference, Place], RunReference],
) -> dict[str, TaskRecipe]:
    """The tasks with losses that learn from teachers, as `change` has these; always as a list."""
    found, index = {}, 0
    for name in recipe.tasks:
        task = changed.get(name, recipe.tasks[name])
        losses = dict(task.losses)
        for term, one in task.losses.items():
            named = None if one.loss is None else one.loss.settings.get("teacher")
            if one.loss is None or not named:
                continue
            steps, teachers = ("tasks", name, "losses", term, "teacher"), []
            for each in named if isinstance(named, list | tuple) else [named]:
                place = Place("teacher", index, steps)
                teachers.append(plain_reference(change(_reference(recipe, each, steps), place)))
                index += 1
            settings = {**one.loss.settings, "teacher": teachers}
            losses[term] = replace(one, loss=Technique(one.loss.name, settings))
        if losses != dict(task.losses):
            found[name] = task.model_copy(update={"losses": losses})
    return found


_FUSED = ("adapter", "of")


def _by_name(given: str | RunReference) -> RunReference:
    return RunReference(given) if isinstance(given, str) else given


def _reference(recipe: Recipe, value: Any, steps: tuple[str, ...]) -> RunReference:
    """A reference in the settings of a technique. Raises RecipeError."""
    if isinstance(value, str) and value:
        return RunReference(value)
    problems = [Problem(expected="a run, or {run: …, task: …}", got=format_given(value))]
    if isinstance(value, dict) and value.get("run"):
        try:
            return RunReference.parse(value)
        except Flaws as error:
            problems = [replace(one, setting=".".join(map(str, at))) for at, one in error.flaws]
    raise RecipeError(recipe.problem(steps, one) for one in problems)

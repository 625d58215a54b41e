"""Turns validation errors into problems, each at the line of its setting."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel

from encore import catalogue
from encore.errors import Problem, describe_type, did_you_mean, format_given
from encore.recipe.data_recipe import DataRecipe
from encore.recipe.decision_recipe import DecisionRecipe
from encore.recipe.fields import Flaws
from encore.recipe.messages import EXAMPLES, MEANT, suggest
from encore.recipe.schema import PLAN_KEYS, TASK_KEYS, TOP_KEYS, PlanRecipe, Recipe
from encore.recipe.values import Value, to_plain, walk

__all__ = ["resolve_alias", "validation_problems"]


def validation_problems(tree: Value, detail: Any, model: type[BaseModel] = Recipe) -> list[Problem]:
    """The problems of one error of pydantic, at the lines of the culprits. model: what was
    validated.
    """
    steps: tuple[str | int, ...] = detail["loc"]
    raised = detail.get("ctx", {}).get("error")
    if isinstance(raised, Flaws):
        return [_located(tree, (*steps, *inner), problem) for inner, problem in raised.flaws]
    if detail["type"] == "extra_forbidden":
        unknown = _unknown(tree, steps) if model is Recipe else _unknown_in(model, steps)
        return [_located(tree, steps, unknown)]
    if model is not Recipe and detail["type"] == "missing":
        return [_located(tree, steps, Problem(message=f"{steps[-1]} is missing."))]
    got = to_plain(list(walk(tree, steps))[-1])
    return [_located(tree, steps, _ill_typed(_annotation(steps, model), steps, got))]


def _unknown_in(model: type[BaseModel], steps: Sequence[str | int]) -> Problem:
    """The problem of a key that a section of another recipe than `Recipe` does not have."""
    section = _annotation(steps[:-1], model)
    known = typing.cast(type[BaseModel], _section(section)).model_fields
    return Problem(message="no such setting.", remedy=did_you_mean(str(steps[-1]), tuple(known)))


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that a field of type `Section` or `Section | None` holds; None for others."""
    options = [annotation, *typing.get_args(annotation)]
    return next(
        (one for one in options if isinstance(one, type) and issubclass(one, BaseModel)), None
    )


def _ill_typed(annotation: Any, steps: Sequence[str | int], got: Any) -> Problem:
    if _section(annotation) is not None or steps == ("expect",):
        key = next((step for step in reversed(steps) if isinstance(step, str)), "")
        example = f" such as {EXAMPLES[key]}" if key in EXAMPLES else ""
        return Problem(expected=f"a mapping{example}", got=format_given(got))
    remedy = suggest(got, annotation)
    if steps[0] == "expect" and isinstance(got, dict) and got:
        remedy = f"Write {steps[1]}.{next(iter(got))}: …"
    return Problem(expected=describe_type(annotation), got=format_given(got), remedy=remedy)


def _located(tree: Value, steps: Sequence[str | int], problem: Problem) -> Problem:
    return list(walk(tree, steps))[-1].problem(problem)


def _unknown(tree: Value, steps: Sequence[str | int]) -> Problem:
    """The problem of a key that no section has, or not this one."""
    key = str(steps[-1])
    section = (
        ""
        if len(steps) == 1
        else "plan"
        if steps[0] == "plan"
        else "task"
        if len(steps) == 3
        else str(steps[2])
    )
    known = {
        "": TOP_KEYS,
        "plan": PLAN_KEYS,
        "task": TASK_KEYS,
        "data": tuple(DataRecipe.model_fields),
        "decision": tuple(DecisionRecipe.model_fields),
    }[section]
    if section == "plan":
        name = to_plain(tree.data["plan"]).get("name", PlanRecipe.model_fields["name"].default)
        if name in catalogue.names("plans"):
            known = tuple(dict.fromkeys((*known, *catalogue.settings("plans", name))))
    # A file shows the section around the key; an override is read alone, so it gets the full name.
    value = list(walk(tree, steps))[-1]
    inner_section = section in ("plan", "data", "decision")
    prefix = f"{section}." if inner_section and value.line is None else ""
    word = _word(key)
    outer, _, inner = word.rpartition(".")
    message = "no such setting."
    if outer in ("plan", "data", "decision", "head", "pooling", "losses"):
        remedy = f"Write {outer}: {{{inner}: …}}, or {word}=… on the command line."
        return Problem(message=message, remedy=remedy)
    setting = resolve_alias(key)
    if setting is None:
        return Problem(message=message, remedy=did_you_mean(key, known, prefix=prefix))
    if setting == word and section:  # the right word in the wrong place
        where = (
            f"beside {section}, in the task or for all tasks"
            if setting in TASK_KEYS
            else "for the whole recipe"
        )
        remedy = f"Write it {where} at the top: {setting}: …, or {setting}=… on the command line."
        return Problem(message="no such setting here.", remedy=remedy)
    meant = setting if prefix else setting.removeprefix(f"{section}.")
    return Problem(message=message, remedy=f"Did you mean '{meant}'?")


def _word(key: str) -> str:
    return key.strip().lower().replace("-", "_").replace(" ", "_")


def resolve_alias(key: str) -> str | None:
    """The full name of the setting that somebody means who writes `key`, None where there is no
    telling.

    >>> resolve_alias("learning_rate"), resolve_alias("lr"), resolve_alias("colour")
    ('plan.lr', 'plan.lr', None)
    """
    sections = {
        "": TOP_KEYS,
        "plan.": PLAN_KEYS,
        "data.": tuple(DataRecipe.model_fields),
        "decision.": tuple(DecisionRecipe.model_fields),
    }
    return MEANT.get(_word(key)) or next(
        (section + _word(key) for section, keys in sections.items() if _word(key) in keys), None
    )


def _annotation(steps: Sequence[str | int], model: type[BaseModel]) -> Any:
    """The type of the field that `steps` lead to, with its range."""
    annotation: Any = model
    for step in steps:
        section = _section(annotation)
        if section is not None and step in section.model_fields:
            field = section.model_fields[str(step)]
            annotation = (
                Annotated[(field.annotation, *field.metadata)]
                if field.metadata
                else field.annotation
            )  # type: ignore[assignment]
        elif typing.get_origin(annotation) is dict:
            annotation = typing.get_args(annotation)[1]
    return annotation

"""Turns validation errors into one line per problem, at the line of the setting."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import (
    BaseModel,
)

from encore import catalogue
from encore.errors import did_you_mean
from encore.recipe.located_yaml import Value, to_plain, walk
from encore.recipe.messages import EXAMPLES, MEANT, describe_type, format_given, remedy
from encore.recipe.schema import PLAN_KEYS, TASK_KEYS, TOP_KEYS, DataRecipe, Recipe

__all__ = ["resolve_alias", "validation_problems"]


# --------------------------------------------------------------------------------------- complaints


def validation_problems(tree: Value, detail: Any) -> list[str]:
    """One line per complaint of pydantic, at the line of the culprit."""
    steps: tuple[str | int, ...] = detail["loc"]
    if detail["type"] == "encore":
        return [
            _located(tree, (*steps, *inner), message)
            for inner, message in detail["ctx"]["problems"]
        ]
    if detail["type"] == "extra_forbidden":
        return [_located(tree, steps, _unknown(tree, steps))]
    got = to_plain(list(walk(tree, steps))[-1])
    if detail["type"] in ("model_type", "model_attributes_type", "dict_type"):
        key = next((step for step in reversed(steps) if isinstance(step, str)), "")
        example = f" such as {EXAMPLES[key]}" if key in EXAMPLES else ""
        return [_located(tree, steps, f"expected a mapping{example}, got {format_given(got)}.")]
    expected = _expected(steps)
    if steps[0] == "expect" and isinstance(got, dict) and got:
        return [
            _located(
                tree,
                steps,
                f"expected a number, got {format_given(got)}. "
                f"Write {steps[1]}.{next(iter(got))}: …",
            )
        ]
    return [
        _located(
            tree, steps, f"expected {expected}, got {format_given(got)}.{remedy(got, expected)}"
        )
    ]


def _located(tree: Value, steps: Sequence[str | int], message: str) -> str:
    return list(walk(tree, steps))[-1].problem(message)


def _unknown(tree: Value, steps: Sequence[str | int]) -> str:
    """What to say about a key that no section has, or not this one."""
    key = str(steps[-1])
    section = (
        ""
        if len(steps) == 1
        else "plan"
        if steps[0] == "plan"
        else "task"
        if len(steps) == 3
        else "data"
    )
    known = {
        "": TOP_KEYS,
        "plan": PLAN_KEYS,
        "task": TASK_KEYS,
        "data": tuple(DataRecipe.model_fields),
    }[section]
    if section == "plan":
        name = to_plain(tree.data["plan"]).get("name", "fine_tune")
        if name in catalogue.names("plans"):
            known = tuple(dict.fromkeys((*known, *catalogue.settings("plans", name))))
    word = _word(key)
    outer, _, inner = word.rpartition(".")
    if outer in ("plan", "data", "head", "pooling", "losses"):
        return f"no such setting. Write {outer}: {{{inner}: …}}, or {word}=… on the command line."
    setting = resolve_alias(key)
    if setting is None:
        return f"no such setting. {did_you_mean(key, known)}"
    if setting == word and section:  # the right word in the wrong place
        where = (
            f"beside {section}, in the task or for all tasks"
            if setting in TASK_KEYS
            else "for the whole recipe"
        )
        return (
            f"no such setting here. Write it {where} at the top: {setting}: …, or "
            f"{setting}=… on the command line."
        )
    return f"no such setting. Did you mean '{setting.removeprefix(section + '.')}'?"


def _word(key: str) -> str:
    return key.strip().lower().replace("-", "_").replace(" ", "_")


def resolve_alias(key: str) -> str | None:
    """The full name of the setting that somebody means who writes `key`, None where there is no
    telling.

    >>> meant("learning_rate"), meant("lr"), meant("colour")
    ('plan.lr', 'plan.lr', None)
    """
    sections = {"": TOP_KEYS, "plan.": PLAN_KEYS, "data.": tuple(DataRecipe.model_fields)}
    return MEANT.get(_word(key)) or next(
        (section + _word(key) for section, keys in sections.items() if _word(key) in keys), None
    )


def _expected(steps: Sequence[str | int]) -> str:
    """What the field at `steps` wants, in words, from its own annotation."""
    annotation: Any = Recipe
    for step in steps:
        if (
            isinstance(annotation, type)
            and issubclass(annotation, BaseModel)
            and step in annotation.model_fields
        ):
            field = annotation.model_fields[str(step)]
            annotation = (
                Annotated[(field.annotation, *field.metadata)]
                if field.metadata
                else field.annotation
            )  # type: ignore[assignment]
        elif typing.get_origin(annotation) is dict:
            annotation = typing.get_args(annotation)[1]
    return describe_type(annotation)

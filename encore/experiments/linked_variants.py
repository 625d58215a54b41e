"""Variants that start from other variants of the same comparison: `encoder: {run: VARIANT}`.

`{run: baseline, task: sst5}` is the variant baseline of the study that trains sst5, where the
comparison has several, else of the same study.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from encore.errors import Problem
from encore.recipe.reference import RunReference
from encore.recipe.schema import Recipe

__all__ = ["Key", "linked"]

Key = tuple[int, str]  # the number of a study's point, and a variant


def linked(recipes: Mapping[Key, Recipe], problems: list[Problem]) -> dict[Key, Recipe]:
    """The recipes, with those of the variants that they start from in place of their names.
    problems: takes the circles.
    """
    variants, found = {variant for _, variant in recipes}, dict[Key, Recipe]()

    def link(key: Key, chain: tuple[Key, ...]) -> Recipe:
        recipe = recipes[key]
        if key in found:
            return found[key]
        reference = recipe.encoder
        first = _first(key, reference, recipes, variants)
        if first is None or not isinstance(reference, RunReference):
            found[key] = recipe
        elif first in (*chain, key):
            names = [variant for _, variant in (*chain, key, first)]
            message = f"these variants start from each other: {' → '.join(names)}."
            problems.append(recipe.problem(("encoder",), message))
            found[key] = recipe
        else:
            start = reference.to(link(first, (*chain, key)))
            found[key] = recipe.model_copy(update={"encoder": start})
        return found[key]

    return {key: link(key, ()) for key in recipes}


def _first(
    key: Key, reference: object, recipes: Mapping[Key, Recipe], variants: Collection[str]
) -> Key | None:
    """The variant that a reference names; None where it names something else."""
    if not isinstance(reference, RunReference) or reference.run not in variants:
        return None
    number, name = key[0], str(reference.run)
    task = reference.task
    if task is None or ((number, name) in recipes and task in recipes[number, name].tasks):
        return number, name
    elsewhere = [each for each in recipes if each[1] == name and task in recipes[each].tasks]
    return elsewhere[0] if elsewhere else (number, name)

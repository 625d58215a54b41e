"""Variants that start from other variants of the same comparison: `encoder: {run: VARIANT}`; the
same for adapters and heads.

`{run: baseline, task: sst5}` is the variant baseline of the study that trains sst5, where the
comparison has several, and there with the same other settings; else of the same study. So that one
recipe can name every order of tasks, an encoder that was trained on the task of the study itself
makes no run there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from encore.errors import Problem
from encore.recipe.reference import RunReference
from encore.recipe.references import Place, with_references
from encore.recipe.schema import Recipe

__all__ = ["Key", "linked"]

Key = tuple[int, str]  # the number of a study's point, and a variant


def linked(
    recipes: Mapping[Key, Recipe], points: Sequence[Mapping[str, Any]], problems: list[Problem]
) -> tuple[dict[Key, Recipe], dict[Key, str]]:
    """The recipes, with those of the variants that they start from in place of their names; and the
    reasons why some are not run. points: the settings of each study. problems: takes the circles.
    """
    found, idle = dict[Key, Recipe](), dict[Key, str]()
    n_studies = len({number for number, _ in recipes})

    def link(key: Key, chain: tuple[Key, ...]) -> Recipe:
        if key not in found:
            recipe = recipes[key]

            def change(reference: RunReference, place: Place) -> RunReference:
                first = _first(key, reference, recipes, points)
                if first is None:
                    return reference
                own = first[0] == key[0] and reference.task is not None
                if own and n_studies > 1 and place.part == "encoder":
                    idle[key] = f"its encoder comes from {reference.task} itself"
                if first in (*chain, key):
                    names = " → ".join(variant for _, variant in (*chain, key, first))
                    message = f"these variants start from each other: {names}."
                    problems.append(recipe.problem(place.steps, message))
                    return reference
                return reference.to(link(first, (*chain, key)))

            found[key] = with_references(recipe, change)
        return found[key]

    return {key: link(key, ()) for key in recipes}, idle


def _first(
    key: Key,
    reference: RunReference,
    recipes: Mapping[Key, Recipe],
    points: Sequence[Mapping[str, Any]],
) -> Key | None:
    """The variant that a reference names; None where it names something else."""
    number, name, task = key[0], reference.run, reference.task
    if not isinstance(name, str) or not any(name == variant for _, variant in recipes):
        return None
    if task is None or ((number, name) in recipes and task in recipes[number, name].tasks):
        return number, name
    elsewhere = [each for each in recipes if each[1] == name and task in recipes[each].tasks]
    own = points[number]

    def in_common(other: Key) -> int:
        return sum(own.get(setting) == value for setting, value in points[other[0]].items())

    return max(elsewhere, key=in_common, default=(number, name))  # the first of equals

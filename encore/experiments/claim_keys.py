"""Reads `claims` of a recipe: sentences on several tasks, which the comparison judges."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from encore.errors import Problem, did_you_mean, format_given
from encore.evaluation.task_claims import FORMS, TaskClaim, parse_claim
from encore.recipe.expectations import AVERAGES
from encore.recipe.values import Value, to_plain

__all__ = ["read_claims"]


def read_claims(
    value: Value | None, document: Value, variants: Collection[str], problems: list[Problem]
) -> tuple[TaskClaim, ...]:
    """The claims of a recipe. document: all of it, whose tasks a claim may name. variants: all of
    the recipe's, those that `--only` leaves out too.
    """
    if value is None or value.data is None:
        return ()
    if not isinstance(value.data, tuple):
        message = f"expected a list of sentences, got {format_given(to_plain(value))}."
        problems.append(value.problem(message, remedy=f"Write - {FORMS[1]}."))
        return ()
    tasks = set(_tasks_of(document))
    found = []
    for item in value.data:
        given = to_plain(item)
        claim = parse_claim(given) if isinstance(given, str) else None
        if claim is None:
            message = f"{format_given(given)} is no claim that can be judged."
            problems.append(item.problem(message, remedy=f"Known: {'; '.join(FORMS)}."))
            continue
        problems += [
            item.problem(message, remedy=remedy)
            for message, remedy in _unknown(claim, variants, tasks)
        ]
        found.append(claim)
    return tuple(found)


def _unknown(
    claim: TaskClaim, variants: Collection[str], tasks: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Problems of names that the recipe does not have: message and remedy."""
    if claim.variant and claim.variant not in variants:
        remedy = did_you_mean(claim.variant, tuple(variants))
        yield f"no variant called {format_given(claim.variant)}.", remedy
    for task in claim.tasks:
        if tasks and task not in tasks:
            yield f"no task called {format_given(task)}.", did_you_mean(task, tuple(sorted(tasks)))
    if claim.average and claim.average not in AVERAGES:
        remedy = did_you_mean(claim.average, AVERAGES)
        yield f"no average called {format_given(claim.average)}.", remedy


def _tasks_of(document: Value) -> Iterator[str]:
    """The tasks that a recipe names, those of its studies included."""
    top = document.data if isinstance(document.data, dict) else {}
    studied = top.get("each")
    each = studied.data if studied is not None and isinstance(studied.data, dict) else {}
    for place in (top.get("tasks"), *_items(each.get("tasks"))):
        if place is not None and isinstance(place.data, dict):
            yield from place.data
    for item in (top.get("task"), *_items(each.get("task"))):
        if item is not None and isinstance(item.data, str):
            yield item.data


def _items(value: Value | None) -> tuple[Value, ...]:
    return value.data if value is not None and isinstance(value.data, tuple) else ()

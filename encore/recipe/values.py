"""The values of a recipe document, each with the place where it was written."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from encore.errors import Problem, RecipeError, escape_unprintable, format_given

__all__ = [
    "Locations",
    "MAX_DEPTH",
    "Value",
    "from_python",
    "is_finite",
    "is_text",
    "join",
    "abbreviate",
    "to_plain",
    "walk",
]

MAX_DEPTH = 20  # a recipe is four levels deep; the parser itself would recurse without end


@dataclass(frozen=True)
class Value:
    """One value and the place where it was written.

    data: None, bool, int, float, str, a tuple of Values, or a dict from text to Value.
    where: the file, "override plan.lr=3e-5", an option ("--label"); "" for a value from Python.
    line: its line in the file, from 1.
    path: the keys that lead to it, "plan.lr"; "" at the top, and where `where` names it.
    text: how a scalar was written ("007"), None where that is unknown.
    """

    data: Any
    where: str = ""
    line: int | None = None
    path: str = ""
    text: str | None = None

    def problem(
        self, message: str | Problem = "", *, expected: str = "", got: str = "", remedy: str = ""
    ) -> Problem:
        """A problem with this value. A `Problem` without a place gets the place of this value."""
        found = (
            message
            if isinstance(message, Problem)
            else Problem(message=message, expected=expected, got=got, remedy=remedy)
        )
        return Problem(
            where=escape_unprintable(self.where or ("" if self.path else "recipe")),
            line=self.line,
            setting=escape_unprintable(self.path),
            message=escape_unprintable(found.message),
            expected=escape_unprintable(found.expected),
            got=escape_unprintable(found.got),
            remedy=escape_unprintable(found.remedy),
        )


def abbreviate(text: str) -> str:
    """The text on one line, in at most 60 characters."""
    text = escape_unprintable(text)
    return text if len(text) <= 60 else f"{text[:57]}…"


def is_finite(number: float) -> bool:
    """True for what a float can hold, be it a whole number."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def join(path: str, key: str) -> str:
    """The path to `key` of the mapping at `path`.

    >>> join("plan", "lr"), join("", "plan")
    ('plan.lr', 'plan')
    """
    return f"{path}.{key}" if path else key


def from_python(
    data: Any, problems: list[Problem] | None = None, *, where: str = "", path: str = ""
) -> Value:
    """Values of data from Python: mappings, lists, tuples, text, numbers, paths; numpy scalars
    count as numbers. where: the place of all of them, where they have one (an option, "--label").
    path: the keys that lead to `data`.

    problems: takes what a recipe cannot hold; such values are left out. Raises RecipeError with all
    of them if it is None.
    """
    found: list[Problem] = []
    value = _from_python(data, Value(None, where, path=path), found, 0)
    if found and problems is None:
        raise RecipeError(found)
    if problems is not None:
        problems += found
    return value or Value(None, where, path=path)


def _from_python(data: Any, here: Value, problems: list[Problem], depth: int) -> Value | None:
    if depth > MAX_DEPTH:
        message = f"nested too deeply for a recipe (at most {MAX_DEPTH} levels)."
        problems.append(here.problem(message))
        return None
    if isinstance(data, Mapping):
        return replace(here, data=_entries(data, here, problems, depth))
    if isinstance(data, (list, tuple)):
        items = [_from_python(item, here, problems, depth + 1) for item in data]
        return replace(here, data=tuple(item for item in items if item is not None))
    if isinstance(data, os.PathLike):
        data = os.fspath(data)
    if getattr(data, "shape", None) == () and hasattr(data, "item"):
        data = data.item()  # a numpy scalar
    if data is None or (isinstance(data, (bool, int)) and is_finite(data)):
        return replace(here, data=data)
    if isinstance(data, str):
        if is_text(data):
            return replace(here, data=str(data), text=str(data))
        message = f"{abbreviate(ascii(data))} holds a character that cannot be written as UTF-8."
        problems.append(here.problem(message))
    elif isinstance(data, (int, float)):
        if is_finite(data):
            return replace(here, data=float(data))
        problems.append(here.problem(expected="a finite number", got=format_given(data)))
    else:
        kind = type(data).__name__
        message = f"a recipe holds text, numbers, lists and mappings, got {kind}."
        problems.append(here.problem(message))
    return None


def _entries(
    data: Mapping[Any, Any], here: Value, problems: list[Problem], depth: int
) -> dict[str, Value]:
    entries: dict[str, Value] = {}
    for key, entry in data.items():
        word = key if isinstance(key, str) else _word(key)
        if word is None or not is_text(word):
            problems.append(here.problem(f"a key must be text, got {abbreviate(repr(key))}."))
        elif word in entries:
            message = f"the key '{abbreviate(word)}' is given twice (as text and as a number)."
            problems.append(here.problem(message, remedy="Keep one."))
        else:
            below = replace(here, path=join(here.path, word))
            value = _from_python(entry, below, problems, depth + 1)
            if value is not None:
                entries[word] = value
    return entries


def _word(key: Any) -> str | None:
    """A key that is no text, as YAML would write it."""
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key) if isinstance(key, (int, float)) else None


def is_text(text: str) -> bool:
    """True for text that UTF-8 can hold: what Python reads from a broken command line or file name
    may contain lone surrogates.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def to_plain(value: Value) -> Any:
    """The data without its places: what json could write."""
    if isinstance(value.data, dict):
        return {key: to_plain(entry) for key, entry in value.data.items()}
    if isinstance(value.data, tuple):
        return [to_plain(item) for item in value.data]
    return value.data


def walk(value: Value, steps: Sequence[str | int]) -> Iterator[Value]:
    """The values on the way from `value` along `steps`; steps that lead nowhere are passed over."""
    yield value
    for step in steps:
        inside = (
            value.data.keys()
            if isinstance(value.data, dict)
            else range(len(value.data))
            if isinstance(value.data, tuple)
            else ()
        )
        if step in inside:
            value = value.data[step]
            yield value


class Locations:
    """The places where the settings of a recipe were written. They are no part of its content, so
    any two are equal.
    """

    def __init__(self, tree: Value | None = None) -> None:
        self.tree = tree or Value({})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Locations)

    __hash__ = None  # type: ignore[assignment]

    def problem(self, steps: Sequence[str | int], problem: str | Problem) -> Problem:
        """The problem at the place of the setting that `steps` lead to. A `Problem` that names an
        inner setting ("k") is about that part of it.
        """
        if isinstance(problem, Problem) and problem.setting:
            inner = problem.setting.split(".")
            steps = (*steps, *(int(step) if step.isdecimal() else step for step in inner))
        found = list(walk(self.tree, steps))
        if len(found) <= len(steps):  # a default, which was written nowhere
            return replace(found[-1], path=".".join(map(str, steps))).problem(problem)
        return found[-1].problem(problem)

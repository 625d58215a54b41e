"""The values of a recipe that are more than a number or a word: metrics, label names, dev sets,
class weights.

Each reader takes plain data and returns a frozen value, or raises `Flaws` with everything that is
wrong with it, each with the keys that lead to the culprit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, cast, get_args

from encore import catalogue
from encore.catalogue import Flaw
from encore.errors import Problem, format_given
from encore.recipe.messages import suggest

__all__ = [
    "Flaws",
    "KeptEpoch",
    "parse_class_weights",
    "parse_delimiter",
    "parse_dev_sets",
    "parse_files",
    "parse_fold",
    "parse_keep",
    "parse_label_names",
    "parse_metric_names",
    "parse_separator",
    "refuse",
    "require_countable",
    "unsafe_name_problems",
    "without_dots",
]

KeptEpoch = Literal["last", "best", "best_per_task"] | int
_MOST_COUNTED = 10**15
_SAFE_NAME = re.compile(
    r"[\w-]{1,64}"
)  # names of tasks, losses and dev sets become folder names and parts of dotted paths


class Flaws(ValueError):
    """The flaws of a value that pydantic validates: each problem with the keys that lead from
    the value to the culprit.
    """

    def __init__(self, flaws: Sequence[Flaw]) -> None:
        super().__init__("; ".join(str(problem) for _, problem in flaws))
        self.flaws = tuple(flaws)


def refuse(message: str = "", *, expected: str = "", got: str = "", remedy: str = "") -> NoReturn:
    """Raise `Flaws` with one problem, of the value itself."""
    problem = Problem(message=message, expected=expected, got=got, remedy=remedy)
    raise Flaws([((), problem)])


def unsafe_name_problems(name: str, what: str) -> list[Problem]:
    """The problem of a name that cannot be part of a path, if it is one. what: "task"."""
    if _SAFE_NAME.fullmatch(name):
        return []
    rule = f"the name of a {what} consists of at most 64 letters, digits, '_' and '-'"
    return [Problem(message=f"{rule}, got {format_given(name)}.")]


def parse_metric_names(value: Any) -> tuple[str, ...] | None:
    """A metric or a list of metrics, each once. Raises Flaws."""
    if value is None or isinstance(value, tuple):
        return value
    given = [value] if isinstance(value, str) else value
    known = catalogue.names("metrics")
    listed = f"Known: {', '.join(known)}."
    if not isinstance(given, list):
        expected = "a metric or a list of metrics, of which the first decides"
        refuse(expected=expected, got=format_given(value), remedy=listed)
    flaws: list[Flaw] = []
    for position, name in enumerate(given):
        steps = (position,) if isinstance(value, list) else ()
        if not isinstance(name, str):
            expected, got = "the name of a metric", format_given(name)
            flaws.append((steps, Problem(expected=expected, got=got, remedy=listed)))
        elif name not in known:
            flaws.append((steps, catalogue.unknown_name("metrics", name)))
        elif name in given[:position]:
            problem = Problem(message=f"'{name}' is listed twice.", remedy="Keep one.")
            flaws.append((steps, problem))
    if flaws:
        raise Flaws(flaws)
    return tuple(given)


def parse_dev_sets(value: Any) -> str | dict[str, str] | None:
    """A file, or a mapping from names to files. Raises Flaws."""
    if value is None or (isinstance(value, str) and value):
        return value
    if not isinstance(value, dict) or not value:
        example = "{matched: a.csv, mismatched: b.csv}"
        expected = f"a file, or several named ones such as {example}"
        refuse(expected=expected, got=format_given(value))
    flaws: list[Flaw] = []
    for name, path in value.items():
        flaws += [((name,), problem) for problem in unsafe_name_problems(name, "dev set")]
        if name in ("train", "test"):
            message = f"a dev set cannot be called '{name}'."
            flaws.append(((name,), Problem(message=message, remedy="Give it another name.")))
        if not isinstance(path, str) or not path:
            flaws.append(((name,), Problem(expected="a file", got=format_given(path))))
    if flaws:
        raise Flaws(flaws)
    return value


def parse_files(value: Any) -> tuple[str, ...] | None:
    """A file, or a list of files; None for none. Raises Flaws."""
    given = [value] if isinstance(value, str) else value or []
    if not isinstance(given, list | tuple) or not all(
        isinstance(one, str) and one for one in given
    ):
        refuse(expected="a file, or a list of files", got=format_given(value))
    return tuple(given) or None


def parse_fold(value: Any) -> str | None:
    """A fold and the number of folds, such as 2/5. Raises Flaws."""
    if value is None:
        return None
    found = re.fullmatch(
        r"([1-9][0-9]{0,3})/([1-9][0-9]{0,3})", value if isinstance(value, str) else ""
    )
    if found is None or int(found[2]) < 2 or int(found[1]) > int(found[2]):
        refuse(expected="a fold and how many there are, such as 2/5", got=format_given(value))
    return str(value)


def parse_keep(value: Any) -> KeptEpoch:
    """The epoch that a run keeps: `last`, `best`, `best_per_task`, or its number. Raises Flaws."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return require_countable(value)
    if value not in get_args(get_args(KeptEpoch)[0]):
        expected = "one of last, best, best_per_task, or the number of an epoch"
        refuse(expected=expected, got=format_given(value), remedy=suggest(value, KeptEpoch))
    return cast(KeptEpoch, value)


def parse_label_names(value: Any) -> tuple[str, ...] | dict[str, str] | None:
    """A list of label names, or a mapping from cells to label names. Raises Flaws."""
    if value is None or isinstance(value, tuple):
        return value
    cells = list(value) if isinstance(value, dict) else value
    if not isinstance(cells, list):
        expected = "a list of label names, or a mapping from cells to names"
        refuse(expected=expected, got=format_given(value))
    flaws: list[Flaw] = []
    if len(cells) < 2:
        flaws.append(((), Problem(expected="at least two labels", got=str(len(cells)))))
    named = list(value.items()) if isinstance(value, dict) else list(enumerate(cells))
    for step, name in named:
        if not isinstance(name, str) or not name:
            expected, remedy = "the name of a label", "Put it in quotes if that is its name."
            problem = Problem(expected=expected, got=format_given(name), remedy=remedy)
            flaws.append(((step,), problem))
        elif isinstance(value, list) and name in cells[:step]:
            message = f"the label '{name}' is listed twice."
            flaws.append(((step,), Problem(message=message, remedy="Keep one.")))
    if flaws:
        raise Flaws(flaws)
    return tuple(value) if isinstance(value, list) else value


def parse_class_weights(value: Any) -> Literal["balanced"] | dict[str, float] | None:
    """`balanced`, or a weight per label name. Raises Flaws."""
    if value is None or value == "balanced":
        return value
    if not isinstance(value, dict) or not value:
        example = "{negative: 1, positive: 2.5}"
        expected = f"balanced, or a weight per label name such as {example}"
        refuse(expected=expected, got=format_given(value))
    flaws: list[Flaw] = [
        ((label,), Problem(expected="a number above 0", got=format_given(weight)))
        for label, weight in value.items()
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or weight <= 0
    ]
    if flaws:
        raise Flaws(flaws)
    return {label: float(weight) for label, weight in value.items()}


def require_countable(value: int) -> int:
    """A number that arrays and files can be counted with. Raises Flaws."""
    if value > _MOST_COUNTED:
        refuse(expected=f"a whole number of at most {_MOST_COUNTED:,}", got=format_given(value))
    return value


def parse_separator(value: Any) -> str:
    """The character between the labels of a cell. Raises Flaws."""
    if not isinstance(value, str) or len(value) != 1 or value.isalnum() or value in ' "[]\r\n':
        refuse(expected="one character, such as ';' or ','", got=format_given(value))
    return value


def parse_delimiter(value: Any) -> str | None:
    """One character, or `tab`. Raises Flaws."""
    value = {"\\t": "\t", "tab": "\t"}.get(value, value) if isinstance(value, str) else value
    if value is not None and (not isinstance(value, str) or len(value) != 1):
        refuse(expected="one character, or tab", got=format_given(value))
    return value


def without_dots(path: Path) -> Path:
    """The same path without "..", so that a file has one path however it is spelt."""
    if ".." not in path.parts:
        return path
    # The last part stays as it is: the name of a link says how to read the file.
    return path.resolve() if path.name == ".." else path.parent.resolve() / path.name

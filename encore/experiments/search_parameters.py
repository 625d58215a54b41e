"""The settings that a search varies, read from the recipe's key `search`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from encore.errors import Problem, did_you_mean, format_given
from encore.experiments.study_keys import changes_of
from encore.recipe.overrides import Change
from encore.recipe.schema import STUDY
from encore.recipe.values import Value, to_plain
from encore.tables.formatting import format_plain

__all__ = ["KINDS", "Parameter", "read_parameters"]

Kind = Literal["log_uniform", "uniform", "int", "choice"]
KINDS: tuple[Kind, ...] = ("log_uniform", "uniform", "int", "choice")
_MEANT = {
    "loguniform": "log_uniform",
    "log": "log_uniform",
    "float": "uniform",
    "range": "uniform",
    "integer": "int",
    "int_uniform": "int",
    "randint": "int",
    "categorical": "choice",
    "choices": "choice",
    "values": "choice",
    "grid": "choice",
    "options": "choice",
    "in": "choice",
}
_MOST_WHOLE = 64  # a range of at most so many whole numbers is tried out value by value
_OF_THE_VALUE = (
    "dev",
    "dev_frac",
    "dev_rows",
    "label",
    "labels",
    "kind",
    "more",
    "only_more",
    "seed",
    "test",
)  # of `data:`
_LARGEST_WHOLE = 10**15  # below it a float differs from its neighbours, as samplers need


@dataclass(frozen=True)
class Parameter:
    """One searched setting. path: "plan.lr". low, high: of a range. labels: of a choice, as
    the trial has them; `values` are what they stand for.
    """

    path: str
    kind: Kind
    entry: Value
    low: float = 0
    high: float = 0
    labels: tuple[Any, ...] = ()
    values: tuple[Value, ...] = ()

    def value(self, given: Any) -> Value:
        """The recipe's value for a trial's: a number of the range, or the label of a choice."""
        if self.kind == "choice":
            return self.values[self.labels.index(given)]
        return replace(self.entry, data=int(given) if self.kind == "int" else float(given))

    @property
    def tried(self) -> tuple[Any, ...]:
        """The values to try before the search begins: every choice, the ends of a range, and all of
        a short range of whole numbers.
        """
        if self.kind == "choice":
            return self.labels
        if self.kind == "int":
            low, high = int(self.low), int(self.high)
            return tuple(range(low, high + 1)) if high - low < _MOST_WHOLE else (low, high)
        return (self.low, self.high)

    @property
    def spec(self) -> dict[str, Any]:
        """The space as the recipe writes it: {"log_uniform": [1e-5, 1e-4]}."""
        return {
            self.kind: [to_plain(value) for value in self.values]
            if self.kind == "choice"
            else [self.low, self.high]
        }


def read_parameters(
    value: Value | None,
    document: Value,
    changes: Sequence[Change],
    problems: list[Problem],
    notes: list[str],
) -> tuple[Parameter, ...]:
    """The parameters under `search`, without those that the command line sets. Adds to problems
    and notes.
    """
    if value is None or value.data is None:
        problems.append(
            (value or document).problem(
                "nothing to search. Add search: {plan.lr: {log_uniform: [1e-5, 1e-4]}}."
            )
        )
        return ()
    if not isinstance(value.data, dict) or not value.data:
        problems.append(
            value.problem(
                f"expected a mapping from settings to search spaces, such as {_EXAMPLE}, got "
                f"{format_given(to_plain(value))}."
            )
        )
        return ()
    pinned = [steps for steps, _ in changes]
    found: list[Parameter] = []
    for steps, entry in changes_of(value):
        path = ".".join(steps)
        if (why := _not_searchable(steps, path)) is not None:
            problems.append(entry.problem(why))
        elif any(_overlap(steps, other) for other in pinned):
            notes.append(f"{path} is set on the command line and not searched")
        elif (parameter := _parameter(path, entry, problems)) is not None:
            other = next(
                (one.path for one in found if _overlap(steps, tuple(one.path.split(".")))), None
            )
            if other is None:
                found.append(parameter)
            else:
                problems.append(
                    entry.problem(
                        f"'{other}' is searched too, and one is a part of the other. Write "
                        f"whole choices for the outer one."
                    )
                )
    if not found and not problems:
        problems.append(
            value.problem(
                "nothing is left to search: every setting of it is set on the command line."
            )
        )
    return tuple(found)


def _not_searchable(steps: tuple[str, ...], path: str) -> str | None:
    """The reason why a setting cannot be searched; None where it can."""
    if not all(steps):
        return f"expected a setting, such as plan.lr, got '{path}'."
    if steps[0] in (*STUDY, "seed", "task", "source", "claim", "expect"):
        seed = " A seed is luck: seeds_per_trial: 3 averages over it."
        return f"this cannot be searched.{seed if steps[0] in ('seed', 'seeds') else ''}"
    if _measures(steps):
        return (
            "this cannot be searched: it decides how trials are measured, so they could not be "
            "compared."
        )
    return None


_EXAMPLE = "{plan.lr: {log_uniform: [1e-5, 1e-4]}}"


def _measures(steps: tuple[str, ...]) -> bool:
    """True for a setting that decides on which rows a trial is measured, or how."""
    own = steps[2:] if steps[0] == "tasks" else steps
    return own[:1] == ("metrics",) or (
        own[:1] == ("data",) and own[1:2] in {(name,) for name in _OF_THE_VALUE}
    )


def _overlap(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    """True where one of two settings is the other, or a part of it. A task setting at the top is
    every task's.
    """
    if (a[0] == "tasks") != (b[0] == "tasks"):
        a, b = (steps[2:] if steps[0] == "tasks" else steps for steps in (a, b))
    return a[: len(b)] == b[: len(a)]


def _parameter(path: str, entry: Value, problems: list[Problem]) -> Parameter | None:
    if not isinstance(entry.data, dict) or len(entry.data) != 1:
        several = (
            " Keep one of them." if isinstance(entry.data, dict) and len(entry.data) > 1 else ""
        )
        example = (
            f"{{choice: {to_plain(entry)}}}"
            if isinstance(entry.data, tuple)
            else "{uniform: [0.0, 0.2]}"
        )
        problems.append(
            entry.problem(
                f"expected a search space, such as {example}, got "
                f"{format_given(to_plain(entry))}.{several}"
            )
        )
        return None
    ((word, where),) = entry.data.items()
    if word not in KINDS:
        if isinstance(where.data, dict) and set(where.data) <= {*KINDS, *_MEANT}:
            problems.append(
                entry.problem(
                    f"write the setting with dots: {path}.{word}: "
                    f"{{{next(iter(where.data), 'uniform')}: …}}."
                )
            )
        else:
            problems.append(
                entry.problem(
                    f"no search space called {format_given(word)}. "
                    f"{did_you_mean(_MEANT.get(word.lower()) or word, KINDS)}"
                )
            )
        return None
    kind = cast(Kind, word)
    place = replace(where, path=entry.path, text=None)
    return (
        _choice(path, place, where, problems)
        if kind == "choice"
        else _range(path, kind, place, where, problems)
    )


def _range(
    path: str, kind: Kind, place: Value, where: Value, problems: list[Problem]
) -> Parameter | None:
    ends = [to_plain(item) for item in where.data] if isinstance(where.data, tuple) else []
    numbers = [end for end in ends if isinstance(end, (int, float)) and not isinstance(end, bool)]
    whole = " whole" if kind == "int" else ""
    if (
        len(ends) != 2
        or len(numbers) != 2
        or (kind == "int" and not all(isinstance(end, int) for end in numbers))
    ):
        example = {"log_uniform": "[1e-5, 1e-4]", "uniform": "[0.0, 0.2]"}.get(kind, "[1, 6]")
        listed = " For single values write choice." if len(ends) > 2 else ""
        problems.append(
            place.problem(
                f"{kind}: expected two{whole} numbers, such as {example}, got "
                f"{format_given(to_plain(where))}.{listed}"
            )
        )
        return None
    low, high = numbers
    if low >= high:
        turned = (
            f" Did you mean [{high}, {low}]?"
            if low > high
            else " For a single value write it in the recipe, outside search."
        )
        problems.append(
            place.problem(
                f"{kind}: expected the lower end first, got "
                f"{format_given(to_plain(where))}.{turned}"
            )
        )
        return None
    if kind == "log_uniform" and low <= 0:
        problems.append(
            place.problem(
                f"log_uniform: expected two numbers above 0, got "
                f"{format_given(to_plain(where))}. Write "
                f"uniform, or a low end above 0."
            )
        )
        return None
    if kind == "int" and max(-low, high) > _LARGEST_WHOLE:
        problems.append(
            place.problem(
                f"int: expected two whole numbers of at most 15 digits, got "
                f"{format_given(to_plain(where))}."
            )
        )
        return None
    return Parameter(path, kind, place, *(numbers if kind == "int" else map(float, numbers)))


def _choice(path: str, place: Value, where: Value, problems: list[Problem]) -> Parameter | None:
    items = where.data if isinstance(where.data, tuple) else ()
    if len(items) < 2:
        single = " For a single value write it in the recipe, outside search." if items else ""
        problems.append(
            place.problem(
                f"choice: expected a list of two values or more, such as [3, 5, 10], got "
                f"{format_given(to_plain(where))}.{single}"
            )
        )
        return None
    values = [to_plain(item) for item in items]
    for at, value in enumerate(values):
        if value in values[:at]:
            problems.append(
                place.problem(f"choice: {format_given(value)} is listed twice. Keep one.")
            )
            return None
    labels = tuple(
        value
        if value is None or isinstance(value, (bool, int, float, str))
        else format_plain(value)
        for value in values
    )
    return Parameter(
        path,
        "choice",
        place,
        labels=labels,
        values=tuple(replace(item, path=place.path) for item in items),
    )

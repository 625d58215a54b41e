"""The keys of a recipe that say what to search: `search`, `trials`, `seeds_per_trial`, `seeds`; and
the recipe of every trial.

    search:
      plan.lr: {log_uniform: [1e-5, 1e-4]}       a number, all orders of magnitude alike; both ends
        above 0
      head.dropout: {uniform: [0.0, 0.2]}        a number
      pooling.k: {int: [1, 6]}                   a whole number, both ends included
      pooling: {choice: [cls, {name: max_cls, k: 3}]}    one of these: numbers, words, whole
        techniques
    trials: 48                                   how many configurations in all (-n on the command
      line)
    seeds_per_trial: 1                           each is trained with so many seeds and judged by
      the mean
    seeds: [100, 101, 102]                       fresh ones, on which the best configuration is
      trained again

Every value that a trial could be given is tried out on the recipe before the first of them starts,
ranges at their ends. A setting of the command line is not searched any more: `plan.lr=3e-5`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from encore.errors import Problem, did_you_mean, format_given
from encore.experiments.variants import (
    N_SEEDS,
    changes_of,
    keys_and_changes,
    listed_seeds,
    with_seed,
)
from encore.recipe.load import build_recipe, file_text, recipe_error
from encore.recipe.located_yaml import read_yaml
from encore.recipe.overrides import Change
from encore.recipe.schema import STUDY, Recipe
from encore.recipe.values import Value, from_python, to_plain
from encore.tables.formatting import format_plain

__all__ = ["KINDS", "MOST_TRIALS", "N_TRIALS", "Parameter", "Search", "load_search", "search_from"]

Kind = Literal["log_uniform", "uniform", "int", "choice"]
KINDS: tuple[Kind, ...] = ("log_uniform", "uniform", "int", "choice")
_NARROWED = re.compile(
    rf"\A(search\..+)\.({'|'.join(KINDS)})=(.*)", re.DOTALL
)  # search.plan.lr.uniform=[0, 1] is search.plan.lr={uniform: [0, 1]}
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
N_TRIALS = 20
MOST_TRIALS, _MOST_SEEDS = 100_000, 100
_MOST_WHOLE = 64  # a range of at most so many whole numbers is tried out value by value
_OF_THE_VALUE = (
    "dev",
    "dev_frac",
    "dev_rows",
    "label",
    "labels",
    "kind",
    "seed",
    "test",
)  # of `data:`
_LARGEST_WHOLE = 10**15  # what a float tells apart from its neighbours, as samplers have to
_MOST_TOGETHER = 2_000  # recipes that are tried out for values that do not go together


@dataclass(frozen=True)
class Parameter:
    """One searched setting. path: "plan.lr". low, high: of a range. labels: of a choice, what a
    trial is told; `values` are what they stand for.
    """

    path: str
    kind: Kind
    entry: Value
    low: float = 0
    high: float = 0
    labels: tuple[Any, ...] = ()
    values: tuple[Value, ...] = ()

    def value(self, given: Any) -> Value:
        """What the recipe is given for what a trial was told: a number of the range, or a choice's
        label.
        """
        if self.kind == "choice":
            return self.values[self.labels.index(given)]
        return replace(self.entry, data=int(given) if self.kind == "int" else float(given))

    @property
    def tried(self) -> tuple[Any, ...]:
        """What is tried out before the search begins: every choice, and a range at its ends, a
        short one of whole numbers throughout.
        """
        if self.kind == "choice":
            return self.labels
        if self.kind == "int":
            low, high = int(self.low), int(self.high)
            return tuple(range(low, high + 1)) if high - low < _MOST_WHOLE else (low, high)
        return (self.low, self.high)

    @property
    def said(self) -> dict[str, Any]:
        """As the recipe says it: {"log_uniform": [1e-5, 1e-4]}."""
        return {
            self.kind: [to_plain(value) for value in self.values]
            if self.kind == "choice"
            else [self.low, self.high]
        }


@dataclass(frozen=True)
class Search:
    """A search before it is run. text: the recipe file as it was read. seeds: fresh ones, for the
    best configuration. seed: the recipe's own.
    """

    name: str
    text: str
    overrides: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    trials: int
    seeds_per_trial: int
    seeds: tuple[int, ...]
    seed: int
    notes: tuple[str, ...]
    document: Value
    changes: tuple[Change, ...]
    base: Path

    @property
    def trial_seeds(self) -> tuple[int, ...]:
        """The same for every trial, so that differences between trials are none between seeds."""
        return tuple(range(self.seed, self.seed + self.seeds_per_trial))

    def recipe(self, given: Mapping[str, Any], seed: int | None = None) -> Recipe:
        """The recipe of a trial that was told `given` (path → number or label), with a seed (None:
        the recipe's own), on one thread unless it says otherwise.

        Raises RecipeError where its values do not go together.
        """
        problems: list[Problem] = []
        recipe, rest = self._composed(given, problems)
        if recipe is None:
            raise recipe_error(problems, rest)
        return with_seed(recipe, self.seed if seed is None else seed)

    def _composed(
        self, given: Mapping[str, Any], problems: list[Problem]
    ) -> tuple[Recipe | None, Recipe | None]:
        own = [(tuple(one.path.split(".")), one.value(given[one.path])) for one in self.parameters]
        return build_recipe(self.document, [*self.changes, *own], self.base, problems)

    @property
    def first(self) -> dict[str, Any]:
        """The first value of everything that is tried out."""
        return {one.path: one.tried[0] for one in self.parameters}

    def objections(self) -> list[Problem]:
        """What the recipe says against values that a trial could be given: each alone, then each
        two together.
        """
        problems: list[Problem] = []
        for one in self.parameters:
            told: list[Problem] = []
            for value in one.tried:
                self._composed(self.first | {one.path: value}, told)
            if one.kind in ("uniform", "log_uniform") and any(
                problem.expected.startswith("a whole number") for problem in told
            ):
                told = [
                    one.entry.problem(
                        f"{one.kind} gives any number between its ends, and this setting is a "
                        f"whole one. Write int, or choice."
                    )
                ]
            problems += told
        if problems:
            return problems
        pairs = itertools.combinations(self.parameters, 2)
        together = (
            {a.path: x, b.path: y}
            for a, b in pairs
            for x, y in itertools.product(_ends(a), _ends(b))
        )
        for both in itertools.islice(together, _MOST_TOGETHER):
            self._composed(self.first | both, problems)
        return problems


def _ends(one: Parameter) -> tuple[Any, ...]:
    return one.tried if one.kind == "choice" else (one.tried[0], one.tried[-1])


def load_search(
    path: str | Path, overrides: Sequence[str] = (), *, trials: int | None = None
) -> Search:
    """The search that a recipe file describes, every value checked. trials: in the place of the
    recipe's.

    Raises RecipeError with every problem that was found.
    """
    text = file_text(Path(path))
    problems: list[Problem] = []
    document = read_yaml(text, str(path), problems=problems)
    return _search(
        document, Path(path).stem, text, overrides, Path(path).absolute().parent, problems, trials
    )


def search_from(
    mapping: Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    trials: int | None = None,
    name: str = "search",
    base: str | Path | None = None,
) -> Search:
    """The search that a mapping describes. Raises RecipeError."""
    problems: list[Problem] = []
    return _search(
        from_python(mapping, problems),
        name,
        "",
        overrides,
        Path(base or ".").absolute(),
        problems,
        trials,
    )


def _search(
    document: Value,
    name: str,
    text: str,
    overrides: Sequence[str],
    base: Path,
    problems: list[Problem],
    trials: int | None,
) -> Search:
    keys, changes = keys_and_changes(
        document, [_NARROWED.sub(r"\1={\2: \3}", given) for given in overrides], base, problems
    )
    recipe, rest = build_recipe(document, changes, base, problems)
    notes: list[str] = []
    parameters = _parameters(keys.get("search"), document, changes, problems, notes)
    asked = keys.get("trials") if trials is None else from_python({"trials": trials}).data["trials"]
    n = _count(asked, N_TRIALS, MOST_TRIALS, "of trials, such as 48", problems)
    per_trial = _count(keys.get("seeds_per_trial"), 1, _MOST_SEEDS, "of seeds, such as 3", problems)
    seed = recipe.seed if recipe is not None else 42
    seeds = _fresh(keys.get("seeds"), range(seed, seed + per_trial), problems, notes)
    search = Search(
        name,
        text,
        tuple(overrides),
        parameters,
        n,
        per_trial,
        seeds,
        seed,
        tuple(notes),
        document,
        tuple(changes),
        base,
    )
    if recipe is not None:  # else the recipe's own mistakes would be told once more for every value
        problems += search.objections()
    if problems:
        raise recipe_error(problems, recipe or rest)
    return search


def _count(value: Value | None, default: int, most: int, what: str, problems: list[Problem]) -> int:
    if value is None or value.data is None:
        return default
    if isinstance(value.data, int) and not isinstance(value.data, bool) and 1 <= value.data <= most:
        return value.data
    problems.append(
        value.problem(
            f"expected a number {what} (1 to {most:,}), got {format_given(to_plain(value))}."
        )
    )
    return default


def _fresh(
    value: Value | None, used: Sequence[int], problems: list[Problem], notes: list[str]
) -> tuple[int, ...]:
    if value is None or value.data is None:
        found = tuple(range(used[-1] + 1, used[-1] + 1 + N_SEEDS))
        notes.append(
            f"no seeds: in the recipe; the best configuration is trained again with "
            f"{', '.join(map(str, found))}"
        )
        return found
    found = listed_seeds(value, problems)
    stale = [seed for seed in found if seed in used]
    if stale:
        problems.append(
            value.problem(
                f"{', '.join(map(str, stale))}: trials are trained with this seed, so it is "
                f"not a fresh one. "
                "These seeds are for the best configuration, after the search; name others."
            )
        )
    return found


# ---------------------------------------------------------------------------------------- the space


def _parameters(
    value: Value | None,
    document: Value,
    changes: Sequence[Change],
    problems: list[Problem],
    notes: list[str],
) -> tuple[Parameter, ...]:
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
                f"expected a mapping from settings to where to search, such as {_EXAMPLE}, got "
                f"{format_given(to_plain(value))}."
            )
        )
        return ()
    pinned = [steps for steps, _ in changes]
    found: list[Parameter] = []
    for steps, entry in changes_of(value):
        path = ".".join(steps)
        if not all(steps):
            problems.append(entry.problem(f"expected a setting, such as plan.lr, got '{path}'."))
        elif steps[0] in (*STUDY, "seed", "task", "source", "claim", "expect"):
            why = (
                " A seed is luck: seeds_per_trial: 3 averages over it."
                if steps[0] in ("seed", "seeds")
                else ""
            )
            problems.append(entry.problem(f"this cannot be searched.{why}"))
        elif _measures(steps):
            problems.append(
                entry.problem(
                    "this cannot be searched: it says what a trial is worth, and trials would "
                    "not be measured alike."
                )
            )
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


_EXAMPLE = "{plan.lr: {log_uniform: [1e-5, 1e-4]}}"


def _measures(steps: tuple[str, ...]) -> bool:
    """Whether a setting says on which rows a trial is measured, or how."""
    own = steps[2:] if steps[0] == "tasks" else steps
    return own[:1] == ("metrics",) or (
        own[:1] == ("data",) and own[1:2] in {(name,) for name in _OF_THE_VALUE}
    )


def _overlap(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    """Whether one of two settings is the other, or a part of it. A task setting at the top is every
    task's.
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
                f"expected where to search, such as {example}, got "
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
                    f"no way to search called {format_given(word)}. "
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

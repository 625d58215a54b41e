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
from typing import Any

from encore.errors import Problem, format_given
from encore.experiments.search_parameters import KINDS, Parameter, read_parameters
from encore.experiments.study_keys import N_SEEDS, keys_and_changes, listed_seeds
from encore.recipe.load import build_recipe, file_text, recipe_error
from encore.recipe.located_yaml import read_yaml
from encore.recipe.overrides import Change
from encore.recipe.schema import Recipe
from encore.recipe.seeds import with_seed
from encore.recipe.values import Value, from_python, to_plain

__all__ = ["MOST_TRIALS", "N_TRIALS", "Search", "load_search", "search_from"]

_NARROWED = re.compile(
    rf"\A(search\..+)\.({'|'.join(KINDS)})=(.*)", re.DOTALL
)  # search.plan.lr.uniform=[0, 1] is search.plan.lr={uniform: [0, 1]}
N_TRIALS = 20
MOST_TRIALS, _MOST_SEEDS = 100_000, 100
_MOST_TOGETHER = 2_000  # recipes that are tried out for values that do not go together


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

    @property
    def plain(self) -> dict[str, Any]:
        """The arguments of `search_from` that make the same search in another process."""
        return {
            "mapping": to_plain(self.document),
            "overrides": list(self.overrides),
            "trials": self.trials,
            "name": self.name,
            "base": str(self.base),
        }

    def recipe(self, given: Mapping[str, Any], seed: int | None = None) -> Recipe:
        """The recipe of a trial with the parameters `given` (path → number or label) and a seed
        (None: the recipe's own), on one thread unless it says otherwise.

        Raises RecipeError where its values do not go together.
        """
        problems: list[Problem] = []
        recipe, rest = self._composed(given, problems)
        if recipe is None:
            raise recipe_error(problems, rest)
        chosen = self.seed if seed is None else seed
        return with_seed(recipe, chosen, threads=recipe.threads or 1)

    def _takes_whole_numbers_only(self, one: Parameter) -> bool:
        """True where a range of any numbers is given for a setting that accepts 3, but not 3.0."""
        if one.kind not in ("uniform", "log_uniform"):
            return False
        whole = int(one.high)
        as_number, as_whole = list[Problem](), list[Problem]()
        for value, found in ((float(whole), as_number), (whole, as_whole)):
            change = (tuple(one.path.split(".")), replace(one.entry, data=value))
            build_recipe(self.document, [*self.changes, change], self.base, found)
        return bool(as_number) and not as_whole

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
        """The recipe's problems with values that a trial could be given: each alone, then each two
        together.
        """
        problems: list[Problem] = []
        for one in self.parameters:
            of_values: list[Problem] = []
            for value in one.tried:
                self._composed(self.first | {one.path: value}, of_values)
            if of_values and self._takes_whole_numbers_only(one):
                of_values = [
                    one.entry.problem(
                        f"{one.kind} gives any number between its ends, and this setting is a "
                        f"whole one. Write int, or choice."
                    )
                ]
            problems += of_values
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
    parameters = read_parameters(keys.get("search"), document, changes, problems, notes)
    requested = (
        keys.get("trials") if trials is None else from_python({"trials": trials}).data["trials"]
    )
    n = _count(requested, N_TRIALS, MOST_TRIALS, "of trials, such as 48", problems)
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
    if recipe is not None:  # else its own problems would be repeated for every value
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

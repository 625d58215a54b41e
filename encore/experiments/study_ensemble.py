"""The `ensemble` key of a recipe: which ensembles of its runs a comparison ends with.

    ensemble: {methods: [greedy, regression], of: [baseline, swa], at_least: {sst5: 0.53}, seed: 11}

`ensemble: {}` is the greedy one. The candidates are the runs of the variants that `of` names, or of
all, with all seeds of a study, by the dev scores that runs keep in any case: nothing is trained for
it, and no weights are needed. The other settings are those of `encore ensemble`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from encore.errors import Problem, RecipeError, did_you_mean, format_given
from encore.recipe.values import Value, to_plain
from encore.runs.ensemble import EnsembleSettings

__all__ = ["read_ensembles"]

_KEYS = ("methods", "of", "at_least", "space", "seed", "compat")


def read_ensembles(
    value: Value | None, variants: Collection[str], problems: list[Problem]
) -> tuple[tuple[EnsembleSettings, ...], tuple[str, ...]]:
    """The settings of each ensemble, one for each method, none without the key; and the variants of
    whose runs they are made.
    """
    every = tuple(variants)
    if value is None or value.data is None:
        return (), every
    if not isinstance(value.data, dict):
        example = "{methods: [greedy, regression]}"
        got = format_given(to_plain(value))
        problems.append(value.problem(f"expected a mapping such as {example}, got {got}."))
        return (), every
    problems += [
        entry.problem(f"ensembles have no setting {format_given(key)}. {did_you_mean(key, _KEYS)}")
        for key, entry in value.data.items()
        if key not in _KEYS
    ]
    given: dict[str, Any] = {key: to_plain(entry) for key, entry in value.data.items()}
    methods, of = given.pop("methods", ["greedy"]), given.pop("of", list(every))
    if not isinstance(of, list) or not of or not set(map(str, of)) <= set(every):
        wrong = f"expected of: a list of variants, got {format_given(of)}."
        problems.append(value.problem(f"{wrong} There are: {', '.join(every)}."))
        return (), every
    least = given.get("at_least") or {}
    figures = least.values() if isinstance(least, dict) else (least,)
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in figures):
        problems.append(value.problem("at_least: expected figures such as {sst5: 0.53}."))
        return (), every
    if not isinstance(methods, list) or not methods or not isinstance(given.get("seed", 11), int):
        problems.append(value.problem("expected methods: a list of names, and seed: a number."))
        return (), every
    compat = given.get("compat")
    found = tuple(
        EnsembleSettings(
            str(method),
            space=given.get("space", "probability"),
            seed=given.get("seed", 11),
            at_least=least if isinstance(least, dict) else {"": least},
            compat=compat if method == "regression" else None,
        )
        for method in dict.fromkeys(methods)
    )
    for one in found:
        try:
            one.check()
        except RecipeError as error:
            problems += [value.problem(line.removeprefix("--")) for line in error.lines]
    return found, tuple(name for name in every if name in of)

"""Reads the keys of a recipe that say which runs belong together: `variants`, `each`, `seeds`,
`reference`, `race`, `folds`. Each function adds the problems that it finds to a list.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from encore.errors import Problem, did_you_mean, format_given
from encore.recipe.fields import unsafe_name_problems
from encore.recipe.overrides import Change, assignment
from encore.recipe.schema import STUDY
from encore.recipe.values import Value, from_python, to_plain

__all__ = [
    "BASELINE",
    "N_SEEDS",
    "Race",
    "changes_of",
    "flow_list",
    "keep_variants",
    "keys_and_changes",
    "listed_seeds",
    "read_n_folds",
    "read_points",
    "read_race",
    "read_reference",
    "read_seeds",
    "read_variants",
]

BASELINE = "baseline"  # the recipe itself among its variants
N_SEEDS = 3
_N_POSSIBLE = 2**32  # seeds that there are
_FAR = 1_000
_RESERVED = {"seed": "seeds", "task": "each", **{key: key for key in STUDY}}


@dataclass(frozen=True)
class Race:
    """A race, which selects the variants that get all seeds. seeds: of the screening, none of them
    in the table. factor: of the variants that take part in a round, one in `factor` stays (rounded
    up).
    """

    seeds: tuple[int, ...]
    factor: int

    @property
    def rounds(self) -> tuple[tuple[int, ...], ...]:
        """The seeds that each round goes by: one in the first, `factor` times as many in every
        further one, all of them in the last.
        """
        sizes, n = [], 1
        while n < len(self.seeds):
            sizes.append(n)
            n *= self.factor
        return tuple(self.seeds[:size] for size in [*sizes, len(self.seeds)])


def keys_and_changes(
    document: Value, overrides: Sequence[str], base: Path, problems: list[Problem]
) -> tuple[dict[str, Value], list[Change]]:
    """The keys that say which runs to make, with what overrides say of them; and the overrides of
    settings.
    """
    keys = (
        {key: document.data[key] for key in STUDY if key in document.data}
        if isinstance(document.data, dict)
        else {}
    )
    changes: list[Change] = []
    for given in overrides:
        if (found := assignment(given, base, problems)) is not None:
            if found[0][0] in STUDY:
                _assign(keys, *found)
            else:
                changes.append(found)
    return keys, changes


def _assign(keys: dict[str, Value], steps: tuple[str, ...], value: Value) -> None:
    """An override of one of the study's keys: `seeds=[1,2]`, `each.task=[rte]`,
    `variants.slow.plan.lr=1e-5`.
    """
    depth = 3 if steps[0] == "variants" else 2
    way = [*steps[: depth - 1], ".".join(steps[depth - 1 :])] if len(steps) > depth else list(steps)

    def put(below: Value | None, rest: Sequence[str]) -> Value:
        if not rest:
            return value
        entries = below.data if below is not None and isinstance(below.data, dict) else {}
        return replace(
            below or value, data={**entries, rest[0]: put(entries.get(rest[0]), rest[1:])}
        )

    keys[way[0]] = put(keys.get(way[0]), way[1:])


def read_variants(
    value: Value | None, problems: list[Problem], tasks: Collection[str] | None = None
) -> dict[str, list[Change]]:
    """Name → changes, 'baseline' (none) first. tasks: those of the recipe, if it names them; a
    variant that names another one adds it.
    """
    found: dict[str, list[Change]] = {BASELINE: []}
    if value is None or value.data is None:
        return found
    if not isinstance(value.data, dict):
        problems.append(
            value.problem(
                f"expected a mapping from names to what they change, such as {{mean: "
                f"{{pooling: mean}}}}, got {format_given(to_plain(value))}."
            )
        )
        return found
    for name, entry in value.data.items():
        problems += [entry.problem(message) for message in unsafe_name_problems(name, "variant")]
        if name == BASELINE:
            problems.append(
                entry.problem(
                    "this is the name of the recipe itself. Give the variant another name."
                )
            )
        elif not isinstance(entry.data, dict) or not entry.data:
            itself = (
                ""
                if entry.data
                else f" The recipe itself is in the table already, as '{BASELINE}'."
            )
            problems.append(
                entry.problem(
                    f"expected what it changes, such as {{pooling: mean}} or {{plan.lr: "
                    f"3e-5}}, got {format_given(to_plain(entry))}.{itself}"
                )
            )
        else:
            own = list(changes_of(entry, tasks=tasks))
            for steps, inner in own:
                if steps[0] in _RESERVED:
                    problems.append(
                        inner.problem(
                            f"a variant cannot set this. Write it at the top of the recipe: "
                            f"{_RESERVED[steps[0]]}: …"
                        )
                    )
            # The paper's figures are the recipe's own, unless the variant brings some.
            found[name] = [
                (("expect",), Value({}, entry.where, entry.line)),
                *(change for change in own if change[0][0] not in _RESERVED),
            ]
    return found


def changes_of(
    value: Value, outer: tuple[str, ...] = (), tasks: Collection[str] | None = None
) -> Iterator[Change]:
    """The changes that a mapping from settings to values makes, written with dots or nested.
    tasks: those that are known, None if that is not known; any other is one change as a whole, and
    where each study has tasks of its own, (), all of them are.
    """
    for key, entry in value.data.items():
        steps = (*outer, *key.split("."))
        section = steps in (("plan",), ("data",)) or (
            steps[0] == "tasks" and (len(steps) < 3 or steps[2:] == ("data",))
        )
        added = steps[0] == "tasks" and len(steps) == 2 and steps[1] not in (tasks or steps)
        replaced = steps == ("tasks",) and tasks == ()
        if section and not (added or replaced) and isinstance(entry.data, dict) and entry.data:
            yield from changes_of(entry, steps, tasks)
        else:
            yield steps, entry


def read_points(
    each: Value | None,
    axes: Mapping[str, Sequence[Any]],
    changes: Sequence[Change],
    problems: list[Problem],
) -> list[list[Change]]:
    """The studies, each as its settings: all combinations of the values. A key that the command
    line sets is no axis any more.
    """
    values: dict[str, Sequence[Value]] = {}
    if each is not None and each.data is not None:
        if not isinstance(each.data, dict) or not each.data:
            problems.append(
                each.problem(
                    f"expected a mapping from settings to lists, such as {{task: [rte, "
                    f"mrpc]}}, got {format_given(to_plain(each))}."
                )
            )
        else:
            for key, entry in each.data.items():
                items = entry.data if isinstance(entry.data, tuple) else ()
                if not items:
                    problems.append(
                        entry.problem(
                            f"expected a list of values, such as [rte, mrpc], got "
                            f"{format_given(to_plain(entry))}."
                        )
                    )
                for item in items:
                    if [to_plain(other) for other in items].count(to_plain(item)) > 1:
                        problems.append(
                            entry.problem(
                                f"{format_given(to_plain(item))} is listed twice. Keep one."
                            )
                        )
                        break
                if key in ("seed", "seeds", "variants"):
                    problems.append(
                        entry.problem(
                            f"seeds and variants are not studies of their own. Write "
                            f"{_RESERVED.get(key, key)}: … at the top."
                        )
                    )
                values[key] = items
    values |= {key: [from_python(value) for value in given] for key, given in axes.items()}
    set_already = {".".join(steps) for steps, _ in changes}
    kept = {
        key: items
        for key, items in values.items()
        if key not in set_already and items and key not in ("seed", "seeds", "variants")
    }
    return [
        [(tuple(key.split(".")), item) for key, item in zip(kept, point, strict=True)]
        for point in itertools.product(*kept.values())
    ]


def read_reference(
    value: Value | None, variants: Mapping[str, Any], problems: list[Problem]
) -> str:
    """The name of the reference, `baseline` where none is given."""
    if value is None or value.data is None:
        return BASELINE
    if value.data not in variants:
        problems.append(
            value.problem(
                f"no variant called {format_given(to_plain(value))}. "
                f"{did_you_mean(str(value.data), tuple(variants))}"
            )
        )
        return BASELINE
    return str(value.data)


def keep_variants(
    variants: dict[str, list[Change]],
    reference: str,
    only: Sequence[str] | None,
    problems: list[Problem],
) -> dict[str, list[Change]]:
    """The variants that `--only` names, and the reference."""
    if only is None:
        return variants
    problems += [
        Problem(
            where="--only",
            message=f"no variant called {format_given(name)}.",
            remedy=did_you_mean(name, tuple(variants)),
        )
        for name in only
        if name not in variants
    ]
    return {name: own for name, own in variants.items() if name in only or name == reference}


def read_seeds(
    value: Value | None,
    changes: Sequence[Change],
    seed: int,
    problems: list[Problem],
    notes: list[str],
) -> tuple[int, ...]:
    """The seeds of the table; three from the recipe's own on where none are listed."""
    if any(steps == ("seed",) for steps, _ in changes):
        return (seed,)
    if value is None or value.data is None:
        found = tuple(range(seed, seed + N_SEEDS))
        notes.append(
            f"no seeds: in the recipe; these {N_SEEDS} are taken: {', '.join(map(str, found))}"
        )
        return found
    return listed_seeds(value, problems) or (seed,)


def listed_seeds(value: Value, problems: list[Problem]) -> tuple[int, ...]:
    """The seeds of a list, each once."""
    items = [to_plain(item) for item in value.data] if isinstance(value.data, tuple) else []
    whole = [
        item
        for item in items
        if isinstance(item, int) and not isinstance(item, bool) and 0 <= item < _N_POSSIBLE
    ]
    if not items or len(whole) < len(items):
        remedy = (
            f" Write [{value.data}]."
            if isinstance(value.data, str) and re.fullmatch(r"\d+(, *\d+)+", value.data)
            else ""
        )
        problems.append(
            value.problem(
                f"expected a list of whole numbers, such as [42, 43, 44], got "
                f"{format_given(to_plain(value))}.{remedy}"
            )
        )
    elif len(set(whole)) < len(whole):
        problems.append(
            value.problem(
                f"a seed is listed twice in {format_given(to_plain(value))}. The same seed "
                f"gives the "
                f"same run."
            )
        )
    return tuple(whole)


def read_n_folds(
    value: Value | None, beside: Mapping[str, bool], problems: list[Problem]
) -> int | None:
    """The number of folds, None without. beside: key → whether it is given, of those that go by a
    single dev set.
    """
    if value is None or value.data is None:
        return None
    if not isinstance(value.data, int) or isinstance(value.data, bool) or value.data < 2:
        expected = "a whole number of at least 2, such as 5"
        problems.append(value.problem(expected=expected, got=format_given(to_plain(value))))
        return None
    problems += [
        value.problem(f"{key} goes by one dev set, and each fold is one.", remedy="Remove either.")
        for key, given in beside.items()
        if given
    ]
    return int(value.data)


def flow_list(value: Value) -> str:
    """A list as an override writes it: `[1,2]`."""
    return f"[{','.join(str(to_plain(item)) for item in value.data)}]"


def read_race(value: Value | None, seeds: Sequence[int], problems: list[Problem]) -> Race | None:
    """The screening's seeds are none of the table's: the variants that stay were lucky with them,
    and their figures would flatter.
    """
    if value is None or value.data is None:
        return None
    if not isinstance(value.data, dict):
        problems.append(
            value.problem(
                f"expected a mapping such as {{factor: 2, seeds: [1042, 1043]}}, or null, got "
                f"{format_given(to_plain(value))}."
            )
        )
        return None
    known = ("factor", "seeds")
    problems += [
        entry.problem(f"a race has no setting {format_given(key)}. {did_you_mean(key, known)}")
        for key, entry in value.data.items()
        if key not in known
    ]
    factor = to_plain(value.data["factor"]) if "factor" in value.data else 2
    if not isinstance(factor, int) or isinstance(factor, bool) or factor < 2:
        problems.append(
            value.data["factor"].problem(
                f"expected a whole number of at least 2, got {format_given(factor)}. One in so "
                f"many variants survives."
            )
        )
        factor = 2
    if "seeds" not in value.data:
        # Far from the table's, and the same when that gets further seeds.
        fresh = (
            seed
            for seed in ((seeds[0] + _FAR + n) % _N_POSSIBLE for n in itertools.count())
            if seed not in seeds
        )
        return Race(tuple(itertools.islice(fresh, factor)), factor)
    chosen = listed_seeds(value.data["seeds"], problems)
    twice = [str(seed) for seed in chosen if seed in seeds]
    if twice:
        problems.append(
            value.data["seeds"].problem(
                f"{', '.join(twice)} would be in the table too, where the survivors' figures "
                f"would be too good. Give the race other seeds."
            )
        )
    return Race(chosen, factor) if chosen else None

"""The keys of a recipe that say which runs belong together: `variants`, `each`, `seeds`,
`reference`, `race`; and the recipes of all those runs.

    variants: {mean: {pooling: mean}, slow: {plan.lr: 1e-5}}     what is compared, each as its
      difference to the recipe, which is itself called 'baseline'
    each: {task: [rte, mrpc]}                                    separate studies, side by side:
      every combination of the values
    seeds: [42, 43, 44]                                          of every variant in every study
    reference: baseline                                          the variant that the others are set
      against
    race: {factor: 2, seeds: [1042, 1043]}                       which variants get that far:
      encore/race.py; `--race` is `race: {}`

A variant may be written with dots or nested. In `plan`, `data` and `tasks` it changes what it
names; a technique, a loss table or a list it replaces whole. Order of precedence: recipe, each,
command line, variant. A setting of the command line that is an axis of `each` narrows it:
`task=rte`, `seed=42`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from encore.errors import Problem, RecipeError, did_you_mean, format_given
from encore.recipe.fields import unsafe_name_problems
from encore.recipe.load import build_recipe, file_text, recipe_error
from encore.recipe.located_yaml import read_yaml, write_yaml
from encore.recipe.overrides import Change, assignment
from encore.recipe.schema import STUDY, Recipe
from encore.recipe.values import Value, from_python, to_plain

__all__ = [
    "BASELINE",
    "Cell",
    "N_SEEDS",
    "Race",
    "Study",
    "changes_of",
    "keys_and_changes",
    "listed_seeds",
    "load_study",
    "study_from",
    "with_seed",
]

BASELINE = "baseline"  # the recipe itself among its variants
N_SEEDS = 3
_MOST_CELLS = 5_000
_SEEDS = 2**32  # as many as there are
_FAR = 1_000
_RESERVED = {"seed": "seeds", "task": "each", **{key: key for key in STUDY}}


@dataclass(frozen=True)
class Cell:
    """One run of a comparison. point: the study's own settings, {"task": "rte"}; {} where there is
    one study only.
    """

    point: Mapping[str, Any]
    variant: str
    seed: int
    recipe: Recipe

    @property
    def study(self) -> str:
        """What the study is called in tables: the task, and the other settings that tell it from
        its neighbours.
        """
        names = "+".join(self.recipe.tasks)
        return " ".join(
            [
                names,
                *(
                    f"{key}={value}"
                    for key, value in self.point.items()
                    if key not in ("task", "tasks")
                ),
            ]
        )


@dataclass(frozen=True)
class Race:
    """Which variants are worth all seeds. seeds: of the screening, none of them in the table.
    factor: of the variants that take part in a round, one in `factor` stays (rounded up).
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


@dataclass(frozen=True)
class Study:
    """A comparison before it is run. text: the recipe file as it was read. variants: 'baseline'
    first. cells: by study, variant, seed; screening: those of the race, likewise, without the
    reference.
    """

    name: str
    text: str
    overrides: tuple[str, ...]
    variants: tuple[str, ...]
    reference: str
    seeds: tuple[int, ...]
    points: tuple[Mapping[str, Any], ...]
    cells: tuple[Cell, ...]
    notes: tuple[str, ...]
    race: Race | None = None
    screening: tuple[Cell, ...] = ()


def load_study(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    only: Sequence[str] | None = None,
    axes: Mapping[str, Sequence[Any]] | None = None,
    race: bool = False,
) -> Study:
    """The comparison that a recipe file describes, every variant checked. only: the variants to
    keep, the reference in any case. axes: more of `each`. race: as if the recipe said `race: {}`,
    where it says nothing of a race.

    Raises RecipeError with every problem that was found, whichever variant it is in.
    """
    text = file_text(Path(path))
    problems: list[Problem] = []
    document = read_yaml(text, str(path), problems=problems)
    return _study(
        document,
        Path(path).stem,
        text,
        overrides,
        Path(path).absolute().parent,
        problems,
        only,
        axes or {},
        race,
    )


def study_from(
    mapping: Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    name: str = "study",
    base: str | Path | None = None,
    only: Sequence[str] | None = None,
    axes: Mapping[str, Sequence[Any]] | None = None,
    race: bool = False,
) -> Study:
    """The comparison that a mapping describes, else like `load_study`. Raises RecipeError."""
    problems: list[Problem] = []
    document = from_python(mapping, problems)
    text = write_yaml(to_plain(document)) if isinstance(document.data, dict) else ""
    return _study(
        document,
        name,
        text,
        overrides,
        Path(base or ".").absolute(),
        problems,
        only,
        axes or {},
        race,
    )


def _study(
    document: Value,
    name: str,
    text: str,
    overrides: Sequence[str],
    base: Path,
    problems: list[Problem],
    only: Sequence[str] | None,
    axes: Mapping[str, Sequence[Any]],
    race: bool,
) -> Study:
    keys, changes = keys_and_changes(document, overrides, base, problems)
    for steps, value in list(changes):
        if steps == ("seed",) and isinstance(value.data, tuple):
            problems.append(
                value.problem(
                    f"expected one seed, got {format_given(to_plain(value))}. Several are "
                    f"seeds={_flow(value)}."
                )
            )
            changes.remove((steps, value))
    notes: list[str] = []
    variants = _variants(keys.get("variants"), problems)
    points = _points(keys.get("each"), axes, changes, problems)
    reference = _reference(keys.get("reference"), variants, problems)
    variants = _kept(variants, reference, only, problems)
    recipes: dict[tuple[int, str], Recipe] = {}
    rest = None
    for number, point in enumerate(points):
        for variant, own in variants.items():
            recipe, left = build_recipe(document, [*point, *changes, *own], base, problems)
            rest = rest or left
            if recipe is not None:
                recipes[number, variant] = recipe
    some = next(iter(recipes.values()), rest)
    seeds = _seeds(keys.get("seeds"), changes, some.seed if some else 42, problems, notes)
    screened = _race(keys.get("race", Value({}) if race else None), seeds, problems)
    if problems or not recipes:
        raise recipe_error(problems, rest)
    if len(recipes) * len(seeds) > _MOST_CELLS:
        raise RecipeError(
            f"{name}: {len(points):,} studies x {len(variants):,} variants x {len(seeds):,} "
            f"seeds are more than {_MOST_CELLS:,} runs."
        )
    labels = [{".".join(steps): to_plain(value) for steps, value in point} for point in points]

    def of(names: Sequence[str], seeds: Sequence[int]) -> tuple[Cell, ...]:
        return tuple(
            Cell(labels[number], variant, seed, with_seed(recipes[number, variant], seed))
            for number in range(len(points))
            for variant in names
            for seed in seeds
        )

    cells, screening = (
        of(tuple(variants), seeds),
        of([name for name in variants if name != reference], screened.seeds if screened else ()),
    )
    return Study(
        name,
        text,
        tuple(overrides),
        tuple(variants),
        reference,
        seeds,
        tuple(labels),
        cells,
        tuple(notes),
        screened,
        screening,
    )


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


def _variants(value: Value | None, problems: list[Problem]) -> dict[str, list[Change]]:
    """Name → changes, 'baseline' (none) first."""
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
            own = list(changes_of(entry))
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


def changes_of(value: Value, outer: tuple[str, ...] = ()) -> Iterator[Change]:
    """What a mapping from settings to values changes, written with dots or nested."""
    for key, entry in value.data.items():
        steps = (*outer, *key.split("."))
        section = steps in (("plan",), ("data",)) or (
            steps[0] == "tasks" and (len(steps) < 3 or steps[2:] == ("data",))
        )
        if section and isinstance(entry.data, dict) and entry.data:
            yield from changes_of(entry, steps)
        else:
            yield steps, entry


def _points(
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


def _reference(value: Value | None, variants: Mapping[str, Any], problems: list[Problem]) -> str:
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


def _kept(
    variants: dict[str, list[Change]],
    reference: str,
    only: Sequence[str] | None,
    problems: list[Problem],
) -> dict[str, list[Change]]:
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


def _seeds(
    value: Value | None,
    changes: Sequence[Change],
    seed: int,
    problems: list[Problem],
    notes: list[str],
) -> tuple[int, ...]:
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
    items = [to_plain(item) for item in value.data] if isinstance(value.data, tuple) else []
    whole = [
        item
        for item in items
        if isinstance(item, int) and not isinstance(item, bool) and 0 <= item < _SEEDS
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


def _flow(value: Value) -> str:
    return f"[{','.join(str(to_plain(item)) for item in value.data)}]"


def _race(value: Value | None, seeds: Sequence[int], problems: list[Problem]) -> Race | None:
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
                f"expected a whole number of at least 2, got {format_given(factor)}. One "
                f"variant in "
                f"so many stays."
            )
        )
        factor = 2
    if "seeds" not in value.data:
        # Far from the table's, and the same when that gets further seeds.
        fresh = (
            seed
            for seed in ((seeds[0] + _FAR + n) % _SEEDS for n in itertools.count())
            if seed not in seeds
        )
        return Race(tuple(itertools.islice(fresh, factor)), factor)
    chosen = listed_seeds(value.data["seeds"], problems)
    twice = [str(seed) for seed in chosen if seed in seeds]
    if twice:
        problems.append(
            value.data["seeds"].problem(
                f"{', '.join(twice)} would be in the table too, and flatter there. Give the "
                f"race other seeds."
            )
        )
    return Race(chosen, factor) if chosen else None


def with_seed(recipe: Recipe, seed: int) -> Recipe:
    """The recipe with this seed on one thread. Rows that are drawn (a dev set split off, a set cut)
    are drawn by the recipe's own seed for all, so that every run trains on the same rows and is
    measured on the same rows.
    """
    tasks = {}
    for name, task in recipe.tasks.items():
        data = task.data
        split = data.train is not None and data.dev is None and data.kind != "unlabelled"
        drawn = split or data.train_rows is not None or data.dev_rows is not None
        fixed = drawn and data.seed is None and seed != recipe.seed
        tasks[name] = (
            task.model_copy(update={"data": data.model_copy(update={"seed": recipe.seed})})
            if fixed
            else task
        )
    return recipe.model_copy(update={"seed": seed, "threads": recipe.threads or 1, "tasks": tasks})

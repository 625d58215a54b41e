"""The keys of a recipe that say which runs belong together: `variants`, `each`, `seeds`,
`reference`, `race`, `ensemble`, `folds`, `claims`; and the recipes of all those runs.

    variants: {mean: {pooling: mean}, slow: {plan.lr: 1e-5}}     what is compared, each as its
      difference to the recipe, which is itself called 'baseline'
    each: {task: [rte, mrpc]}                                    separate studies, side by side:
      every combination of the values
    seeds: [42, 43, 44]                                          of every variant in every study
    reference: baseline                                          the variant that the others are set
      against
    race: {factor: 2, seeds: [1042, 1043]}                       which variants get that far:
      encore/experiments/race.py; `--race` is `race: {}`
    ensemble: {methods: [greedy, regression]}                    ensembles of the runs of a study:
      encore/experiments/study_ensemble.py
    folds: 5                                                     every variant and seed is trained
      on each fold, and measured on all rows, each scored by the run that did not train on it
    claims: [mean is better on all tasks]                        judged over the tasks:
      encore/evaluation/task_claims.py

A variant may be written with dots or nested. In `plan`, `data` and `tasks` it changes what it
names; a technique, a loss table or a list it replaces whole. A task that the recipe does not have
it adds: such a task is trained along and not compared. Order of precedence: recipe, each, command
line, variant. A setting of the command line that is an axis of `each` narrows it: `task=rte`,
`seed=42`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from encore.errors import Problem, RecipeError, format_given
from encore.evaluation.task_claims import TaskClaim
from encore.experiments.claim_keys import read_claims
from encore.experiments.linked_variants import linked
from encore.experiments.study_ensemble import read_ensembles
from encore.experiments.study_keys import (
    Race,
    flow_list,
    keep_variants,
    keys_and_changes,
    read_n_folds,
    read_points,
    read_race,
    read_reference,
    read_seeds,
    read_variants,
)
from encore.recipe.folds import fold_recipes
from encore.recipe.load import build_recipe, file_text, recipe_error
from encore.recipe.located_yaml import read_yaml, write_yaml
from encore.recipe.overrides import Change
from encore.recipe.schema import Recipe
from encore.recipe.seeds import with_seed
from encore.recipe.values import Value, from_python, to_plain
from encore.runs.ensemble import EnsembleSettings

__all__ = ["Cell", "Study", "load_study", "study_from"]

_MOST_CELLS = 5_000


@dataclass(frozen=True)
class Cell:
    """One run of a comparison. point: the study's own settings, {"task": "rte"}; {} where there is
    one study only. tasks: those that all variants of the study train, which are compared. idle: why
    it is not run; "" for one that is. fold: "2/5", or None without folds.
    """

    point: Mapping[str, Any]
    variant: str
    seed: int
    recipe: Recipe
    tasks: tuple[str, ...]
    idle: str = ""
    fold: str | None = None

    @property
    def study(self) -> str:
        """The study's label in tables: the task, and the other settings that distinguish it from
        its neighbours.
        """
        names = "+".join(self.tasks)
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
class Study:
    """A comparison before it is run. text: the recipe file as it was read. variants: 'baseline'
    first. cells: by study, variant, seed; screening: those of the race, likewise, without the
    reference. ensembles_of: the variants whose runs take part in the ensembles.
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
    ensembles: tuple[EnsembleSettings, ...] = ()
    ensembles_of: tuple[str, ...] = ()
    claims: tuple[TaskClaim, ...] = ()
    folds: int | None = None


def load_study(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    only: Sequence[str] | None = None,
    axes: Mapping[str, Sequence[Any]] | None = None,
    race: bool = False,
) -> Study:
    """The comparison that a recipe file describes, every variant checked. only: the variants to
    keep, the reference in any case. axes: more of `each`. race: as if the recipe had `race: {}`,
    where it says nothing of a race.

    Raises RecipeError with every problem that was found, whichever variant it is in.
    """
    text = file_text(Path(path))
    problems: list[Problem] = []
    document = read_yaml(text, str(path), problems=problems)
    base = Path(path).absolute().parent
    source = _Source(document, Path(path).stem, text, base, problems)
    return _study(source, overrides, only, axes or {}, race=race)


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
    source = _Source(document, name, text, Path(base or ".").absolute(), problems)
    return _study(source, overrides, only, axes or {}, race=race)


@dataclass(frozen=True)
class _Source:
    """A recipe as it was read. text: the file's. base: where its relative paths start. problems:
    what was found wrong with it until now.
    """

    document: Value
    name: str
    text: str
    base: Path
    problems: list[Problem]

    def recipes(
        self,
        points: Sequence[Sequence[Change]],
        given: Sequence[Change],
        variants: Mapping[str, Sequence[Change]],
    ) -> tuple[dict[tuple[int, str], Recipe], Recipe | None]:
        """(number of the point, variant) → recipe, of those without problems; and what remains of
        one that has some. given: the changes of all variants.
        """
        found: dict[tuple[int, str], Recipe] = {}
        rest = None
        for number, point in enumerate(points):
            for variant, own in variants.items():
                changes = [*point, *given, *own]
                recipe, left = build_recipe(self.document, changes, self.base, self.problems)
                rest = rest or left
                if recipe is not None:
                    found[number, variant] = recipe
        return found, rest


def _study(
    source: _Source,
    overrides: Sequence[str],
    only: Sequence[str] | None,
    axes: Mapping[str, Sequence[Any]],
    *,
    race: bool,
) -> Study:
    problems, notes = source.problems, list[str]()
    keys, changes = keys_and_changes(source.document, overrides, source.base, problems)
    changes = _without_several_seeds(changes, problems)
    variants = read_variants(keys.get("variants"), problems, _tasks_of(source.document))
    points = read_points(keys.get("each"), axes, changes, problems)
    reference = read_reference(keys.get("reference"), variants, problems)
    claims = read_claims(keys.get("claims"), source.document, variants, problems)
    variants = keep_variants(variants, reference, only, problems)
    recipes, rest = source.recipes(points, changes, variants)
    labels = [{".".join(steps): to_plain(value) for steps, value in point} for point in points]
    recipes, idle = linked(recipes, labels, problems)
    some = next(iter(recipes.values()), rest)
    seeds = read_seeds(keys.get("seeds"), changes, some.seed if some else 42, problems, notes)
    raced = read_race(keys.get("race", Value({}) if race else None), seeds, problems)
    ensembles, of = read_ensembles(keys.get("ensemble"), variants, problems)
    beside = {"race": raced is not None, "ensemble": bool(ensembles)}
    n_folds = read_n_folds(keys.get("folds"), beside, problems)
    folded = _in_folds(recipes, n_folds, problems)
    if problems or not recipes:
        raise recipe_error(problems, rest)
    _require_few(source.name, len(points), len(variants), len(seeds) * (n_folds or 1))
    tasks = [_common_tasks(recipes, number, variants) for number in range(len(points))]

    cells = partial(_cells, labels, folded, tasks, idle)
    return Study(
        source.name,
        source.text,
        tuple(overrides),
        tuple(variants),
        reference,
        seeds,
        tuple(labels),
        cells(tuple(variants), seeds),
        tuple(notes),
        raced,
        cells([name for name in variants if name != reference], raced.seeds if raced else ()),
        ensembles,
        of,
        claims,
        n_folds,
    )


def _cells(
    points: Sequence[Mapping[str, Any]],
    folded: Mapping[tuple[int, str], Mapping[str | None, Recipe]],
    tasks: Sequence[tuple[str, ...]],
    idle: Mapping[tuple[int, str], str],
    names: Sequence[str],
    seeds: Sequence[int],
) -> tuple[Cell, ...]:
    """The runs of these variants, by study, variant, seed, fold. points: the settings of each
    study; tasks: those of each; folded: of each variant in each study, fold → recipe.
    """
    return tuple(
        Cell(
            points[number],
            variant,
            seed,
            with_seed(recipe, seed, threads=recipe.threads or 1),
            tasks[number],
            idle.get((number, variant), ""),
            fold,
        )
        for number in range(len(points))
        for variant in names
        for seed in seeds
        for fold, recipe in folded[number, variant].items()
    )


def _in_folds(
    recipes: Mapping[tuple[int, str], Recipe], n_folds: int | None, problems: list[Problem]
) -> dict[tuple[int, str], dict[str | None, Recipe]]:
    """Fold → recipe, of each variant; without folds the recipe itself, under None."""
    if n_folds is None:
        return {key: {None: recipe} for key, recipe in recipes.items()}
    found: dict[tuple[int, str], dict[str | None, Recipe]] = {}
    for key, recipe in recipes.items():
        try:
            parts = fold_recipes(recipe, n_folds, "folds")
        except RecipeError as error:
            problems += [problem for problem in error.problems if problem not in problems]
        else:
            found[key] = {f"{n}/{n_folds}": part for n, part in enumerate(parts, 1)}
    return found


def _require_few(name: str, n_studies: int, n_variants: int, n_seeds: int) -> None:
    if n_studies * n_variants * n_seeds > _MOST_CELLS:
        raise RecipeError(
            f"{name}: {n_studies:,} studies x {n_variants:,} variants x {n_seeds:,} seeds are more "
            f"than {_MOST_CELLS:,} runs."
        )


def _common_tasks(
    recipes: Mapping[tuple[int, str], Recipe], number: int, variants: Collection[str]
) -> tuple[str, ...]:
    """The tasks that all variants of one point of a study train, in the order of the first."""
    first, *others = (recipes[number, variant].tasks for variant in variants)
    return tuple(name for name in first if all(name in other for other in others))


def _tasks_of(document: Value) -> tuple[str, ...] | None:
    """The names under `tasks`, None where the recipe does not have that key; none where each study
    has tasks of its own, in whose place a variant may put others.
    """
    keys = document.data if isinstance(document.data, dict) else {}
    tasks, each = keys.get("tasks"), keys.get("each")
    if tasks is None and each is not None and isinstance(each.data, dict) and "tasks" in each.data:
        return ()
    return tuple(tasks.data) if tasks is not None and isinstance(tasks.data, dict) else None


def _without_several_seeds(changes: Sequence[Change], problems: list[Problem]) -> list[Change]:
    """The overrides but for `seed=[1,2]`, which becomes a problem."""
    kept = []
    for steps, value in changes:
        if steps == ("seed",) and isinstance(value.data, tuple):
            problems.append(
                value.problem(
                    f"expected one seed, got {format_given(to_plain(value))}. Several are "
                    f"seeds={flow_list(value)}."
                )
            )
        else:
            kept.append((steps, value))
    return kept

"""The functions of `encore` in Python, with the words of recipes and of the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encore.data.frames import store_frames
from encore.errors import RecipeError, did_you_mean
from encore.experiments import comparison
from encore.experiments.comparison import ComparisonResult
from encore.experiments.find import search_of, study_of
from encore.experiments.preparation import prepare_comparison
from encore.recipe.find import recipe_of
from encore.recipe.pretraining import pretraining_recipes
from encore.recipe.schema import Recipe
from encore.runs.cross_validation import (
    CrossValidation,
    PreparedFolds,
    out_of_fold,
    prepare_folds,
    run_folds,
)
from encore.runs.distillation import Distilled, measure_student, recipe_to_distil
from encore.runs.ensemble import EnsembleSettings, MadeEnsemble, make_ensemble
from encore.runs.evaluate import RunEvaluation, evaluate_run
from encore.runs.execute import Watcher, execute
from encore.runs.final_test import evaluated_rows
from encore.runs.folder import RunResult
from encore.runs.go_on import check_old_rows, measure_old_rows, recipe_to_go_on
from encore.runs.loading import load_predictor as load
from encore.runs.memory import offering
from encore.runs.predictor import Predictor, ServedTask
from encore.runs.prepare import prepare, with_all_problems
from encore.runs.prepared import Prepared
from encore.runs.pretrain import PretrainWatcher, run_pretraining
from encore.runs.pretrain_folder import PretrainResult
from encore.runs.pretraining import prepare_pretraining
from encore.runs.two_runs import read_alike
from encore.types import DEFAULTS

if TYPE_CHECKING:
    from encore.experiments import search

# fmt: off
__all__ = [
    "compare", "cross_validate", "distill", "draw_search", "ensemble", "evaluate", "fit", "load",
    "out_of_fold", "prepared_folds", "prepared_from", "pretrain", "recipe_of", "tune",
]
# fmt: on


def _typed(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Python's values as they would be typed on the command line. JSON is YAML that needs no
    guessing.
    """
    return tuple(
        f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in settings.items()
    )


def pretrain(
    what: str | Path | Mapping[str, Any],
    *overrides: str,
    runs: str | Path = "runs",
    watch: PretrainWatcher | None = None,
    **settings: Any,
) -> PretrainResult:
    """Train an encoder on texts without labels, as `encore pretrain` does; the same call again
    resumes where it was stopped.

    >>> found = encore.pretrain({"texts": ["sst5"]}, "plan.steps=1000")  # doctest: +SKIP
    >>> encore.fit("reviews.csv", f"encoder={found.encoder}")  # doctest: +SKIP

    what: a recipe file, the name of one that comes with Encore, or a mapping; without variants, or
    with one that `only` names. overrides: `key=value`, as on the command line; settings: the same
    with Python's values. watch: called with every StepReport and Keep. Raises RecipeError,
    DataError or TrainingError.
    """
    chosen = settings.pop("only", None)
    recipes = pretraining_recipes(
        what, (*_typed(settings), *overrides), None if chosen is None else [chosen]
    )
    if len(recipes) > 1:
        names = ", ".join(recipes)
        raise RecipeError(f"pretrain: the recipe has several variants ({names}). Name one: only=…")
    [recipe] = recipes.values()
    return run_pretraining(prepare_pretraining(recipe), Path(runs), watch=watch)


def prepared_from(
    what: str | Path | Mapping[str, Any] | Recipe,
    overrides: tuple[str, ...] = (),
    *,
    start: str | Path | None = None,
    only_new: bool = False,
    **data: Any,
) -> Prepared:
    """The run that `what` describes, read and checked. A wrong recipe's files and encoder are
    checked all the same: all problems are reported together. start: a run to go on from, with
    `what` as a file of new rows; only_new: with these alone.
    """
    if start is None:
        if only_new:
            raise RecipeError("--only-new: goes with --from RUN (in Python start=RUN).")
        return prepare(with_all_problems(lambda: recipe_of(what, overrides, **data)))
    if not isinstance(what, str | Path):
        raise RecipeError(f"{start}: expected a file of new rows to go on from it with.")
    more, run = what, start
    prepared = prepare(
        with_all_problems(lambda: recipe_to_go_on(run, more, overrides, only_new=only_new, **data))
    )
    check_old_rows(prepared, run)
    return prepared


def prepared_folds(
    what: str | Path | Mapping[str, Any] | Recipe,
    folds: int,
    overrides: tuple[str, ...] = (),
    **data: Any,
) -> PreparedFolds:
    """The cross-validation of what `what` describes, read and checked; as `prepared_from`."""
    return prepare_folds(with_all_problems(lambda: recipe_of(what, overrides, **data)), folds)


def cross_validate(
    what: Any,
    *overrides: str,
    folds: int = 5,
    runs: str | Path = "runs",
    watch: Watcher | None = None,
    name: str = "table",
    force: bool = False,
    **data: Any,
) -> CrossValidation:
    """Train a run for each fold, as `encore train --folds` does: each is measured on the rows that
    it did not train on. The same call again resumes where it was stopped.

    >>> found = encore.cross_validate("reviews.csv", folds=5, label="stars")  # doctest: +SKIP
    >>> found.record.out_of_fold["accuracy"].low, found.out_of_fold.scores  # doctest: +SKIP

    folds: how many parts the training rows are dealt into; rows of a `group`, or copies of a text,
    stay together. All else as of `fit`. Raises RecipeError, DataError or TrainingError.
    """
    what, settings = store_frames(what, data, Path(runs) / "data", name)
    if not isinstance(what, str | Path | Mapping | Recipe):
        kind = type(what).__name__
        raise RecipeError(f"cross_validate: expected a file, a recipe or a table, got {kind}.")
    prepared = prepared_folds(what, folds, overrides, **settings)
    with offering("To try all the same: force=True."):
        return run_folds(
            prepared,
            Path(runs),
            lambda run: execute(run, Path(runs), watch=watch, force=force),
        )


def fit(
    what: Any,
    *overrides: str,
    runs: str | Path = "runs",
    watch: Watcher | None = None,
    name: str = "table",
    force: bool = False,
    start: str | Path | None = None,
    only_new: bool = False,
    **data: Any,
) -> RunResult:
    """Train, or resume, or find the run complete.

    >>> result = encore.fit("reviews.csv", "plan.epochs=3", label="stars")  # doctest: +SKIP
    >>> encore.load(result.folder).predict(["The zip broke after a week."])  # doctest: +SKIP

    what: a recipe (file, mapping or object), a data file, a named task such as "rte", or a table in
    memory: of pandas, polars, pyarrow, Hugging Face `datasets` or another library that offers the
    Arrow C stream, a dict of columns, or a list of dicts. A run names its files, so a table is
    written to `runs/data` first, also one that is given as `dev` or `test`; a dict of the tables
    train, validation and test is all three. overrides: `key=value`, as on the command line. watch:
    called with every StepReport and EvalReport. name: of the task, for a table in memory. force:
    train also where memory is short. start: the folder of a run to go on from, of which `what` are
    new rows; only_new: without its old rows. `encore report` then shows what the old rows lost.
    Raises RecipeError, DataError or TrainingError.
    """
    what, settings = store_frames(what, data, Path(runs) / "data", name)
    if not isinstance(what, str | Path | Mapping | Recipe):
        raise RecipeError(f"fit: expected a file, a recipe or a table, got {type(what).__name__}.")
    prepared = prepared_from(what, overrides, start=start, only_new=only_new, **settings)
    with offering("To try all the same: force=True."):
        result = execute(prepared, Path(runs), watch=watch, force=force)
    if start is not None:
        measure_old_rows(prepared, result, start)
    return result


def distill(
    teachers: str | Path | Sequence[str | Path],
    *overrides: str,
    encoder: str | None = None,
    texts: str | Path | None = None,
    runs: str | Path = "runs",
    watch: Watcher | None = None,
    force: bool = False,
) -> Distilled:
    """Train a student on what a run, or the mean of several, gives to its training rows, as
    `encore distill` does; the same call again resumes where it was stopped.

    >>> found = encore.distill("runs/reviews-1a2b3c", encoder="tiny")  # doctest: +SKIP
    >>> found.rows[0].metrics["accuracy"].delta, found.rows[0].student  # doctest: +SKIP

    encoder: the student's, None for the teacher's. texts: a file of rows without labels that it
    also learns from. overrides: `key=value`, as on the command line. watch: called with every
    StepReport and EvalReport. Raises RecipeError, DataError or TrainingError.
    """
    named = [teachers] if isinstance(teachers, str | Path) else list(teachers)
    prepared = prepare(recipe_to_distil(named, overrides, encoder=encoder, texts=texts))
    with offering("To try all the same: force=True."):
        result = execute(prepared, Path(runs), watch=watch, force=force)
    return Distilled(result, measure_student(prepared, result, named))


def evaluate(
    run: str | Path | Predictor[ServedTask],
    rows: Any = None,
    *,
    final: bool = False,
    task: str | None = None,
    slices: Sequence[str] = (),
    n_mistakes: int = 10,
    compare: str | Path | Predictor[ServedTask] | None = None,
    **reading: Any,
) -> RunEvaluation:
    """Measure a run on labelled rows, as `encore evaluate` does.

    >>> found = encore.evaluate("runs/reviews-1a2b3c", "test.csv")  # doctest: +SKIP
    >>> found.estimates["accuracy"].value, found.estimates["accuracy"].low  # doctest: +SKIP

    run: its folder, or what `load` returned. rows: a file or a table in memory, as of `fit`. final:
    instead of `rows`, the test file of the run's recipe; each opening is logged in the run's
    folder. slices: columns to measure by. compare: another run, to which the difference on the
    same rows is tested: `found.other.differences`. reading: delimiter, encoding, on_bad_row. Raises
    RecipeError or DataError.
    """
    if final and compare is not None:
        raise RecipeError("evaluate: compare takes labelled rows, not the test file.")
    if final == (rows is not None):
        raise RecipeError("evaluate: give labelled rows, or final=True for the run's test file.")
    model = run if isinstance(run, Predictor) else load(run)
    dataset = evaluated_rows(model, rows, task, log=lambda line: None, slices=slices, **reading)
    name = model.task(task).name
    both = read_alike(compare, model, name, rows, dataset, **reading)
    return evaluate_run(model, name, dataset, slices=slices, n_mistakes=n_mistakes, compare=both)


def compare(
    what: str | Path | Mapping[str, Any],
    *overrides: str,
    runs: str | Path = "runs",
    only: Sequence[str] | None = None,
    curve: str | None = None,
    race: bool = False,
    processes: int | None = None,
    executor: str | None = None,
    keep_models: bool = False,
    tell: Callable[[str], None] = lambda line: None,
    **settings: Any,
) -> ComparisonResult:
    """Compare the variants of a recipe, as `encore compare` does; the same call again resumes where
    it was stopped.

    >>> found = encore.compare("rte_pooling", encoder="minilm", seeds=[1, 2])  # doctest: +SKIP
    >>> print(found.table)  # doctest: +SKIP

    what: a recipe file, the name of one that comes with Encore, or a mapping. overrides:
    `key=value`, as on the command line; settings: the same with Python's values, for keys without a
    dot. Runs are processes of their own: what `tell` is given is a line about each that ends.
    executor: local, serial or ray; None: local, or serial on a GPU. A run that fails is named in
    the outcome's `failed` and stops no other. Raises RecipeError or DataError.
    """
    plan = prepare_comparison(
        study_of(what, (*_typed(settings), *overrides), only=only, curve=curve, race=race)
    )
    how: dict[str, Any] = {"processes": processes, "executor": executor, "tell": tell}
    return comparison.run_comparison(plan, Path(runs), keep_models=keep_models, **how)


def ensemble(
    members: Sequence[str | Path],
    *,
    method: str = "greedy",
    tasks: Sequence[str] = (),
    runs: str | Path = "runs",
    **settings: Any,
) -> MadeEnsemble:
    """Make an ensemble of trained runs, as `encore ensemble` does, or find it.

    >>> made = encore.ensemble(["runs/reviews-1a2b3c", "runs/reviews-4d5e6f"])  # doctest: +SKIP
    >>> encore.load(made.folder).predict(["Broke after a week."])  # doctest: +SKIP

    members: folders of runs with their weights, or of comparisons. method: simple, greedy,
    selective, best, regression or vote. tasks: () for all. settings: space ("probability" or
    "logit"), seed of the halves of the dev set, at_least (task → figure), compat ("gen"). Raises
    RecipeError, DataError or TrainingError.
    """
    try:
        chosen = EnsembleSettings(method, tuple(tasks), **settings)
    except TypeError:
        known = ("space", "seed", "at_least", "compat")
        unknown = next(name for name in settings if name not in known)
        raise RecipeError(
            f"ensemble: no setting called '{unknown}'. {did_you_mean(unknown, known)}"
        ) from None
    return make_ensemble(members, chosen, Path(runs))


def tune(
    what: str | Path | Mapping[str, Any],
    *overrides: str,
    n: int | None = None,
    runs: str | Path = "runs",
    sampler: str = DEFAULTS.sampler,
    pruner: str = "none",
    storage: str | None = None,
    processes: int | None = None,
    executor: str | None = None,
    tell: Callable[[str], None] = lambda line: None,
    **settings: Any,
) -> search.SearchResult:
    """Search for the best settings of a recipe, as `encore tune` does; the same call again resumes
    where it was stopped.

    >>> found = encore.tune("rte_tune_cls", n=12, encoder="minilm")  # doctest: +SKIP
    >>> print(found.table, found.results["best"]["params"])  # doctest: +SKIP

    n: trials in all, in the place of the recipe's. All else as of `compare`. Raises RecipeError or
    DataError, TrainingError where no trial could be completed.
    """
    # Optuna and its database take a second, which `fit` need not wait for.
    from encore.experiments import search, search_preparation

    resolved = search_preparation.prepare_search(
        search_of(what, (*_typed(settings), *overrides), trials=n),
        sampler=sampler,
        pruner=pruner,
        storage=storage,
    )
    how: dict[str, Any] = {"processes": processes, "executor": executor, "tell": tell}
    return search.run_search(resolved, Path(runs), draw=draw_search, **how)


def draw_search(*found: Any) -> None:
    """Draws the figures of a search. matplotlib takes a second, so it is imported after the
    trials.
    """
    from encore.report import search_figures

    search_figures.draw_figures(*found)

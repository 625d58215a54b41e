"""The Python face of Encore: `fit` and `load`, with the same words as recipes and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encore.predict import load
from encore.prepare import prepare
from encore.recipe import Recipe, load_recipe, recipe_for_file, recipe_from
from encore.run import Result, Watcher, execute

__all__ = ["fit", "load", "recipe_of"]


def recipe_of(what: str | Path | Mapping[str, Any] | Recipe, overrides: tuple[str, ...] = (), **data: Any) -> Recipe:
    """A recipe from a recipe file, a data file, the name of a task, or a mapping. `data`: column names and the like for a data file."""
    if isinstance(what, Recipe):
        return what
    if isinstance(what, Mapping):
        return recipe_from(what, overrides)
    if Path(what).suffix.lower() in {".yaml", ".yml"}:
        return load_recipe(what, overrides)
    if Path(what).suffix or "/" in str(what) or str(what) == "-":
        return recipe_for_file(what, overrides, **data)
    return recipe_from({"task": str(what)}, overrides)


def fit(what: str | Path | Mapping[str, Any] | Recipe, *overrides: str, runs: str | Path = "runs", watch: Watcher | None = None, **data: Any) -> Result:
    """Train, or resume, or find the run complete.

    >>> result = encore.fit("reviews.csv", "plan.epochs=3", label="stars")           # doctest: +SKIP
    >>> encore.load(result.folder).predict(["The zip broke after a week."])          # doctest: +SKIP

    what: a recipe (file, mapping or object), a data file, or a named task such as "rte". overrides: `key=value`, as on the command line.
    watch: called with every StepReport and EvalReport. Raises RecipeError, DataError or TrainingError.
    """
    return execute(prepare(recipe_of(what, overrides, **data)), Path(runs), watch=watch)

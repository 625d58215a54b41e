"""Finds the comparison or the search that a recipe describes, with all that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from encore.data import named
from encore.errors import RecipeError, format_given
from encore.experiments.search_space import Search, load_search, search_from
from encore.experiments.variants import Study, load_study, study_from
from encore.recipe import builtin
from encore.runs.prepare import with_all_problems

__all__ = ["search_of", "study_of"]


def study_of(
    what: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    only: Sequence[str] | None = None,
    curve: str | None = None,
    race: bool = False,
) -> Study:
    """The comparison that a recipe describes: a file, the name of one that comes with Encore, or a
    mapping. If the recipe has mistakes, its files and its encoder are checked too, and all problems
    are reported together. Raises RecipeError.
    """
    options: dict[str, Any] = {"only": only, "axes": _axis(curve), "race": race}
    if str(what) in named.task_names() and str(what) not in builtin.recipe_names():
        raise RecipeError(
            f"{what}: a named task, not a recipe. A recipe with variants begins with `task: "
            f"{what}`; to train once: encore train {what}"
        )
    return with_all_problems(
        lambda: (
            study_from(what, overrides, **options)
            if isinstance(what, Mapping)
            else load_study(builtin.file_of(what), overrides, **options)
        )
    )


def search_of(
    what: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    trials: int | None = None,
) -> Search:
    """The search that a recipe describes, checked like `study_of`. trials: replaces the recipe's.
    Raises RecipeError.
    """
    options: dict[str, Any] = {"trials": trials}
    return with_all_problems(
        lambda: (
            search_from(what, overrides, **options)
            if isinstance(what, Mapping)
            else load_search(builtin.file_of(what), overrides, **options)
        )
    )


def _axis(curve: str | None) -> dict[str, list[int]]:
    """`train_rows=500,1000` → {"data.train_rows": [500, 1000]}."""
    if curve is None:
        return {}
    key, _, values = curve.partition("=")
    words = [word.strip() for word in values.split(",")]
    sizes = [int(word) for word in words if word.isdecimal() and len(word) < 16]
    if (
        key not in ("train_rows", "data.train_rows")
        or len(sizes) < len(words)
        or len(set(sizes)) < max(2, len(sizes))
        or min(sizes) < 2
    ):
        raise RecipeError(
            f"--curve: expected train_rows and two different sizes or more, such as "
            f"train_rows=500,1000,2000, got {format_given(curve)}."
        )
    return {"data.train_rows": sorted(sizes)}

"""Finds the recipe that a file, a name or a mapping stands for."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encore.data import named
from encore.data.endings import TABLE_ENDINGS
from encore.errors import RecipeError
from encore.recipe import builtin
from encore.recipe.load import load_recipe, recipe_for_file, recipe_from
from encore.recipe.overrides import Change, Override
from encore.recipe.schema import Recipe
from encore.recipe.values import Value, from_python

__all__ = ["data_change", "recipe_of"]


def recipe_of(
    what: str | Path | Mapping[str, Any] | Recipe, overrides: tuple[str, ...] = (), **data: Any
) -> Recipe:
    """A recipe from a recipe file or the name of one that comes with Encore, a data file, the name
    of a task, or a mapping. `data`: settings of its data section (`label`, `text`, `dev`, …); a
    Value knows the option that it came with.
    """
    given = {key: value for key, value in data.items() if value is not None}
    if isinstance(what, Recipe):
        if overrides or given:
            raise RecipeError(
                f"{', '.join([*overrides, *given])}: overrides cannot be applied to a Recipe "
                f"object; pass its file or a mapping."
            )
        return what
    if not isinstance(what, Mapping) and (Path(what) / "resolved.json").is_file():
        raise RecipeError(
            f"{what}: this is the folder of a run. To train its recipe: "
            f"{shlex.join(['encore', 'train', str(Path(what) / 'recipe.yaml')])}"
        )
    if not isinstance(what, Mapping) and _is_data_file(what):
        return recipe_for_file(what, overrides, **given)
    # Of a recipe and of a named task these are settings like any other; what follows them wins.
    changes: tuple[Override, ...] = (
        *(data_change(key, value) for key, value in given.items()),
        *overrides,
    )
    if isinstance(what, Mapping):
        return recipe_from(what, changes)
    if (
        str(what) in named.task_names()
    ):  # where a recipe has its name too, that one has variants: it is for `compare`
        return recipe_from({"task": str(what)}, changes)
    if builtin.is_file(what) or str(what) in builtin.recipe_names():
        return load_recipe(builtin.file_of(what), changes)
    file = next((text for text in overrides if "=" not in text and Path(text).is_file()), None)
    if file is not None:
        raise RecipeError(
            f"{what}: no such file or named task. {file} comes first; the column of the label is "
            f"named with --label."
        )
    raise RecipeError(f"{what}: no such file or named task. {_near(str(what))}")


def data_change(key: str, value: Any) -> Change:
    """A data setting as a change of a recipe."""
    steps = ("data", key)
    return steps, value if isinstance(value, Value) else from_python(value, path=".".join(steps))


def _is_data_file(what: str | Path) -> bool:
    if builtin.is_file(what) or str(what) in (*named.task_names(), *builtin.recipe_names()):
        return False
    return (
        isinstance(what, Path)
        or bool(Path(what).suffix)
        or "/" in what
        or what == "-"
        or Path(what).exists()
    )


def _near(name: str) -> str:
    """Suggests the nearest name: a table or a recipe in the working directory, a named task, or a
    recipe that comes with Encore.
    """
    files = [
        file.name
        for file in Path().iterdir()
        if file.suffix in TABLE_ENDINGS or builtin.is_file(file)
    ]
    stems = {Path(file).stem: file for file in sorted(files, reverse=True)}
    near = difflib.get_close_matches(
        name, [*stems, *named.task_names(), *builtin.recipe_names()], n=1, cutoff=0.6
    )
    guess = f"Did you mean {stems.get(near[0], near[0])}? " if near else ""
    return f"{guess}Named tasks: {', '.join(named.task_names())}."

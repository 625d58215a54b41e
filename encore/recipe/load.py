"""Reads recipes: strict YAML, or a mapping, with overrides on top.

The same words are YAML keys, constructor parameters and overrides on the command line: `plan: {lr:
3e-5}` and `plan.lr=3e-5` are one setting. All problems of a recipe are reported together before a
model is loaded, each with file, line, what was expected, and what to write instead.

A task setting written at the top (`pooling: mean`) holds for every task that does not set its own,
and is gone from the Recipe: `tasks` is complete. On the command line (`pooling=mean`) it holds for
every task, whether or not the file says otherwise.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from encore.errors import Problem, RecipeError
from encore.recipe.located_yaml import read_yaml
from encore.recipe.normalise import NO_TASK, complete_document
from encore.recipe.overrides import Change, Override, assignment, with_value
from encore.recipe.schema import Recipe
from encore.recipe.validation import validation_problems
from encore.recipe.values import Locations, Value, from_python, to_plain

__all__ = [
    "build_recipe",
    "file_text",
    "load_recipe",
    "recipe_error",
    "recipe_for_file",
    "recipe_from",
    "recipe_of_text",
]

_MOST_SHOWN = 20


def load_recipe(path: str | Path, overrides: Sequence[Override] = ()) -> Recipe:
    """The recipe in a YAML file, with `key=value` overrides on top. Paths in the file start from
    its folder, paths in overrides from the working directory.

    Raises RecipeError with every problem that was found.
    """
    return recipe_of_text(file_text(Path(path)), str(path), overrides, Path(path).absolute().parent)


def recipe_of_text(
    text: str, where: str, overrides: Sequence[Override] = (), base: str | Path = "."
) -> Recipe:
    """The recipe in YAML that was read. where: names it in problems. base: where its relative paths
    start. Raises RecipeError like `load_recipe`.
    """
    problems: list[Problem] = []
    document = read_yaml(text, where, problems=problems)
    return _checked(document, overrides, Path(base).absolute(), problems)


def recipe_from(
    mapping: Mapping[str, Any],
    overrides: Sequence[Override] = (),
    *,
    base: str | Path | None = None,
) -> Recipe:
    """The recipe that a mapping (of mappings) describes. `base`: where its relative paths start,
    the working directory if None.

    Raises RecipeError with every problem that was found.
    """
    problems: list[Problem] = []
    return _checked(
        from_python(mapping, problems), overrides, Path(base or ".").absolute(), problems
    )


def recipe_for_file(path: str | Path, overrides: Sequence[Override] = (), **data: Any) -> Recipe:
    """The recipe of `encore train reviews.csv`: one task, named after the file; that of
    `trec/train.csv` is named after the folder.

    data: settings of DataRecipe (`text`, `label`, …); None is as good as not given, and a Value
    knows the option that it came with. The path starts from the working directory. Raises
    RecipeError.
    """
    stem = "stdin" if str(path) == "-" else Path(path).stem
    if stem.lower() == "train":
        stem = Path(path).absolute().parent.name or stem
    name = re.sub(r"[^\w-]+", "_", stem).strip("_")[:64] or "task"
    problems: list[Problem] = []
    plain = {
        key: given
        for key, given in data.items()
        if given is not None and not isinstance(given, Value)
    }
    rows = {"train": os.fspath(path), **plain}
    document = from_python({"tasks": {name: {"data": rows}}}, problems)
    for key, given in data.items():
        if isinstance(given, Value):
            document = with_value(document, ("tasks", name, "data", key), given)
    return _checked(document, overrides, Path().absolute(), problems)


def file_text(path: Path) -> str:
    """The text of a recipe file. Raises RecipeError where there is none, or no text."""

    def stop(message: str = "", remedy: str = "", line: int | None = None) -> RecipeError:
        return RecipeError(Problem(where=str(path), line=line, message=message, remedy=remedy))

    if path.is_dir():
        raise stop("expected a recipe file, got a folder.", "Name the .yaml file in it.")
    if path.is_fifo():  # whose writer may never come
        raise stop("expected a recipe file, got a pipe.", "Write it to a file.")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise stop(f"no such folder as '{path.parent}'.", "Check the path.") from None
        recipes = sorted(
            entry.name for entry in path.parent.iterdir() if entry.suffix in (".yaml", ".yml")
        )
        near = difflib.get_close_matches(path.name, recipes, n=1, cutoff=0.5)
        remedy = f"Did you mean '{path.parent / near[0]}'?" if near else "Check the path."
        raise stop("no such file.", remedy) from None
    except OSError as error:
        raise stop(f"cannot be read ({error.strerror}).") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"not UTF-8 text (byte 0x{content[error.start]:02x})."
        raise stop(message, "Save the file as UTF-8.", line) from None


def _checked(
    document: Value, overrides: Sequence[Override], base: Path, problems: list[Problem]
) -> Recipe:
    """The recipe that a document describes; `problems` are those of reading it."""
    changes = [
        found for given in overrides if (found := assignment(given, base, problems)) is not None
    ]
    recipe, rest = build_recipe(document, changes, base, problems)
    if problems or recipe is None:
        raise recipe_error(problems, rest)
    return recipe


def build_recipe(
    document: Value, changes: Sequence[Change], base: Path, problems: list[Problem]
) -> tuple[Recipe | None, Recipe | None]:
    """The recipe that a document with changes describes, and what remains of it without what is
    wrong, which `problems` takes: both the same where nothing is wrong. Raises RecipeError for a
    recipe of pre-training.
    """
    if isinstance(document.data, dict) and "texts" in document.data:
        remedy = f"Run it: encore pretrain {document.where}"
        message = "is a recipe of pre-training, which has no task."
        raise RecipeError(Problem(where=document.where, message=message, remedy=remedy))
    n_before = len(problems)
    tree = complete_document(document, changes, problems)
    recipe, culprits = None, []
    try:
        recipe = Recipe.model_validate(to_plain(tree))
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=True):
            problems += validation_problems(tree, detail)
            culprits.append(detail["loc"])
    if len(problems) > n_before or recipe is None:
        return None, _without(tree, culprits, base)
    recipe._base, recipe._places = base, Locations(tree)
    return recipe, recipe


def recipe_error(problems: Sequence[Problem], rest: Recipe | None = None) -> RecipeError:
    """The error of these problems: each once, at most twenty, in the order of the file; those about
    overrides and about values from Python last, in the order in which they were found.
    """
    found = sorted(
        dict.fromkeys(problems), key=lambda one: sys.maxsize if one.line is None else one.line
    )
    if len(found) > _MOST_SHOWN:
        more = Problem(message=f"… and {len(found) - _MOST_SHOWN} more")
        found = [*found[:_MOST_SHOWN], more]
    error = RecipeError(found)
    error.partial_recipe = rest
    return error


def _without(tree: Value, culprits: Sequence[tuple[str | int, ...]], base: Path) -> Recipe | None:
    """The recipe without the settings that are wrong, so that its files and its encoder can be
    checked in the same go. A task whose data settings are among them is left out: what would be
    read without them is not what was meant. None where too little is left.
    """
    if any(steps[0] == "encoder" for steps in culprits):
        return None
    rest = to_plain(tree)
    for steps in [*culprits, ("tasks", NO_TASK)]:
        end = 2 if steps[0] == "tasks" and steps[2:3] == ("data",) else len(steps)
        inner: Any = rest
        for step in steps[: end - 1]:
            inner = inner.get(step) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            inner.pop(steps[end - 1], None)
    try:
        recipe = Recipe.model_validate(rest)
    except ValidationError:
        return None
    recipe._base, recipe._places = base, Locations(tree)
    return recipe

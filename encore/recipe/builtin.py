"""The recipes that come with Encore, by their names, from any folder: `encore compare maxpoolbert
encoder=minilm`.

In a checkout they lie in recipes/, beside the package; a wheel carries a copy of that folder inside
the package (pyproject.toml). A name is the file's path in that folder without its ending:
`maxpoolbert`, `first_light/rte`.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from encore.data.endings import TABLE_ENDINGS
from encore.errors import Problem, RecipeError

__all__ = [
    "file_of",
    "is_file",
    "recipe_names",
    "recipe_path",
    "recipes_folder",
    "verified_results",
]

_ENDINGS = (".yaml", ".yml")
_HERE = Path(__file__).parent
_CHECKOUT = _HERE.parents[1] / "recipes"


def recipes_folder() -> Path:
    """The folder of the recipes."""
    return installed if (installed := _HERE / "builtin_recipes").is_dir() else _CHECKOUT


def recipe_names() -> tuple[str, ...]:
    """The names, sorted; no recipe is read."""
    return tuple(
        sorted(
            file.relative_to(recipes_folder()).with_suffix("").as_posix()
            for file in recipes_folder().rglob("*.yaml")
        )
    )


def recipe_path(name: str) -> Path:
    """The file of a recipe that comes with Encore."""
    return recipes_folder() / f"{name}.yaml"


def verified_results() -> dict[str, list[dict[str, Any]]]:
    """The records of each recipe's complete comparisons, which docs/results.py writes; the newest
    last.
    """
    file = recipes_folder() / "verified.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def is_file(given: str | Path) -> bool:
    """True for the path of a recipe file, False for a recipe's name."""
    return Path(given).suffix.lower() in _ENDINGS


def file_of(given: str | Path) -> Path:
    """The recipe file that `given` means: a path as it is, or the name of one that comes with
    Encore.

    Raises RecipeError in one line: no such name, a missing file that is one of Encore's own, a name
    that a different file of this folder has too.
    """

    def stop(message: str = "", remedy: str = "", *, expected: str = "", got: str = "") -> Problem:
        return Problem(where=str(given), message=message, expected=expected, got=got, remedy=remedy)

    if is_file(given):
        name = Path(given).with_suffix("").as_posix().removeprefix("recipes/")
        if not Path(given).exists() and name in recipe_names():
            remedy = (
                f"The recipe that comes with Encore is named without a path or an ending: {name}"
            )
            raise RecipeError(stop("no such file here.", remedy))
        return Path(given)
    name = str(given)
    local = [file for ending in _ENDINGS if (file := Path(f"{name}{ending}")).is_file()]
    if name not in recipe_names():
        if Path(name).suffix.lower() in TABLE_ENDINGS:
            remedy = f"`encore train {name}` trains on it; in a recipe it is data.train."
            raise RecipeError(stop(remedy=remedy, expected="a recipe (.yaml)", got="a table"))
        here = [str(file) for file in Path().iterdir() if is_file(file)]
        near = difflib.get_close_matches(name, [*here, *recipe_names()], n=1, cutoff=0.6)
        guess = f"Did you mean '{local[0] if local else near[0]}'? " if local or near else ""
        remedy = f"{guess}Name a .yaml file, or one that `encore ls recipes` lists."
        raise RecipeError(stop("no recipe of this name.", remedy))
    for file in local:
        if file.read_bytes() != recipe_path(name).read_bytes():
            message = "a recipe that comes with Encore, and a different file here."
            remedy = f"Write {file} for yours, {recipe_path(name)} for Encore's."
            raise RecipeError(stop(message, remedy))
    return recipe_path(name)

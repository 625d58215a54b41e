"""The recipes that come with Encore, by their names, from any folder: `encore compare maxpoolbert encoder=minilm`.

In a checkout they lie in recipes/, beside the package; a wheel carries a copy of that folder inside the package (pyproject.toml). A name is the file's path in
that folder without its ending: `maxpoolbert`, `first_light/rte`.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from encore.errors import RecipeError

__all__ = ["file_of", "folder", "is_file", "names", "path", "verified"]

_ENDINGS = (".yaml", ".yml")
_TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
_HERE = Path(__file__).parent


def folder() -> Path:
    """Where the recipes lie."""
    return _HERE / "recipes" if (_HERE / "recipes").is_dir() else _HERE.parent / "recipes"


def names() -> tuple[str, ...]:
    """Sorted; nothing is read."""
    return tuple(sorted(file.relative_to(folder()).with_suffix("").as_posix() for file in folder().rglob("*.yaml")))


def path(name: str) -> Path:
    return folder() / f"{name}.yaml"


def verified() -> dict[str, list[dict[str, Any]]]:
    """Recipe → the records of its complete comparisons, which docs/results.py wrote; the newest last."""
    file = folder() / "verified.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def is_file(given: str | Path) -> bool:
    """Whether this names a recipe file, and no recipe by its name."""
    return Path(given).suffix.lower() in _ENDINGS


def file_of(given: str | Path) -> Path:
    """The recipe file that `given` means: a path as it is, or the name of one that comes with Encore.

    Raises RecipeError in one line: no such name, a file that there is not but as one of Encore's own, a name that a file of this folder has too.
    """
    if is_file(given):
        name = Path(given).with_suffix("").as_posix().removeprefix("recipes/")
        if not Path(given).exists() and name in names():
            raise RecipeError(f"{given}: no such file here. The recipe that comes with Encore is named without a path or an ending: {name}")
        return Path(given)
    name = str(given)
    local = [file for ending in _ENDINGS if (file := Path(f"{name}{ending}")).is_file()]
    if name not in names():
        if Path(name).suffix.lower() in _TABLES:
            raise RecipeError(f"{name}: expected a recipe (.yaml), got a table. `encore train {name}` trains on it; in a recipe it is data.train.")
        near = difflib.get_close_matches(name, [str(file) for file in Path().iterdir() if is_file(file)] + list(names()), n=1, cutoff=0.6)
        guess = f"Did you mean '{local[0] if local else near[0]}'? " if local or near else ""
        raise RecipeError(f"{name}: no recipe of this name. {guess}Name a .yaml file, or one that `encore ls recipes` lists.")
    for file in local:
        if file.read_bytes() != path(name).read_bytes():
            both = "a recipe that comes with Encore, and a file here that says something else"
            raise RecipeError(f"{name}: {both}. Write {file} for yours, {path(name)} for Encore's.")
    return path(name)

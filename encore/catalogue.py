"""The folder is the registry: one technique, one file, one public name.

`names("pooling")` lists the folder and imports nothing; `find` imports one file and takes the one
name in its `__all__`; `build` calls it with the settings of a recipe. A constructor's keyword
parameters are the technique's schema: `settings("pooling", "max_cls")` reads them.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encore.errors import RecipeError, did_you_mean

__all__ = [
    "SINGULAR",
    "about",
    "build",
    "find",
    "folder",
    "kinds",
    "names",
    "settings",
    "written_out",
]

_HERE = Path(__file__).parent / "techniques"
_FOLDERS = {"combine": "gradients"}  # recipes say plan.combine: pcgrad
SINGULAR = {  # folder → what one of its techniques is called
    "combine": "way to combine gradients",
    "curves": "curve",
    "heads": "head",
    "losses": "loss",
    "metrics": "metric",
    "mixing": "mixing",
    "pairs": "way to read pairs",
    "plans": "plan",
    "pooling": "pooling",
    "sharing": "sharing",
}


def kinds() -> tuple[str, ...]:
    """The folders that hold techniques."""
    return tuple(SINGULAR)


def folder(kind: str) -> str:
    """The name of the folder in `encore/techniques` that holds this kind."""
    return _FOLDERS.get(kind, kind)


def names(kind: str) -> tuple[str, ...]:
    """Public names of one kind, sorted. Imports nothing."""
    if kind not in SINGULAR:
        raise RecipeError(f"no kind of technique called '{kind}'. {did_you_mean(kind, kinds())}")
    return tuple(sorted(path.stem for path in (_HERE / folder(kind)).glob("[a-z]*.py")))


def about(kind: str, name: str) -> str:
    """The first sentence of a technique's file. Imports nothing."""
    docstring = (
        ast.get_docstring(
            ast.parse((_HERE / folder(kind) / f"{name}.py").read_text(encoding="utf-8"))
        )
        or ""
    )
    return " ".join(docstring.split("\n\n")[0].split())


def find(kind: str, name: str) -> Any:
    """The class or function that `name` stands for. Raises RecipeError with a suggestion where
    there is none.
    """
    known = names(kind)
    if name not in known:
        raise RecipeError(f"no {SINGULAR[kind]} called '{name}'. {did_you_mean(name, known)}")
    module = importlib.import_module(f"encore.techniques.{folder(kind)}.{name}")
    (public,) = module.__all__
    return getattr(module, public)


def settings(kind: str, name: str) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a technique: these are what a recipe may set."""
    signature = inspect.signature(find(kind, name))
    return {
        key: parameter
        for key, parameter in signature.parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def written_out(kind: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """`{name: …, setting: …}` with every default beside what is set: equal for two that build the
    same.
    """
    return {
        "name": spec["name"],
        **{key: parameter.default for key, parameter in settings(kind, spec["name"]).items()},
        **spec,
    }


def build(kind: str, spec: str | Mapping[str, Any], *given: Any) -> Any:
    """Construct a technique from `name` or `{name: …, setting: …}`; `given` are its positional
    arguments (a width, say).
    """
    chosen = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = chosen.pop("name")
    known = settings(kind, name)
    unknown = [key for key in chosen if key not in known]
    if unknown:
        raise RecipeError(
            f"{SINGULAR[kind]} '{name}' has no setting '{key}'. {did_you_mean(key, list(known))}"
            for key in unknown
        )
    return find(kind, name)(*given, **chosen)

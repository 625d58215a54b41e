"""Overrides `key=value` from the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from encore.data.endings import TABLE_ENDINGS
from encore.errors import Problem, RecipeError, escape_unprintable
from encore.recipe.located_yaml import read_yaml
from encore.recipe.validation import resolve_alias
from encore.recipe.values import Value, is_text

__all__ = ["DATA_FILE", "Change", "Override", "assignment", "with_value"]

Change = tuple[tuple[str, ...], Value]  # the keys that lead to a setting, and its new value
Override = str | Change  # `plan.lr=3e-5` as it is typed, or a change that was none on the way
_PATHS = ("train", "dev", "test", "more")
DATA_FILE = rf"({'|'.join(map(re.escape, TABLE_ENDINGS))})$"


def assignment(given: Override, base: Path, problems: list[Problem]) -> Change | None:
    """`plan.lr=3e-5` → (("plan", "lr"), 0.00003, which knows that it is an override). Paths of the
    command line start from the working directory, those of the change from `base`.

    problems: takes what is wrong; None is returned then.
    """
    if isinstance(given, str):
        change = _typed(given, problems)
        if change is None:
            return None
        steps, value = change
    else:
        steps, value = given
    inner = steps[2:] if steps[0] == "tasks" else steps
    if inner[:1] == ("data",) and len(inner) > 1 and inner[1] in _PATHS:
        value = _from_here(value, base)
    elif inner == ("data",) and isinstance(value.data, dict):
        data = {
            key: _from_here(entry, base) if key in _PATHS else entry
            for key, entry in value.data.items()
        }
        value = replace(value, data=data)
    elif steps == ("encoder",) and isinstance(value.data, str) and Path(value.data).is_dir():
        value = _from_here(value, base)
    return steps, value


def _typed(text: str, problems: list[Problem]) -> Change | None:
    """The keys of `plan.lr=3e-5`, and its value."""
    where = escape_unprintable(f"override {text if len(text) <= 80 else text[:77] + '…'}")
    key, equals, written = text.partition("=")
    key = key.strip()
    if not equals or not key or key.startswith("-") or not all(key.split(".")):
        example = re.match(r"-*([\w.-]+)[ :=]*(.*)", text)
        instead = (
            f"{resolve_alias(example[1]) or example[1]}={example[2] or '…'}"
            if example and text.startswith("-")
            else "plan.lr=3e-5"
        )
        second = ""
        if re.search(DATA_FILE, text) and not equals:
            second = " A second file has an option: --dev FILE, --test FILE."
        elif not equals and text.isidentifier():
            second = " Columns have options: --text NAME, --label NAME."
        message = f"expected key=value, for example {instead}.{second}"
        problems.append(Value(None, where).problem(message))
        return None
    steps = tuple(key.split("."))
    if not is_text(written):
        message = "holds a character that cannot be written as UTF-8."
        problems.append(Value(None, where).problem(message))
        return None
    # A lone punctuation mark (a delimiter, say) is itself; YAML would want quotes inside the
    # shell's quotes.
    verbatim = steps[-1] in ("source", "claim") or (
        len(written) == 1 and not written.isalnum() and written != "~"
    )
    if verbatim:
        return steps, Value(written, where, text=written)
    try:
        return steps, read_yaml(written, where, numbered=False)
    except RecipeError as error:
        problems.extend(error.problems)
        return None


def _from_here(value: Value, base: Path) -> Value:
    """A path from the working directory as one from `base`, where the recipe's paths start."""
    if isinstance(value.data, dict):
        return replace(
            value, data={key: _from_here(entry, base) for key, entry in value.data.items()}
        )
    if isinstance(value.data, list):
        return replace(value, data=[_from_here(entry, base) for entry in value.data])
    if (
        not isinstance(value.data, str)
        or not value.data
        or value.data == "-"
        or "://" in value.data
    ):
        return value
    path = Path(value.data).expanduser().absolute()
    return replace(
        value, data=path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)
    )


def with_value(tree: Value, steps: Sequence[str], value: Value) -> Value:
    """`tree` with `value` at the end of `steps`. On the way, a technique's bare name becomes {name:
    …}, so that `head.dropout=0.2` works on `head: linear`.
    """
    if not steps:
        return value
    entries = (
        tree.data
        if isinstance(tree.data, dict)
        else {"name": tree}
        if isinstance(tree.data, str)
        else {}
    )
    below = entries.get(steps[0], Value(None, value.where, value.line))
    return replace(tree, data={**entries, steps[0]: with_value(below, steps[1:], value)})

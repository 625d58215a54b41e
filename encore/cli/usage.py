"""Explains wrong commands in one line."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from encore.data.endings import TABLE_ENDINGS
from encore.errors import Problem
from encore.recipe.validation import resolve_alias
from encore.recipe.values import Value, from_python

__all__ = ["option_values", "usage_problem"]

_TRAINABLE = (*TABLE_ENDINGS, ".yaml", ".yml")


def option_values(options: Mapping[str, Any]) -> dict[str, Value]:
    """The options that are given as values of settings, which know the option that they came
    with: a problem is one of `--label`, not of `data.label`. options: setting → value or None.
    """
    return {
        key: from_python(value, where=f"--{key.replace('_', '-')}")
        for key, value in options.items()
        if value is not None
    }


def usage_problem(error: Any, given: Sequence[str]) -> Problem:
    """The problem that typer's parser raised. Its classes have moved and its sentences have changed
    between versions, the attributes of its exceptions have not: they are all that is read.
    """
    context: Any = getattr(error, "ctx", None)
    command: Any = None if context is None else context.command
    where = " ".join(["encore", *given[:1]]) if context is None else context.command_path
    if hasattr(error, "possibilities"):
        return _no_option(error.option_name, command, where, given)
    commands = getattr(command, "commands", {})
    unknown = next((word for word in given if not word.startswith("-")), "")
    if commands and unknown and unknown not in commands:
        return _no_command(unknown, commands, where)
    parameter = getattr(error, "param", None)
    if parameter is not None and hasattr(error, "param_type"):
        return _missing(parameter, where)
    if parameter is not None:
        message = f"{_name(parameter)}: {_in_lower_case(error.message)}."
        if parameter.metavar == "N":
            message = f"{_name(parameter)}: expected a whole number of at least 1."
        return Problem(where=where, message=message)
    # An option without its value, say: typer's own sentence is all that there is.
    message = " ".join(error.format_message().split())
    return Problem(where=where, message=f"{_in_lower_case(message)}.", remedy=_see(where))


def _no_option(option: str, command: Any, where: str, given: Sequence[str]) -> Problem:
    """Settings of a recipe are not options: `--epochs 3` is written `plan.epochs=3`."""
    parameters = () if command is None else command.params
    options = [name for parameter in parameters for name in parameter.opts if name[:2] == "--"]
    with_one_dash = [f"-{word}" for word in given if word.startswith(option) and len(word) > 2]
    near = [word for word in with_one_dash if word in options and option[:2] != "--"]
    near += difflib.get_close_matches(option, [*options, "--help"], n=1, cutoff=0.75)
    setting = resolve_alias(option.lstrip("-")) if where.endswith((" train", " compare")) else None
    if near:
        remedy = f"Did you mean '{near[0]}'? {_see(where)}"
    elif setting is not None:
        remedy = f"It is a setting, not an option: write {setting}=…"
    else:
        remedy = _see(where)
    return Problem(where=where, message=f"no option '{option}'.", remedy=remedy)


def _no_command(word: str, commands: Mapping[str, Any], where: str) -> Problem:
    near = difflib.get_close_matches(word, list(commands), n=1, cutoff=0.6)
    if Path(word).suffix in _TRAINABLE:
        remedy = f"To train on it: encore train {shlex.quote(word)}"
    elif near:
        remedy = f"Did you mean '{near[0]}'? {_see('encore')}"
    else:
        remedy = _see("encore")
    return Problem(where=where, message=f"no command '{word}'.", remedy=remedy)


def _missing(parameter: Any, where: str) -> Problem:
    name, metavar = _name(parameter), parameter.metavar or ""
    if name.startswith("-") and "|" in metavar:
        name = f"{name}, one of {metavar.replace('|', ', ')},"
    return Problem(where=where, message=f"{name} is missing.", remedy=_see(where))


def _name(parameter: Any) -> str:
    """An option or an argument as `--help` names it."""
    option = parameter.opts[0]
    return str(option if option.startswith("-") else parameter.metavar or parameter.name)


def _see(where: str) -> str:
    return f"See: {where} --help"


def _in_lower_case(sentence: str) -> str:
    """The sentence as it continues after a colon, without its full stop."""
    return f"{sentence[:1].lower()}{sentence[1:].rstrip('.')}"

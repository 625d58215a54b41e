"""Explains wrong commands in one line."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from encore.recipe.validation import resolve_alias
from encore.recipe.values import Value, from_python

__all__ = ["option_values", "usage_problem"]


# ----------------------------------------------------------------------------------- wrong commands


def option_values(options: Mapping[str, Any]) -> dict[str, Value]:
    """The options that are given as values of settings, which know the option that they came
    with: a problem is one of `--label`, not of `data.label`. options: setting → value or None.
    """
    return {
        key: from_python(value, where=f"--{key.replace('_', '-')}")
        for key, value in options.items()
        if value is not None
    }


def usage_problem(error: Any, given: Sequence[str]) -> str:
    """One line for what typer's parser raises. Its own words change from version to version; what
    it found does not.
    """
    context: Any = getattr(error, "ctx", None)
    where = context.command_path if context is not None else " ".join(["encore", *given[:1]])
    name, message = type(error).__name__, " ".join(error.format_message().split()).rstrip(".")
    options = [
        option
        for parameter in (context.command.params if context is not None else ())
        for option in parameter.opts
        if option.startswith("--")
    ]
    options.append("--help")
    if name == "NoSuchOption":
        return (
            f"{where}: no option '{error.option_name}'. "
            f"{_option_meant(error.option_name, options, where)}"
        )
    no_command = re.match(r"No such command '(.*?)'", message)
    if no_command and context is not None:
        near = difflib.get_close_matches(
            no_command[1], list(context.command.commands), n=1, cutoff=0.6
        )
        guess = f"Did you mean '{near[0]}'? See: encore --help" if near else "See: encore --help"
        if re.search(r"\.(csv|tsv|jsonl|parquet|ya?ml)$", no_command[1]):
            guess = f"To train on it: encore train {shlex.quote(no_command[1])}"
        return f"{where}: no command '{no_command[1]}'. {guess}"
    parameter = getattr(error, "param", None)
    called = (
        (
            parameter.opts[0]
            if parameter.opts[0].startswith("-")
            else parameter.metavar or parameter.name
        )
        if parameter is not None
        else ""
    )
    if name == "MissingParameter":
        metavar = getattr(parameter, "metavar", None) or ""
        choices = (
            f", one of {metavar.replace('|', ', ')},"
            if called.startswith("-") and "|" in metavar
            else ""
        )
        return f"{where}: {called}{choices} is missing. See: {where} --help"
    if name == "BadParameter" and getattr(parameter, "metavar", None) == "N":
        return f"{where}: {called}: expected a whole number of at least 1."
    if name == "BadParameter" and called:
        return f"{where}: {called}: {error.message[:1].lower()}{error.message[1:].rstrip('.')}."
    return f"{where}: {message[:1].lower()}{message[1:]}. See: {where} --help"


def _option_meant(given: str, options: Sequence[str], where: str) -> str:
    """Settings of the recipe are no options: who writes `--epochs 3` is told to write
    `plan.epochs=3`.
    """
    near = difflib.get_close_matches(given, options, n=1, cutoff=0.75)
    setting = resolve_alias(given.lstrip("-")) if where.endswith((" train", " compare")) else None
    if near:
        return f"Did you mean '{near[0]}'? See: {where} --help"
    return (
        f"It is a setting, not an option: write {setting}=…"
        if setting is not None
        else f"See: {where} --help"
    )

"""What Encore says when something is wrong: where, what was expected, what was got, what to do.

Every complaint is one `Problem`; an `EncoreError` carries all that were found, so that a user repairs a file once and not once per try.
The command line prints `error.problems`, one line each, and leaves with `error.exit_code`; it never prints a traceback unless asked to.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import ClassVar

__all__ = ["DataError", "EncoreError", "RecipeError", "TrainingError", "did_you_mean"]


class EncoreError(Exception):
    """One or more problems, each a single line of text that a stranger can act on."""

    exit_code: ClassVar[int] = 1

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class RecipeError(EncoreError):
    """The command, the recipe or a constructor's settings are wrong."""

    exit_code = 2


class DataError(EncoreError):
    """A data file, a task or an encoder folder is wrong or missing."""

    exit_code = 3


class TrainingError(EncoreError):
    """Training started and could not go on (loss not finite, disk full, run folder damaged)."""

    exit_code = 4


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A sentence that suggests the nearest known words; lists all of them where none is near.

    >>> did_you_mean("max_last", ["attention", "max_cls"])
    "Did you mean 'max_cls'? Known: attention, max_cls."
    """
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.55)
    guess = f"Did you mean '{near[0]}'? " if near else ""
    return f"{guess}Known: {', '.join(sorted(known))}."

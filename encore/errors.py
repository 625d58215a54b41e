"""What Encore says when something is wrong: where, what was expected, what was got, what to do.

Every complaint is one `Problem`; an `EncoreError` carries all that were found, so that a user
repairs a file once and not once per try. The command line prints `error.problems`, one line each,
and leaves with `error.exit_code`; it never prints a traceback unless asked to.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, TypeVar

__all__ = [
    "SOME_FAILED",
    "Complaints",
    "DataError",
    "EncoreError",
    "RecipeError",
    "TrainingError",
    "did_you_mean",
    "first_line",
    "on_one_line",
    "printable",
]

_Result = TypeVar("_Result")
SOME_FAILED = 5  # exit code of a comparison or search that ended, with runs or trials missing
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class EncoreError(Exception):
    """One or more problems, each a single line of text that a stranger can act on."""

    exit_code: ClassVar[int] = 1

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (
            (problems,) if isinstance(problems, str) else tuple(problems)
        )
        super().__init__("\n".join(self.problems))


class RecipeError(EncoreError):
    """The command, the recipe or a constructor's settings are wrong. `rest`: what remains of a
    recipe without them, so that the rest can be checked too.
    """

    exit_code = 2
    rest: Any = None


class DataError(EncoreError):
    """A data file, a task or an encoder folder is wrong or missing."""

    exit_code = 3


class TrainingError(EncoreError):
    """Training started and could not go on (loss not finite, disk full, run folder damaged)."""

    exit_code = 4


class Complaints:
    """Collects the errors of several checks, so that all of them are raised as one.

    >>> complaints = Complaints()
    >>> complaints.of(did_you_mean, "x", known=["y"])
    'Known: y.'
    """

    def __init__(self) -> None:
        self.errors: list[EncoreError] = []

    def of(self, check: Callable[..., _Result], *given: Any, **named: Any) -> _Result | None:
        """What `check(*given, **named)` returns; None where it raises, which is kept."""
        try:
            return check(*given, **named)
        except EncoreError as error:
            self.errors.append(error)
            return None

    @property
    def lines(self) -> tuple[str, ...]:
        """Those about the recipe first; each once."""
        ordered = sorted(self.errors, key=lambda error: error.exit_code)
        return tuple(dict.fromkeys(line for error in ordered for line in error.problems))

    def raise_any(self) -> None:
        """Raise what was collected, as a RecipeError if any of it is one."""
        if self.errors:
            raise type(min(self.errors, key=lambda error: error.exit_code))(self.lines)


def first_line(error: BaseException, most: int | None = None) -> str:
    """What somebody else's exception is, and how its words begin.

    >>> first_line(OSError("no space\\nleft"), most=5)
    'OSError: no sp'
    """
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:most]}" if lines else type(error).__name__


def on_one_line(error: BaseException) -> str:
    """All that somebody else's exception says, without its name if it says anything."""
    return " ".join(str(error).split()) or type(error).__name__


def printable(text: str) -> str:
    """The text with a sign in place of each character that would do something to a terminal:
    escapes, line breaks, changes of direction.
    """
    return "".join(
        "\ufffd"
        if unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") or each in _DIRECTIONS
        else each
        for each in text
    )


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A sentence that suggests the nearest known words; lists all of them where none is near.

    >>> did_you_mean("max_last", ["attention", "max_cls"])
    "Did you mean 'max_cls'? Known: attention, max_cls."
    """
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.55)
    guess = f"Did you mean '{near[0]}'? " if near else ""
    return f"{guess}Known: {', '.join(sorted(known))}."

"""Errors: where, what was expected, what was got, what to do.

Each is one `Problem`; an `EncoreError` carries all that were found, so that a user repairs a file
once and not once per try. The command line prints `error.lines` and exits with `error.exit_code`;
it prints a traceback with --debug only.
"""

from __future__ import annotations

import contextlib
import difflib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

__all__ = [
    "SOME_FAILED",
    "Complaints",
    "DataError",
    "EncoreError",
    "Problem",
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


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong, and what to do about it. `str(problem)` is the line that users read.

    where: the file, override or option that it was found in ("recipe.yaml", "override plan.lr=x").
    line: its line in that file, from 1.
    task: the task that it is about, where a recipe has several.
    setting: the dotted name of the setting ("plan.lr"), or the column.
    message: what is wrong; without one, `expected` and `got` say it.
    expected, got: what was wanted, and what was found instead.
    remedy: what to do, a sentence.
    """

    message: str = ""
    where: str = ""
    line: int | None = None
    task: str = ""
    setting: str = ""
    expected: str = ""
    got: str = ""
    remedy: str = ""

    @property
    def place(self) -> str:
        """Where it is: "recipe.yaml:14 plan.lr", or "" where nothing says so."""
        where = self.where if self.line is None else f"{self.where}:{self.line}"
        return " ".join(part for part in (where, self.setting) if part)

    def __str__(self) -> str:
        expected = f"expected {self.expected}, got {self.got}." if self.expected else ""
        text = " ".join(part for part in (self.message, expected, self.remedy) if part)
        task = f"task '{self.task}'" if self.task else ""
        return ": ".join(part for part in (task, self.place, text) if part)


class EncoreError(Exception):
    """One or more problems, each a single line of text that a stranger can act on.

    problems: `Problem`s; a string stands for a `Problem` that is a message and nothing else.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, problems: str | Problem | Iterable[str | Problem]) -> None:
        found = (problems,) if isinstance(problems, str | Problem) else tuple(problems)
        self.problems: tuple[Problem, ...] = tuple(
            Problem(message=one) if isinstance(one, str) else one for one in found
        )
        super().__init__("\n".join(self.lines))

    @property
    def lines(self) -> tuple[str, ...]:
        """The problems as users read them, a line each."""
        return tuple(map(str, self.problems))


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

    @contextlib.contextmanager
    def collecting(self) -> Iterator[None]:
        """Keeps an EncoreError that is raised inside; the rest of the block is skipped."""
        try:
            yield
        except EncoreError as error:
            self.errors.append(error)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Those about the recipe first; each once."""
        ordered = sorted(self.errors, key=lambda error: error.exit_code)
        return tuple(dict.fromkeys(problem for error in ordered for problem in error.problems))

    def raise_any(self) -> None:
        """Raise what was collected, as a RecipeError if any of it is one."""
        if self.errors:
            raise type(min(self.errors, key=lambda error: error.exit_code))(self.problems)


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

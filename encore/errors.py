"""Errors with their place, the expected and the found value, and the remedy.

A `Problem` is one mistake. An `EncoreError` holds all problems that were found, so that a user can
repair a file at once. The command line prints `error.lines` and exits with `error.exit_code`; it
prints a traceback only with --debug.
"""

from __future__ import annotations

import contextlib
import difflib
import re
import types
import typing
import unicodedata
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

# fmt: off
__all__ = [
    "Complaints", "DataError", "EncoreError", "Problem", "RecipeError", "SOME_FAILED",
    "TrainingError", "describe_type", "did_you_mean", "escape_unprintable", "first_line",
    "format_assignment", "format_given", "hide_credentials", "on_one_line", "printable",
    "shown_command", "single_line",
]
# fmt: on

SOME_FAILED = 5  # exit code of a comparison or search that ended, with runs or trials missing
_LINE_ENDS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
# Settings of a task's data that the command line has an option for.
_OPTIONS = frozenset(
    ["text", "text_pair", "label", "group", "dev", "test", "on_bad_row", "encoding", "delimiter"]
) | {"skip_lines", "sheet"}
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_LONGEST, _LONGEST_END = 4_000, 1_000  # characters of a line, and of its end
_HIDDEN = "***"
_URL = re.compile(r"(?:\w[\w+.-]*:)?//\S+")
# Of a query, only these values are known to be no secret.
_HARMLESS = frozenset(
    ["cache", "charset", "dbname", "driver", "host", "mode", "port", "sslmode", "timeout", "user"]
)
_TOKEN_SCHEMES = ("http:", "https:")  # their user may be a token


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake and its remedy. `str(problem)` is the line that users read.

    where: the file, override or option with the mistake ("recipe.yaml", "override plan.lr=x").
    line: its line in that file, from 1.
    task: the name of the task, where a recipe has several.
    setting: the dotted name of the setting ("plan.lr", "data.text").
    column: the column of a data file with the wrong cell.
    message: the mistake; may be empty where `expected` and `got` are set.
    expected, got: the expected value, and the value that was found.
    remedy: a sentence that starts with a verb.
    change: a value that would correct `setting` ("skip", "NAME"). The remedy then ends in the
    assignment as a user writes it, and the place leaves out the setting.
    """

    message: str = ""
    where: str = ""
    line: int | None = None
    task: str = ""
    setting: str = ""
    column: str = ""
    expected: str = ""
    got: str = ""
    remedy: str = ""
    change: str = ""

    @property
    def place(self) -> str:
        """The place of the mistake, such as "recipe.yaml:14 plan.lr"; "" if unknown."""
        where = self.where if self.line is None else f"{self.where}:{self.line}"
        column = f"column '{self.column}'" if self.column else ""
        setting = "" if self.change else self.setting
        return " ".join(part for part in (where, column, setting) if part)

    def __str__(self) -> str:
        expected = f"expected {self.expected}, got {self.got}." if self.expected else ""
        change = format_assignment(self.setting, self.change, task=self.task) if self.change else ""
        text = " ".join(part for part in (self.message, expected, self.remedy, change) if part)
        task = f"task '{self.task}'" if self.task else ""
        return single_line(": ".join(part for part in (task, self.place, text) if part))


class EncoreError(Exception):
    """One or more problems, each a single line with a remedy.

    problems: `Problem`s; a string is short for a `Problem` with only a message.
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
        """The problems as users read them, one line each."""
        return tuple(map(str, self.problems))


class RecipeError(EncoreError):
    """The command, the recipe or a constructor's settings are wrong. partial_recipe: the recipe
    without the wrong settings, so that it can be checked too.
    """

    exit_code = 2
    partial_recipe: Any = None


class DataError(EncoreError):
    """A data file, a task or an encoder folder is wrong or missing."""

    exit_code = 3


class TrainingError(EncoreError):
    """Training started and failed (loss not finite, disk full, run folder damaged)."""

    exit_code = 4


class Complaints:
    """Collects the errors of several checks, so that all of them are raised as one.

    >>> complaints = Complaints()
    >>> with complaints.collecting():
    ...     raise RecipeError("plan.lr: expected a number above 0, got 0.")
    >>> complaints.problems[0].message
    'plan.lr: expected a number above 0, got 0.'
    """

    def __init__(self) -> None:
        self.errors: list[EncoreError] = []

    @contextlib.contextmanager
    def collecting(self) -> Iterator[None]:
        """Collect an EncoreError that is raised inside; the rest of the block is skipped."""
        try:
            yield
        except EncoreError as error:
            self.errors.append(error)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All problems, each once; those of the recipe come first."""
        ordered = sorted(self.errors, key=lambda error: error.exit_code)
        return tuple(dict.fromkeys(problem for error in ordered for problem in error.problems))

    def raise_any(self) -> None:
        """Raise all collected problems as one error: a RecipeError if any is one."""
        if self.errors:
            raise type(min(self.errors, key=lambda error: error.exit_code))(self.problems)


def format_assignment(setting: str, value: str, *, task: str = "") -> str:
    """The assignment of `value` to `setting` as a user writes it: an option of the command line
    where there is one, an override elsewhere. task: one of several tasks; options apply to all, so
    this is always an override.

    >>> format_assignment("data.text_pair", "NAME"), format_assignment("data.kind", "multiclass")
    ('--text-pair NAME', 'data.kind=multiclass')
    >>> format_assignment("data.text_pair", "NAME", task="rte")
    'tasks.rte.data.text_pair=NAME'
    """
    if task:
        return f"tasks.{task}.{setting}={value}"
    section, _, key = setting.partition(".")
    if section == "data" and key in _OPTIONS:
        return f"--{key.replace('_', '-')} {value}"
    return f"{setting}={value}"


def hide_credentials(text: str, *, of: str = "") -> str:
    """The text with *** in place of the credentials of every URL in it: passwords, values of
    queries, and a user of http, who may be a token. Where a character could belong to either, it
    is taken for a part of the password.

    of: a URL whose credentials are hidden wherever they occur. The text may be the URL itself,
    which may then contain spaces and lack a scheme.

    >>> hide_credentials("--storage=postgresql://me:secret@host/trials?sslmode=require&key=x")
    '--storage=postgresql://me:***@host/trials?sslmode=require&key=***'
    """
    if of:
        secrets = {of[start:end] for start, end in _secret_spans(of)}
        secrets |= {urllib.parse.unquote_plus(secret) for secret in secrets}
        text = _hide_spans(of) if text == of else text
        for secret in sorted(secrets - {_HIDDEN}, key=len, reverse=True):
            text = text.replace(secret, _HIDDEN) if secret else text
    if "//" not in text:
        return text
    return _URL.sub(lambda found: _hide_spans(found.group()), text)


def shown_command(arguments: Iterable[str]) -> list[str]:
    """The arguments of a command line as they may be kept and printed."""
    return [hide_credentials(one, of=one if "//" in one else "") for one in arguments]


def _hide_spans(url: str) -> str:
    kept, position = [], 0
    for start, end in _secret_spans(url):
        kept += [url[position:start], _HIDDEN]
        position = end
    return "".join([*kept, url[position:]])


def _secret_spans(url: str) -> list[tuple[int, int]]:
    """The places of a URL's secrets, in order, none overlapping another."""
    scheme, mark, _ = url.partition("//")
    begin = len(scheme) + len(mark) if mark else 0
    spans = []
    at = url.rfind("@")
    colon = begin if scheme.lower().endswith(_TOKEN_SCHEMES) else url.find(":", begin) + 1
    if begin <= at and 0 < colon < at:
        spans.append((colon, at))
    question = url.find("?", begin)
    for found in re.finditer(r"([^&=?]*)=([^&]*)", url[question + 1 :] if question >= 0 else ""):
        if found[2] and found[1].lower() not in _HARMLESS:
            spans.append((question + 1 + found.start(2), question + 1 + found.end(2)))
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def single_line(text: str) -> str:
    """The text as a line that may be shown: with spaces in place of line ends, which names of
    labels and columns may contain, without the credentials of URLs, and without the middle of a
    very long text.
    """
    line = _LINE_ENDS.sub(" ", hide_credentials(text))
    if len(line) <= _LONGEST:
        return line
    return f"{line[: _LONGEST - _LONGEST_END]} […] {line[-_LONGEST_END:]}"


def first_line(error: BaseException, most: int | None = None) -> str:
    """The type of another library's exception, and the first line of its message.

    most: characters of the message to keep.

    >>> first_line(OSError("no space\\nleft"), most=5)
    'OSError: no sp'
    """
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:most]}" if lines else type(error).__name__


def on_one_line(error: BaseException) -> str:
    """The message of another library's exception on one line; its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def printable(text: str) -> str:
    """The text with U+FFFD in place of each character that would control a terminal: escapes, line
    breaks, changes of direction.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        "\ufffd"
        if unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") or each in _DIRECTIONS
        else each
        for each in text
    )


def did_you_mean(word: str, known: Sequence[str], *, prefix: str = "") -> str:
    """A sentence that suggests the nearest known words; lists all of them where none is near.
    prefix: in front of the suggestion, where the word alone is not what to write.

    >>> did_you_mean("max_last", ["attention", "max_cls"])
    "Did you mean 'max_cls'? Known: attention, max_cls."
    """
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.55)
    guess = f"Did you mean '{prefix}{near[0]}'? " if near else ""
    return f"{guess}Known: {', '.join(sorted(known))}."


def escape_unprintable(text: str) -> str:
    """The text with unprintable characters (line breaks, for example) escaped."""
    return (
        text
        if text.isprintable()
        else "".join(
            letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
            for letter in text
        )
    )


def describe_type(annotation: Any, bounds: Sequence[Any] = ()) -> str:
    """A type in plain words, for a user who edits a recipe.

    >>> describe_type(int | None)
    'a whole number or null'
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        metadata = [part for extra in arguments[1:] for part in getattr(extra, "metadata", [extra])]
        return describe_type(arguments[0], metadata)
    if origin in (typing.Union, types.UnionType):
        choices = sorted(arguments, key=lambda choice: choice is types.NoneType)
        return " or ".join(describe_type(choice, bounds) for choice in choices)
    if origin is Literal:
        return (
            f"one of {', '.join(map(str, arguments))}" if len(arguments) > 1 else str(arguments[0])
        )
    if annotation in (int, float):
        limits = [
            (name, f"{word} {_number(getattr(bound, name))}")
            for bound in bounds
            for name, word in _LIMITS.items()
            if getattr(bound, name, None) is not None
        ]
        kind = "a whole number" if annotation is int else "a number"
        if not limits:
            return kind
        middle = "of " if limits[0][0] in ("ge", "le") else ""  # "of at least 1", "above 0"
        return f"{kind} {middle}{' and '.join(words for _, words in limits)}"
    if origin in (list, tuple, Sequence) or annotation in (list, tuple):
        of = (
            typing.get_args(arguments[0])
            if arguments and typing.get_origin(arguments[0]) is Literal
            else ()
        )
        return f"a list of {', '.join(map(str, of))}" if of else "a list"
    if origin in (dict, Mapping) or annotation in (dict, Mapping):
        return "a mapping"
    words = {
        bool: "true or false",
        str: "text",
        types.NoneType: "null",
        None: "null",
        Any: "a value",
    }
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))


_LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def format_given(value: Any) -> str:
    """A value as its author would recognise it, in about 60 characters at most.

    >>> format_given("five"), format_given(None), format_given([1, 2]), format_given({"a": 1})
    ("'five'", 'nothing', 'the list [1, 2]', 'the mapping {a: 1}')
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "an empty text" if not value else f"'{_cut(escape_unprintable(value))}'"
    if isinstance(value, (list, tuple)):
        return (
            f"the list [{_cut(', '.join(escape_unprintable(str(item)) for item in value))}]"
            if value
            else "an empty list"
        )
    if isinstance(value, Mapping):
        entries = ", ".join(
            f"{escape_unprintable(str(key))}: {escape_unprintable(str(entry))}"
            for key, entry in value.items()
        )
        return f"the mapping {{{_cut(entries)}}}" if value else "an empty mapping"
    return _cut(_number(value))


def _number(value: Any) -> str:
    try:
        return str(value)
    except ValueError:  # Python refuses to print an integer of more than 4,300 digits
        return "a number of thousands of digits"


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"

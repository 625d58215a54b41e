"""Prints results on standard output and everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

from encore.errors import hide_credentials, printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["announce", "ask", "console", "print_json", "say"]


def announce(lines: Iterable[object], *, quiet: bool = False, stream: TextIO | None = None) -> None:
    """Print lines on standard error, or on `stream`, without characters that would act on a
    terminal.
    """
    for line in () if quiet else lines:
        print(_shown(line), file=stream or sys.stderr, flush=True)


def ask(question: str) -> str:
    """Print a question on standard error, and read the line that is typed: "" if there is none."""
    print(_shown(question), end="", file=sys.stderr, flush=True)
    return sys.stdin.readline()


def say(*lines: object) -> None:
    """Print lines on standard output in the same way."""
    for line in lines:
        print(_shown(line))


def _shown(text: object) -> str:
    """The text without credentials and control characters, but with its own line ends."""
    return "\n".join(printable(line) for line in hide_credentials(str(text)).split("\n"))


def print_json(value: Any) -> None:
    """Print one JSON object on standard output; control characters are escaped, as JSON allows."""
    text = json.dumps(value, ensure_ascii=False)
    print(text if text.isprintable() else "".join(map(_json_letter, text)))


def _json_letter(letter: str) -> str:
    return letter if printable(letter) == letter else json.dumps(letter)[1:-1]


def console() -> Console:
    """A terminal of today's width. Importing rich takes a moment, so it is imported here."""
    from rich.console import Console

    return Console()

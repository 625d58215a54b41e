"""Prints results on standard output and everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from encore.errors import printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["announce", "console", "print_json"]


def announce(lines: Iterable[object], *, quiet: bool = False) -> None:
    """Print lines on standard error, without characters that would act on a terminal."""
    for line in () if quiet else lines:
        print(printable(str(line)), file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """Print one JSON object on standard output."""
    print(json.dumps(value, ensure_ascii=False))


def console() -> Console:
    """A terminal of today's width. Importing rich takes a moment, so it is imported here."""
    from rich.console import Console

    return Console()

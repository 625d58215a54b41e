"""Cells of csv files that a spreadsheet shows as text instead of computing them as a formula."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

__all__ = ["text_cell", "text_cells"]

_FORMULA = tuple("=+-@\t\r")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)*|[.,]\d+)([eE][+-]?\d+)?\s?%?")


def text_cell(value: Any) -> Any:
    """The value of a cell, with an apostrophe before a text that a spreadsheet would take for a
    formula: one that begins with = + - @, a tab or a carriage return, and is no number.

    >>> text_cell("=1+1"), text_cell("-1.5"), text_cell(-1.5)
    ("'=1+1", '-1.5', -1.5)
    """
    if isinstance(value, str) and value.startswith(_FORMULA) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def text_cells(row: Iterable[Any]) -> list[Any]:
    """The cells of a row; see `text_cell`."""
    return [text_cell(value) for value in row]

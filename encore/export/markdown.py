"""Text of users in Markdown: shown to the letter, whatever Markdown or HTML it looks like."""

from __future__ import annotations

import re

from encore.errors import printable, single_line

__all__ = ["markdown_code", "markdown_text"]

# An underscore inside a word is none of emphasis; a colon and a full stop can make links.
_MARKUP = re.compile(
    r"[\\`*{}\[\]#|~!$@]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.|^[-+]|(?<=^\d)[.)](?=\s)"
)
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def markdown_text(text: str) -> str:
    r"""The text as prose, or as a cell of a table.

    >>> print(markdown_text("<b>*so* | [so](http://x)"))
    &lt;b&gt;\*so\* \| \[so\](http\://x)
    """
    escaped = _MARKUP.sub(lambda found: f"\\{found.group()}", printable(single_line(text)))
    return escaped.translate(_HTML)


def markdown_code(text: str) -> str:
    """The text as code in a line of prose."""
    line = printable(single_line(text))
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{space}{line}{space}{fence}"

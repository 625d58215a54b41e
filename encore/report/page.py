"""A report as a page: what it consists of, and that as one HTML file. Everything is escaped where
it is put in; nothing is loaded and nothing is run.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Any, ClassVar

from encore.report.drawing import inline
from encore.report.figures import Figure
from encore.tables.listing import Listing

__all__ = [
    "Code",
    "Facts",
    "Mistake",
    "Mistakes",
    "Notes",
    "Page",
    "Section",
    "VerdictLine",
    "Verdicts",
    "distinct",
    "figures_of",
    "render",
    "slug",
]

_SHOWN_ROWS = 40  # of a figure's numbers, folded below it; the CSV has all
# Longest description of a figure that is repeated below it; with many variants the tables serve
# better.
_TOLD_CHARACTERS = 400


@dataclass(frozen=True)
class Notes:
    """Lines that qualify what is beside them."""

    kind: ClassVar[str] = "notes"
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """Terms and their values."""

    kind: ClassVar[str] = "facts"
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Code:
    """A command or a file, verbatim; folded where it is long."""

    kind: ClassVar[str] = "code"
    title: str
    text: str
    folded: bool = False


@dataclass(frozen=True)
class VerdictLine:
    """badge: better, worse, no evidence, …, which also decides its colour. about: its subject."""

    badge: str
    about: str
    words: str


@dataclass(frozen=True)
class Verdicts:
    """Verdicts, a line each."""

    kind: ClassVar[str] = "verdicts"
    verdicts: tuple[VerdictLine, ...]


@dataclass(frozen=True)
class Mistake:
    """A row that was predicted wrongly. facts: its place, truth, prediction, … texts: one, or
    two of a pair, none where they are gone; each as pieces that make up the text, with how strongly
    a piece is marked: 0 to 1, less than 0 where it speaks against the prediction, None for not at
    all.
    """

    facts: tuple[tuple[str, str], ...]
    texts: tuple[tuple[tuple[str, float | None], ...], ...] = ()


@dataclass(frozen=True)
class Mistakes:
    """Rows that were predicted wrongly; note: how they were chosen."""

    kind: ClassVar[str] = "mistakes"
    mistakes: tuple[Mistake, ...]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """blocks: Notes, Facts, Code, Verdicts, Mistakes, Listing or Figure, in their order; sections:
    those below.
    """

    title: str
    blocks: tuple[Any, ...] = ()
    sections: tuple[Section, ...] = field(default=())


@dataclass(frozen=True)
class Page:
    """title: as a heading. about: one line below it. lead: what has to be known before a figure is
    read (data, cuts).
    """

    title: str
    about: str
    name: str
    lead: tuple[Any, ...]
    sections: tuple[Section, ...]


def slug(text: str) -> str:
    """
    >>> slug("Score by length, réviews/2")
    'score-by-length-r-views-2'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "part"


def figures_of(page: Page) -> list[Figure]:
    """All figures, in the order of the page."""
    found: list[Figure] = []

    def walk(sections: Sequence[Section]) -> None:
        for section in sections:
            found.extend(block for block in section.blocks if isinstance(block, Figure))
            walk(section.sections)

    walk(page.sections)
    return found


def distinct(page: Page) -> Page:
    """The same page with no two figures of one name: names are made of words of users, which may
    differ in what a file name cannot hold.
    """
    seen: Counter[str] = Counter()

    def named(block: Any) -> Any:
        if not isinstance(block, Figure):
            return block
        seen[block.name] += 1
        return (
            block
            if seen[block.name] == 1
            else replace(block, name=f"{block.name}-{seen[block.name]}")
        )

    def walked(sections: Sequence[Section]) -> tuple[Section, ...]:
        return tuple(
            replace(
                section, blocks=tuple(map(named, section.blocks)), sections=walked(section.sections)
            )
            for section in sections
        )

    return replace(page, sections=walked(page.sections))


def render(page: Page) -> str:
    """The whole file."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    def kind(block: Any) -> str:
        return (
            "listing"
            if isinstance(block, Listing)
            else "figure"
            if isinstance(block, Figure)
            else block.kind
        )

    def drawing(figure: Figure) -> Markup:
        return Markup(
            inline(figure.svg, name=figure.name, title=figure.title, alt=figure.alt)
        )  # of matplotlib's escaping and inline's

    def link(figure: Figure) -> str:
        return (
            f"data:text/csv;charset=utf-8;base64,{base64.b64encode(figure.csv().encode()).decode()}"
        )

    environment = Environment(
        loader=FunctionLoader(
            lambda name: (resources.files("encore.report") / name).read_text(encoding="utf-8")
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_visible,
    )
    environment.filters |= {"kind": kind, "drawing": drawing, "link": link, "cell": _cell}
    style = Markup((resources.files("encore.report") / "page.css").read_text(encoding="utf-8"))
    return environment.get_template("page.html.j2").render(
        page=page, style=style, shown_rows=_SHOWN_ROWS, told_characters=_TOLD_CHARACTERS
    )


def _visible(value: Any) -> Any:
    """Characters that HTML cannot hold, shown as such; everything else to the letter."""
    return (
        re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", value)
        if type(value) is str
        else value
    )


def _cell(value: Any) -> str:
    """A number of a figure in four digits."""
    if value is None or value != value:
        return "–"
    return (
        f"{value:.4g}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )

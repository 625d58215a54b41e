"""A report as its reader's program sees it: elements, attributes, text; with the standard library's
parser.
"""

from __future__ import annotations

import base64
import csv
import io
from dataclasses import dataclass, field
from html.parser import HTMLParser

__all__ = ["Element", "csv_of", "parsed"]

_VOID = {"meta", "link", "br", "hr", "img", "input"}


@dataclass(repr=False, eq=False)
class Element:
    """text: of the element and of all below it."""

    tag: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    parts: list[str | Element] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(part if isinstance(part, str) else part.text for part in self.parts)

    def all(self, *tags: str) -> list[Element]:
        """Every element below of these names, in the order of the page; of all names if none is
        given.
        """
        found = []
        for child in self.children:
            if not tags or child.tag in tags:
                found.append(child)
            found += child.all(*tags)
        return found

    def one(self, tag: str) -> Element:
        (found,) = self.all(tag)
        return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attributes})
        assert len(element.attributes) == len(attributes), f"an attribute twice: {attributes}"
        self.open[-1].children.append(element)
        self.open[-1].parts.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].parts.append(data)


def parsed(html: str) -> Element:
    """The whole page. Every element has to be closed, in its order."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == [reader.root]
    return reader.root


def csv_of(page: Element, name: str) -> list[dict[str, str]]:
    """The numbers that a figure carries."""
    (figure,) = [one for one in page.all("figure") if one.attributes["id"] == name]
    (link,) = [one.attributes["href"] for one in figure.all("a")]
    assert link.startswith("data:text/csv;charset=utf-8;base64,")
    return list(csv.DictReader(io.StringIO(base64.b64decode(link.partition(",")[2]).decode())))

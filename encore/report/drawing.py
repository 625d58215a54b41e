"""Figures as SVG, by matplotlib: the same bytes for the same figure, text that stays text, and
colours that a page may change.

A figure exists twice: as a file of its own, in the colours of paper, and inside a page, where every
colour is a variable of the page's style sheet and so follows its light and its dark scheme.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "INK",
    "LINE",
    "MARKERS",
    "PAPER",
    "SERIES",
    "SOFT",
    "WIDTH",
    "cleaned",
    "described",
    "inline",
    "svg",
    "undescribed",
]

WIDTH = 4.6  # inches: 331 units, so that 10 units of text are 10 pixels on the narrowest telephone

# Okabe and Ito's palette, darkened to a contrast of 3:1 on white: distinguishable with any kind of
# colour vision. Markers differ too.
SERIES = ("#0072b2", "#c2500a", "#00795a", "#a8518a", "#7d6608", "#5b5f97")
MARKERS = ("o", "s", "^", "D", "v", "P")
INK, SOFT, LINE, PAPER = "#1b1f24", "#59636e", "#d4d9df", "#fffffe"
COLOURS = {INK: "ink", SOFT: "soft", LINE: "line", PAPER: "paper"} | {
    colour: f"series-{number}" for number, colour in enumerate(SERIES, 1)
}

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
ElementTree.register_namespace("", _SVG.strip("{}"))
ElementTree.register_namespace("xlink", _HREF.removesuffix("href").strip("{}"))
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_METADATA = ("Date", "Creator", "Format", "Type")  # that matplotlib would write
_LINES = {"stroke-linejoin": "round", "stroke-linecap": "butt"}  # matplotlib's style sheet

_FONTS = (
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Noto Sans', "
    "'DejaVu Sans', sans-serif"
)
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 10.0,
    "text.color": INK,
    "axes.unicode_minus": True,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.labelsize": 10.0,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
}


def svg(name: str, draw: Callable[[Figure], None], *, height: float) -> str:
    """The figure of WIDTH × height inches that `draw` fills, as an SVG file. It holds no date, no
    version and no address, and its ids depend on `name` alone.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    file = io.StringIO()
    with matplotlib.rc_context(), warnings.catch_warnings():
        # The fonts of this machine decide how wide a Chinese label is assumed to be; the reader's
        # browser has the glyphs all the same.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        matplotlib.rcdefaults()  # no matplotlibrc of this machine counts
        matplotlib.rcParams.update(_STYLE)
        matplotlib.rcParams["svg.hashsalt"] = name
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        draw(figure)
        FigureCanvasSVG(figure).print_svg(file, metadata=dict.fromkeys(_METADATA))
    return cleaned(file.getvalue())


def cleaned(text: str) -> str:
    """An SVG file of matplotlib's without metadata and comments, and with fonts that a reader
    has.
    """
    root = _parsed(text)
    _remove(root, "metadata")
    for element in root.iter():
        if "style" in element.attrib:
            element.set("style", element.attrib["style"].replace("'DejaVu Sans'", _FONTS))
    return _file(root)


def described(text: str, *, title: str, alt: str) -> str:
    """An SVG file with a title and a description, for readers who cannot see it."""
    root = _parsed(text)
    _describe(root, title, alt)
    return _file(root)


def undescribed(text: str) -> str:
    """The same file without its title and description."""
    root = _parsed(text)
    _remove(root, "title", "desc")
    for name in ("role", "aria-labelledby"):
        root.attrib.pop(name, None)
    return _file(root)


def inline(text: str, *, name: str, title: str, alt: str) -> str:
    """The same figure inside a page: colours as variables, ids of its own, a title and a
    description, and no address of any kind.
    """
    root = _parsed(text)
    root.attrib = {"viewBox": root.attrib["viewBox"], **_LINES}
    _remove(root, "title", "desc")
    _remove_style_sheet(root)
    used = set(_references(root))
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)  # HTML knows the elements without a namespace
        element.attrib = dict(_fitted(element.attrib, name, used))
    _describe(root, title, alt, prefix=f"{name}-", namespace="")
    return ElementTree.tostring(root, encoding="unicode")


def _fitted(
    attributes: Mapping[str, str], name: str, used: Collection[str]
) -> Iterator[tuple[str, str]]:
    """The attributes of an element with colours as variables and `name` in front of ids."""
    for key, value in attributes.items():
        if key == "id":
            if value in used:
                yield key, f"{name}-{value}"
        elif key == _HREF:  # an element of the drawing, or the data of an image
            yield "href", f"#{name}-{value[1:]}" if value.startswith("#") else value
        else:
            value = value.replace("url(#", f"url(#{name}-")
            for colour, variable in COLOURS.items():
                value = value.replace(colour, f"var(--{variable})")
            yield key, value


def _parsed(text: str) -> Element:
    """The root of an SVG file, without comments. Labels are words of users: characters that XML
    cannot hold are replaced.
    """
    return ElementTree.fromstring(_legal(text))


def _file(root: Element) -> str:
    ElementTree.indent(root, space=" ")
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _describe(
    root: Element, title: str, alt: str, *, prefix: str = "", namespace: str = _SVG
) -> None:
    """Put a title and a description first. prefix: of their ids."""
    root.set("role", "img")
    root.set("aria-labelledby", f"{prefix}title {prefix}desc")
    for place, (tag, words) in enumerate({"title": title, "desc": alt}.items()):
        element = Element(f"{namespace}{tag}", {"id": f"{prefix}{tag}"})
        element.text = _legal(words)
        root.insert(place, element)


def _remove(parent: Element, *tags: str) -> None:
    for tag in tags:
        for child in parent.findall(f"{_SVG}{tag}"):
            parent.remove(child)


def _remove_style_sheet(root: Element) -> None:
    """Remove matplotlib's style sheet, whose `*` would be everything on the page; the root has its
    rules as attributes.
    """
    for defs in root.findall(f"{_SVG}defs"):
        _remove(defs, "style")
        if not len(defs):
            root.remove(defs)


def _references(root: Element) -> Iterator[str]:
    """The ids that are referred to: `url(#id)` in an attribute, or `xlink:href="#id"`."""
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == _HREF and value.startswith("#"):
                yield value[1:]
            elif "url(#" in value:
                yield value.partition("url(#")[2].partition(")")[0]


def _legal(text: str) -> str:
    """The text with a sign in place of each character that XML cannot hold."""
    return _ILLEGAL.sub("\ufffd", text)

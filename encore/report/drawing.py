"""Figures as SVG, by matplotlib: the same bytes for the same figure, text that stays text, and
colours that a page may change.

A figure exists twice: as a file of its own, in the colours of paper, and inside a page, where every
colour is a variable of the page's style sheet and so follows its light and its dark scheme.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

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
    "inline",
    "svg",
]

WIDTH = 4.6  # inches: 331 units, so that 10 units of text are 10 pixels on the narrowest telephone

# Okabe and Ito's palette, darkened to a contrast of 3:1 on white: told apart with any kind of
# colour vision. Markers differ too.
SERIES = ("#0072b2", "#c2500a", "#00795a", "#a8518a", "#7d6608", "#5b5f97")
MARKERS = ("o", "s", "^", "D", "v", "P")
INK, SOFT, LINE, PAPER = "#1b1f24", "#59636e", "#d4d9df", "#fffffe"
COLOURS = {INK: "ink", SOFT: "soft", LINE: "line", PAPER: "paper"} | {
    colour: f"series-{number}" for number, colour in enumerate(SERIES, 1)
}

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
    """What `draw` puts on a figure of WIDTH × height inches, as a file. No date, no version, no
    address, ids that depend on `name` alone.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    file = io.StringIO()
    with matplotlib.rc_context(), warnings.catch_warnings():
        # Fonts of the machine decide how wide a Chinese label is thought to be; the reader's
        # browser has the glyphs all the same.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        matplotlib.rcdefaults()  # whatever a matplotlibrc of this machine says
        matplotlib.rcParams.update(_STYLE)
        matplotlib.rcParams["svg.hashsalt"] = name
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        draw(figure)
        FigureCanvasSVG(figure).print_svg(
            file, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return cleaned(file.getvalue())


def cleaned(text: str) -> str:
    """What matplotlib wrote without metadata and comments, and with fonts that a reader has."""
    text = re.sub(
        r"<metadata>.*?</metadata>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.S
    )
    text = _in_tags(text, lambda tag: tag.replace("'DejaVu Sans'", _FONTS))
    return "\n".join(line for line in (line.rstrip() for line in text.splitlines()) if line) + "\n"


def inline(text: str, *, name: str, title: str, alt: str) -> str:
    """The same figure inside a page: colours as variables, ids of its own, a title and a
    description, and no address of any kind.
    """
    text = re.sub(
        r'\s*<defs>\s*<style type="text/css">.*?</style>\s*</defs>', "", text, count=1, flags=re.S
    )  # `*{…}`: would be the whole page's
    used = set(re.findall(r'<[^>]*(?:url\(#|xlink:href="#)([^")]+)', text))

    def fitted(tag: str) -> str:
        tag = re.sub(
            r' id="([^"]*)"',
            lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "",
            tag,
        )
        tag = tag.replace("url(#", f"url(#{name}-").replace('xlink:href="#', f'href="#{name}-')
        for colour, variable in COLOURS.items():
            tag = tag.replace(colour, f"var(--{variable})")
        return tag

    text = _in_tags(text, fitted)
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    start = (
        f'<svg {box[0]} role="img" aria-labelledby="{name}-title {name}-alt" '
        f'stroke-linejoin="round" stroke-linecap="butt">'
    )
    told = (
        f'<title id="{name}-title">{escape(title)}</title><desc '
        f'id="{name}-alt">{escape(alt)}</desc>'
    )
    return re.sub(r"<svg\b[^>]*>", lambda _: start + told, text, count=1)


def _in_tags(text: str, change: Callable[[str], str]) -> str:
    """What stands between tags is words of users, which may look like anything; matplotlib escapes
    every < and > in them and in attributes.
    """
    return re.sub(r"<[^>]*>", lambda found: change(found[0]), text)

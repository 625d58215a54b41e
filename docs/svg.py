"""Boxes, arrows and labels as SVG: the same bytes for the same picture, in light and in dark.

A picture has a ground of its own, so that it can be read on any page, whatever scheme that has.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["KINDS", "Picture", "height_of"]

# What a box stands for → how a legend says it. Borders tell them apart without colour, too.
KINDS = {
    "plain": "an operation without new weights",
    "read": "a state that is read",
    "idle": "a state that is not read",
    "shared": "weights that several tasks share",
    "own": "weights of one task",
    "new": "new weights",
    "frozen": "weights that never train",
}
_LIGHT = {
    "ink": "#1b1f24",
    "soft": "#59636e",
    "ground": "#ffffff",
    "plain": "#eef1f4",
    "read": "#b9dcf2",
    "idle": "#f6f7f9",
    "shared": "#bfe6d3",
    "own": "#f8d9bd",
    "new": "#f4c9df",
    "frozen": "#dcdce2",
}
_DARK = {
    "ink": "#eceff3",
    "soft": "#a3adb8",
    "ground": "#15191e",
    "plain": "#272e36",
    "read": "#12507c",
    "idle": "#1c2127",
    "shared": "#12573f",
    "own": "#70401a",
    "new": "#6d2c52",
    "frozen": "#3a3e46",
}
_BORDERS = {"new": "stroke-width:2", "frozen": "stroke-dasharray:4 3", "idle": "stroke-opacity:.35"}


def _style() -> str:
    def colours(of: dict[str, str]) -> str:
        rules = [f".ground{{fill:{of['ground']}}}", f"text,.head{{fill:{of['ink']}}}"]
        rules += [f".soft{{fill:{of['soft']}}}", f".line{{stroke:{of['soft']}}}"]
        rules += [f".{kind}{{fill:{of[kind]};stroke:{of['soft']}}}" for kind in KINDS]
        return "".join(rules)

    fonts = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
    text = f"text{{font:12px {fonts};text-anchor:middle}}.title{{font-weight:600;font-size:13px}}"
    borders = "".join(f".{kind}{{{rule}}}" for kind, rule in _BORDERS.items())
    dark = f"@media (prefers-color-scheme:dark){{{colours(_DARK)}}}"
    return f"<style>{text}.left{{text-anchor:start}}{borders}{colours(_LIGHT)}{dark}</style>"


class Picture:
    """A picture of width × height units; y grows downwards. about: for who cannot see it."""

    def __init__(self, about: str, width: float, height: float) -> None:
        self.about, self.width, self.height = about, width, height
        self.parts: list[str] = []

    def box(
        self, x: float, y: float, width: float, height: float, text: str = "", kind: str = "plain"
    ) -> None:
        """A box with its upper left corner at (x, y), and lines of text in its middle."""
        size = f'width="{_n(width)}" height="{_n(height)}"'
        self.parts.append(f'<rect class="{kind}" x="{_n(x)}" y="{_n(y)}" {size} rx="4"/>')
        lines = text.split("\n") if text else []
        for number, line in enumerate(lines):
            below = 15 * (number - (len(lines) - 1) / 2)
            self.label(x + width / 2, y + height / 2 + 4 + below, line)

    def label(self, x: float, y: float, text: str, kind: str = "") -> None:
        """A line of text around x, on the line y; kind: title, soft, left."""
        name = f' class="{kind}"' if kind else ""
        self.parts.append(f'<text{name} x="{_n(x)}" y="{_n(y)}">{escape(text)}</text>')

    def arrow(self, *points: tuple[float, float], head: bool = True) -> None:
        """A line through the points, with a head at the last one."""
        way = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        end = ' marker-end="url(#head)"' if head else ""
        self.parts.append(f'<polyline class="line" points="{way}"{end}/>')

    def stack(
        self,
        x: float,
        y: float,
        width: float,
        boxes: Sequence[tuple[str, str]],
        *,
        enter: bool = True,
    ) -> list[float]:
        """Boxes (text, kind) one above the other, from y upwards, an arrow below each (`enter`:
        below the first, too); a box grows with its lines. The upper edge of each.
        """
        tops = [y]
        for text, kind in boxes:
            if enter or len(tops) > 1:
                self.arrow((x + width / 2, tops[-1]), (x + width / 2, tops[-1] - 12))
            tops.append(tops[-1] - height_of(text))
            self.box(x, tops[-1], width, height_of(text) - 14, text, kind)
        return tops[1:]

    def legend(self, x: float, y: float, kinds: Sequence[str]) -> None:
        """The meaning of the kinds of boxes, in a row."""
        for kind in kinds:
            self.box(x, y - 11, 14, 14, kind=kind)
            self.label(x + 20, y, KINDS[kind], "left soft")
            x += 40 + 6.2 * len(KINDS[kind])

    def svg(self) -> str:
        """The file's text."""
        size = f"{_n(self.width)} {_n(self.height)}"
        marker = (
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path class="head" d="M0 0L8 4L0 8z"/></marker></defs>'
        )
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" '
            f'width="{_n(self.width)}" height="{_n(self.height)}" role="img">'
            f"<title>{escape(self.about)}</title>{_style()}{marker}"
            f'<rect class="ground" width="{_n(self.width)}" height="{_n(self.height)}" rx="6"/>'
        )
        lines = [part.replace("<polyline ", '<polyline fill="none" ') for part in self.parts]
        return head + "\n" + "\n".join(lines) + "\n</svg>\n"


def height_of(text: str) -> float:
    """Of a box in a stack, with the arrow below it."""
    return 40 + 15 * text.count("\n")


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")

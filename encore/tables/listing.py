"""A table before it is drawn, as plain text or with rich."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from encore.errors import printable

if TYPE_CHECKING:
    from rich.console import Console, Group

__all__ = ["Listing", "show", "show_all"]
_LONG_WORD = 16


# ------------------------------------------------------------------------------------------- tables


@dataclass(frozen=True)
class Listing:
    """A table before it is drawn: `str(listing)` is plain text, `console.print(listing)` draws it
    with rich, `show` takes what fits the output.

    numeric: columns that are set flush right. Plain text is not left to a wide rich console: that
    took 2.0 s instead of 0.06 s for 5,000 rows, and broke lines at characters of users' texts.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    numeric: frozenset[int] = frozenset()

    def __str__(self) -> str:
        from rich.cells import cell_len

        shown = self._shown()
        lines = [shown.columns, *shown.rows]
        widths = [
            max(cell_len(line[column]) for line in lines) for column in range(len(self.columns))
        ]
        drawn = []
        for line in lines:
            cells = [
                " " * (width - cell_len(cell)) + cell
                if column in self.numeric
                else cell + " " * (width - cell_len(cell))
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            drawn.append("  ".join(cells).rstrip())
        return "\n".join([*([shown.title] if shown.title else []), *drawn, *shown.notes])

    def _shown(self) -> Listing:
        """The table without characters that would act on a terminal."""
        return replace(
            self,
            title=printable(self.title),
            columns=tuple(map(printable, self.columns)),
            rows=tuple(tuple(map(printable, row)) for row in self.rows),
            notes=tuple(map(printable, self.notes)),
        )

    def __rich__(self) -> Group:
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        shown = self._shown()
        table = Table(
            title=Text(shown.title) if shown.title else None,
            title_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            collapse_padding=True,
        )
        for column, (name, least) in enumerate(
            zip(shown.columns, _least_widths(shown), strict=True)
        ):
            justify: Literal["left", "right"] = "right" if column in self.numeric else "left"
            table.add_column(
                Text(name), justify=justify, overflow="fold", no_wrap=column == 0, min_width=least
            )
        for row in shown.rows:
            table.add_row(*(Text(cell) for cell in row))
        return Group(table, *(Text(note, style="dim") for note in shown.notes))


def show(listing: Listing, console: Console) -> None:
    """Draw it on a terminal that is wide enough for its words; elsewhere write plain lines, as long
    as they need to be (rich would cut them).
    """
    if console.is_terminal and sum(width + 2 for width in _least_widths(listing)) < console.width:
        console.print(listing)
    else:
        console.file.write(f"{listing}\n")


def show_all(listings: Sequence[Listing]) -> None:
    """On standard output, with an empty line between two."""
    from rich.console import Console

    console = Console()
    for number, listing in enumerate(listings):
        if number:
            print()
        show(listing, console)


def _least_widths(listing: Listing) -> list[int]:
    """Characters of each column in which no word is cut, but for the very long ones of texts and
    paths; the first column is never wrapped.
    """
    from rich.cells import cell_len

    first, *others = zip(listing.columns, *listing.rows, strict=True)
    return [
        max(map(cell_len, first)),
        *(
            min(_LONG_WORD, max(cell_len(word) for cell in cells for word in (*cell.split(), "")))
            for cells in others
        ),
    ]

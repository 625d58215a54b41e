"""A figure: its drawing, its numbers and its words."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

from encore.data.spreadsheet import text_cells

__all__ = ["Figure"]


@dataclass(frozen=True)
class Figure:
    """name: of its files. alt: a description for readers who cannot see it. caption: how to read
    it. columns, rows: the numbers. svg: a whole file.
    """

    name: str
    title: str
    alt: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    svg: str

    def csv(self) -> str:
        """The numbers with every digit; the cell of a missing one is empty."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(text_cells(self.columns))
        writer.writerows(
            [
                text_cells("" if cell is None or cell != cell else cell for cell in row)
                for row in self.rows
            ]
        )
        return out.getvalue()

"""The columns that hold the parts of an example, and the labels' meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from encore.data.label_cells import is_label_type
from encore.data.table import Table, reject_all
from encore.errors import DataError, Problem
from encore.types import LabelSpace, Note, TaskKind

__all__ = ["Columns", "holds_text", "require_label", "require_text"]


@dataclass(frozen=True)
class Columns:
    """The columns of a table that make an example, and what its labels mean.

    label: None in an unlabelled task. negative: None where there are no texts that do not belong to
    the first one. labels: the names in the order of the score columns; () for
    regression. cells: what a label cell may hold → index of its name. notes: what was inferred.
    separator: between the labels of a cell. merge_labels: spellings that differ in capitals and
    blanks are one label. group: the column whose rows belong together; None where each stands
    alone.
    """

    text: str
    text_pair: str | None
    label: str | None
    kind: TaskKind
    labels: tuple[str, ...] = ()
    ordered: bool = False
    cells: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    separator: str = ";"
    merge_labels: bool = False
    negative: str | None = None
    group: str | None = None

    @property
    def space(self) -> LabelSpace:
        """The labels as the model sees them."""
        return LabelSpace(self.kind, self.labels, self.ordered)


def holds_text(table: Table, name: str) -> bool:
    """True if a column holds strings."""
    kind = table.columns[name].type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def require_text(table: Table, text: str | None, text_pair: str | None = None) -> None:
    """Raise DataError where one of these columns holds anything but text."""
    given: Sequence[tuple[str, str | None]] = (("text", text), ("text_pair", text_pair))
    problems = [
        Problem(
            where=table.name,
            message=f"column '{name}' holds {table.columns[name].type}, expected text.",
            remedy="Name another column:",
            setting=f"data.{setting}",
            change="NAME",
        )
        for setting, name in given
        if name is not None and not holds_text(table, name)
    ]
    if problems:
        reject_all(problems)


def require_label(table: Table, name: str) -> None:
    """Raise DataError where a column holds what cannot be labels."""
    kind = table.columns[name].type
    if not is_label_type(kind):
        raise DataError(
            Problem(
                where=table.name,
                message=f"column '{name}' holds {kind}, expected words, numbers, or lists of "
                f"words.",
                remedy="Name another column:",
                setting="data.label",
                change="NAME",
            )
        )

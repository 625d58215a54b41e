"""The table of two models on the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from encore import catalogue
from encore.evaluation.paired import PairedDifference
from encore.tables.formatting import format_difference, format_value, shorten
from encore.tables.listing import Listing
from encore.types import Form

__all__ = ["classes_table", "paired_table"]


_MOST_CLASSES = 12


def paired_table(
    differences: Mapping[str, PairedDifference],
    *,
    names: tuple[str, str],
    title: str,
    notes: Sequence[str] = (),
) -> Listing:
    """One line per metric: both values, their difference with its interval, and the verdict. names:
    of the other model and of the one that is judged, in this order.
    """
    rows, remarks = [], list(notes)
    for name, found in differences.items():
        metric = catalogue.find("metrics", name)
        rows.append((metric.title, *_cells(found, metric.form)))
        remarks += [f"{metric.title}: {note}." for note in found.notes]
    remarks.append(
        "[low, high]: 95 % paired bootstrap interval over the rows, or over groups where rows "
        "belong together; the verdict is about these two models on more rows like these, not about "
        "other seeds."
    )
    return Listing(
        title,
        ("metric", *names, "difference", "verdict"),
        tuple(rows),
        tuple(dict.fromkeys(remarks)),
        frozenset({1, 2, 3}),
    )


def classes_table(
    differences: Mapping[str, PairedDifference], n_rows: Mapping[str, int], *, title: str
) -> Listing:
    """One line per class, those that lost most first: its rows, the share found (F1 of a label)
    before and now, the difference with its interval, and the verdict.
    """
    worst = sorted(differences, key=lambda name: differences[name].delta)
    notes = [f"{shorten(name, 30)}: {note}." for name in worst for note in differences[name].notes]
    if len(worst) > _MOST_CLASSES:
        notes = [f"the {_MOST_CLASSES} of {len(worst)} classes that lost most."]
    return Listing(
        title,
        ("class", "rows", "before", "now", "difference", "verdict"),
        tuple(
            (
                shorten(name, 30),
                f"{n_rows[name]:,}",
                *_cells(differences[name], "percent"),
            )
            for name in worst[:_MOST_CLASSES]
        ),
        tuple(notes),
        frozenset({1, 2, 3, 4}),
    )


def _cells(found: PairedDifference, form: Form) -> tuple[str, ...]:
    """The other value, the value, the difference with its interval, and the verdict."""
    low, high = (format_difference(end, form) for end in (found.low, found.high))
    return (
        *(format_value(value, form) for value in (found.other, found.value)),
        f"{format_difference(found.delta, form)} [{low}, {high}]",
        found.verdict,
    )

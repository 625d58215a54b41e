"""The table of two models on the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from encore import catalogue
from encore.evaluation.paired import PairedDifference
from encore.tables.formatting import format_difference, format_value
from encore.tables.listing import Listing

__all__ = ["paired_table"]


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
        low, high = (format_difference(end, metric.form) for end in (found.low, found.high))
        rows.append(
            (
                metric.title,
                *(format_value(value, metric.form) for value in (found.other, found.value)),
                f"{format_difference(found.delta, metric.form)} [{low}, {high}]",
                found.verdict,
            )
        )
        remarks += [f"{metric.title}: {note}." for note in found.notes]
    remarks.append(
        "[low, high]: 95 % paired bootstrap interval over the rows; the verdict is about these two "
        "models on more rows like these, not about other seeds."
    )
    return Listing(
        title,
        ("metric", *names, "difference", "verdict"),
        tuple(rows),
        tuple(dict.fromkeys(remarks)),
        frozenset({1, 2, 3}),
    )

"""The table of a decision beside the model without it."""

from __future__ import annotations

from collections.abc import Sequence

from encore import catalogue
from encore.evaluation.decision_figures import DecisionFigures
from encore.tables.formatting import format_difference, format_estimate
from encore.tables.listing import Listing

__all__ = ["decision_table"]

_INTERVALS = (
    "[low, high]: 95 % bootstrap interval over the {drawn}. Metrics count the label that "
    "abstention withholds too; covered: the rows with a label."
)


def decision_table(figures: DecisionFigures, *, title: str, notes: Sequence[str] = ()) -> Listing:
    """One line per metric, without the decision and with it; then the share of rows with a label
    and the share of these that is right, where the decision abstains.
    """
    rows: list[tuple[str, ...]] = []
    for name, found in figures.differences.items():
        metric = catalogue.find("metrics", name)
        low, high = (format_difference(end, metric.form) for end in (found.low, found.high))
        rows.append(
            (
                metric.title,
                format_estimate(figures.plain[name], metric.form),
                format_estimate(figures.decided[name], metric.form),
                f"{format_difference(found.delta, metric.form)} [{low}, {high}]",
                found.verdict,
            )
        )
    if figures.coverage.value < 1:
        accuracy = figures.accuracy
        right = "–" if accuracy is None else format_estimate(accuracy, "percent")
        rows.append(("covered", "", format_estimate(figures.coverage, "percent"), "", ""))
        rows.append(("right where covered", "", right, "", ""))
    return Listing(
        title,
        (f"{figures.n_rows:,} rows", "without", "with", "difference", "verdict"),
        tuple(rows),
        (
            *(f"{note}." for note in notes),
            _INTERVALS.format(drawn="groups" if figures.grouped else "rows"),
        ),
        frozenset({1, 2, 3}),
    )

"""The figures of a search as tables: the best configuration, and what it reaches on fresh seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from encore import catalogue
from encore.evaluation.estimates import Estimate
from encore.evaluation.intervals import for_these_rows
from encore.evaluation.metric import Form
from encore.tables.comparison import SOURCE, study_title
from encore.tables.formatting import format_estimate, format_setting, format_value
from encore.tables.listing import Listing

__all__ = ["search_tables"]


def search_tables(results: Mapping[str, Any]) -> list[Listing]:
    """The best configuration with importances; then one table per task and dev set with what it
    reaches on fresh seeds.
    """
    best, trials, shares = results["best"], results["trials"], results["importances"]
    rows = [
        (
            path,
            format_setting(value),
            f"{shares['values'][path]:.2f}" if path in shares["values"] else "–",
        )
        for path, value in best["params"].items()
    ]
    order = list(shares["values"])
    rows.sort(key=lambda row: order.index(row[0]) if row[0] in order else len(order))
    counts = ", ".join(
        f"{trials[name]} {word}"
        for name, word in (("complete", "complete"), ("pruned", "given up"), ("failed", "failed"))
        if trials[name]
    )
    notes = [
        f"importance: "
        f"{shares['why'] or 'share of the variance of complete trials, by ' + shares['by']}"
    ]
    title = f"best of {trials['asked']} trials ({counts}): trial {best['trial']}"
    found = [
        Listing(title, ("setting", "best", "importance"), tuple(rows), tuple(notes), frozenset({2}))
    ]
    return found + [
        _fresh(each, results, first=number == 0)
        for number, each in enumerate(results["fresh"]["studies"])
    ]


def _fresh(each: Mapping[str, Any], results: Mapping[str, Any], *, first: bool) -> Listing:
    """first: whether the tuned figure is of this task and this dev set. Of several tasks it is a
    mean, which is no metric's: a note has it.
    """
    seeds, best, rows = results["fresh"]["seeds"], results["best"], []
    several = len({other["task"] for other in results["fresh"]["studies"]}) > 1
    for number, metric in enumerate(each["metrics"]):
        kind, (row,) = catalogue.find("metrics", metric["metric"]), metric["variants"]
        tuned = (
            format_value(best["value"], kind.form) if first and number == 0 and not several else "–"
        )
        sd = format_value(row["sd"], kind.form)
        rows.append(
            (kind.title, _mean(row, kind.form), sd, tuned, format_value(row["expected"], kind.form))
        )
    which = (
        f"seed{'s' if len(results['trial_seeds']) > 1 else ''} "
        f"{', '.join(map(str, results['trial_seeds']))}"
    )
    mean = f"{best['value']:.4f}, {results['deciding']}; " if several else ""
    about = (
        "mean, its 95 % interval for new seeds, sample standard deviation"
        if len(seeds) > 1
        else "one says nothing about other seeds"
    )
    notes = [
        f"fresh seed{'s' if len(seeds) > 1 else ''}: {', '.join(map(str, seeds))}; {about}. "
        f"These are the figures to quote.",
        f"tuned: {mean}trial {best['trial']}, {which}. "
        "Optimistic: the best of many, on the very rows and seeds that chose it.",
        "The rows are those that chose, with fresh seeds too: only rows that no trial was "
        "measured on (data.test) are free of that.",
        *([SOURCE] if any(row[-1] != "–" for row in rows) else []),
        *each["notes"],
    ]
    title = (
        f"{study_title(each)}, {each['set']} ({each['rows']:,} rows), {len(seeds)} fresh "
        f"seed{'s' if len(seeds) > 1 else ''}"
    )
    return Listing(
        title,
        ("metric", "fresh seeds", "sd", "tuned", "source"),
        tuple(rows),
        tuple(notes),
        frozenset({1, 2, 3, 4}),
    )


def _mean(row: Mapping[str, Any], form: Form) -> str:
    """With its interval, where there are several values."""
    if len(row["values"]) < 2:
        return format_value(row["mean"], form)
    low, high = for_these_rows(np.array(row["values"])).interval()
    return format_estimate(Estimate(row["mean"], float(low), float(high)), form)

"""The figures of a search as tables: the best configuration, and what it reaches on fresh seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from encore import catalogue
from encore.compare_tables import SOURCE
from encore.evaluate import Estimate, Listing, figure
from encore.intervals import for_these_rows

__all__ = ["listings", "words"]


def words(value: Any) -> str:
    """A setting's value: a number with three figures."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def listings(results: Mapping[str, Any]) -> list[Listing]:
    """The best configuration with importances; then one table per task and dev set with what it reaches on fresh seeds."""
    best, trials, shares = results["best"], results["trials"], results["importances"]
    rows = [(path, words(value), f"{shares['values'][path]:.2f}" if path in shares["values"] else "–") for path, value in best["params"].items()]
    order = list(shares["values"])
    rows.sort(key=lambda row: order.index(row[0]) if row[0] in order else len(order))
    counts = ", ".join(f"{trials[name]} {word}" for name, word in (("complete", "complete"), ("pruned", "given up"), ("failed", "failed")) if trials[name])
    notes = [f"importance: {shares['why'] or 'share of the variance of complete trials, by ' + shares['by']}"]
    title = f"best of {trials['asked']} trials ({counts}): trial {best['trial']}"
    found = [Listing(title, ("setting", "best", "importance"), tuple(rows), tuple(notes), frozenset({2}))]
    for each in results["fresh"]["studies"]:
        found.append(_fresh(each, results, first=each is results["fresh"]["studies"][0]))
    return found


def _fresh(each: Mapping[str, Any], results: Mapping[str, Any], *, first: bool) -> Listing:
    seeds, best, rows = results["fresh"]["seeds"], results["best"], []
    for number, metric in enumerate(each["metrics"]):
        kind, (row,) = catalogue.find("metrics", metric["metric"]), metric["variants"]
        scale, digits = (100, 1) if kind.form == "percent" else (1, 3)
        mean, sd, tuned = "–", "–", "–"
        if row["values"]:
            low, high = for_these_rows(np.array(row["values"])).interval() if len(row["values"]) > 1 else (row["mean"], row["mean"])
            mean = figure(Estimate(row["mean"], float(low), float(high), ()), kind.form)
            sd = "–" if row["sd"] is None else f"{scale * row['sd']:.{digits}f}"
        if first and number == 0:
            tuned = f"{scale * best['value']:.{digits}f}"
        source = "–" if row["expected"] is None else f"{scale * row['expected']:.{digits}f}"
        rows.append((kind.title, mean, sd, tuned, source))
    which = f"seed{'s' if len(results['trial_seeds']) > 1 else ''} {', '.join(map(str, results['trial_seeds']))}"
    notes = [
        f"fresh seeds: {', '.join(map(str, seeds))}; mean, its 95 % interval for new seeds, sample standard deviation. These are the figures to quote.",
        f"tuned: trial {best['trial']}, {which}. Optimistic: the best of many, on the very rows and seeds that chose it.",
        "The rows are those that chose, with fresh seeds too: only rows that no trial was measured on (data.test) are free of that.",
        *([SOURCE] if any(row[-1] != "–" for row in rows) else []),
        *each["notes"],
    ]
    title = f"{each['study']}, {each['set']} ({each['rows']:,} rows), {len(seeds)} fresh seed{'s' if len(seeds) > 1 else ''}"
    return Listing(title, ("metric", "fresh seeds", "sd", "tuned", "source"), tuple(rows), tuple(notes), frozenset({1, 2, 3, 4}))

"""The table of a cross-validation: every fold, their mean and spread, and all rows."""

from __future__ import annotations

import statistics

from encore import catalogue
from encore.data.table import plural
from encore.evaluation.fold_record import FoldsRecord
from encore.tables.formatting import format_estimate, format_mean_sd
from encore.tables.listing import Listing

__all__ = ["folds_table"]

_FEW = 30  # rows or groups


def folds_table(record: FoldsRecord) -> Listing:
    """A line per fold and baseline, and one of all rows out of fold; footnotes say what the figures
    do not.
    """
    metrics = [catalogue.find("metrics", name) for name in record.metrics]
    n_folds = len(record.folds)
    rows = [
        (
            f"fold {number}",
            f"{fold.n_rows:,}",
            *(
                format_estimate(fold.estimates[name], metric.form)
                for name, metric in zip(record.metrics, metrics, strict=True)
            ),
        )
        for number, fold in enumerate(record.folds, 1)
    ]
    for who in ("model", *dict.fromkeys(who for fold in record.folds for who in fold.baselines)):
        spread = []
        for name, metric in zip(record.metrics, metrics, strict=True):
            found = record.of_folds(name) if who == "model" else record.baseline(who, name)
            mean = statistics.fmean(found) if found else None
            sd = statistics.stdev(found) if len(found) > 1 else None
            spread.append(format_mean_sd(mean, sd, metric.form))
        of = "" if who == "model" else f", {who}"
        rows.append((f"mean ± sd of the folds{of}", "", *spread))
    pooled = (
        format_estimate(record.out_of_fold[name], metric.form)
        for name, metric in zip(record.metrics, metrics, strict=True)
    )
    rows.append(("all rows, out of fold", f"{record.n_rows:,}", *pooled))
    return Listing(
        f"{record.task}: cross-validation in {n_folds} folds",
        ("scored by the run that did not train on it", "rows", *(one.title for one in metrics)),
        tuple(rows),
        (*_how(record), *record.notes),
        frozenset(range(1, 2 + len(metrics))),
    )


def _how(record: FoldsRecord) -> tuple[str, ...]:
    over = (
        f"the {record.n_rows:,} rows"
        if record.n_groups is None
        else f"the {plural(record.n_groups, 'group')} of '{record.group}'"
    )
    few = []
    if record.n_groups is not None and record.n_groups < _FEW:
        few.append(f"{record.n_groups} groups are too few for an interval to be trusted.")
    elif record.n_rows < _FEW:
        few.append(f"{record.n_rows} rows are too few for an interval to be trusted.")
    return (
        "The folds share most of their training rows, so their figures are not independent: the sd "
        "is their spread, and no interval follows from it.",
        f"all rows, out of fold: [low, high] is a 95 % bootstrap interval over {over}. It says "
        f"what other rows would change, not what other training rows or another seed would.",
        *few,
    )

"""The figures of a search as tables: the best configuration, and what it reaches on fresh seeds."""

from __future__ import annotations

from encore import catalogue
from encore.evaluation.claims import FEWEST_SEEDS, not_judged
from encore.evaluation.comparison_record import StudyResult, VariantResult
from encore.evaluation.estimates import Estimate
from encore.evaluation.metric import Metric
from encore.evaluation.search_record import SearchRecord
from encore.evaluation.seed_means import mean_interval
from encore.tables.comparison import SOURCE
from encore.tables.formatting import format_estimate, format_setting, format_value
from encore.tables.listing import Listing

__all__ = ["search_tables"]


def search_tables(record: SearchRecord) -> list[Listing]:
    """The best configuration with importances; then one table per task and dev set with what it
    reaches on fresh seeds.
    """
    fresh = record.fresh.studies
    return [
        _best(record),
        *(_fresh(each, record, first=number == 0) for number, each in enumerate(fresh)),
    ]


def _best(record: SearchRecord) -> Listing:
    shares, trials = record.importances, record.trials
    order = list(shares.values)
    params = sorted(
        record.best.params.items(),
        key=lambda item: order.index(item[0]) if item[0] in shares.values else len(order),
    )
    rows = tuple(
        (
            path,
            format_setting(value),
            f"{shares.values[path]:.2f}" if path in shares.values else "–",
        )
        for path, value in params
    )
    ends = ((trials.complete, "complete"), (trials.pruned, "pruned"), (trials.failed, "failed"))
    counts = ", ".join(f"{n} {word}" for n, word in ends if n)
    by = shares.why or f"share of the variance of complete trials, by {shares.by}"
    title = f"best of {trials.requested} trials ({counts}): trial {record.best.trial}"
    columns = ("setting", "best", "importance")
    return Listing(title, columns, rows, (f"importance: {by}",), frozenset({2}))


def _fresh(each: StudyResult, record: SearchRecord, *, first: bool) -> Listing:
    """The fresh seeds of one dev set. first: whether the tuned figure is of this task and this dev
    set. Of several tasks it is a mean, which is no metric's: a note has it.
    """
    several = len({other.task for other in record.fresh.studies}) > 1
    rows = []
    for number, metric in enumerate(each.metrics):
        kind, (row,) = catalogue.find("metrics", metric.metric), metric.variants
        tuned = record.best.value if first and number == 0 and not several else None
        rows.append(
            (
                kind.title,
                _mean(row, kind),
                format_value(row.sd, kind.form),
                format_value(tuned, kind.form),
                format_value(row.expected, kind.form),
            )
        )
    n_seeds = len(record.fresh.seeds)
    title = (
        f"{each.title}, {each.dev_set} ({each.n_rows:,} rows), {n_seeds} fresh "
        f"seed{'s' if n_seeds > 1 else ''}"
    )
    source = [SOURCE] if any(row[-1] != "–" for row in rows) else []
    notes = (*_how_to_read(record, several=several), *source, *each.notes)
    columns = ("metric", "fresh seeds", "sd", "tuned", "source")
    return Listing(title, columns, tuple(rows), notes, frozenset({1, 2, 3, 4}))


def _how_to_read(record: SearchRecord, *, several: bool) -> tuple[str, ...]:
    seeds, trial_seeds, best = record.fresh.seeds, record.trial_seeds, record.best
    which = f"seed{'s' if len(trial_seeds) > 1 else ''} {', '.join(map(str, trial_seeds))}"
    mean = f"{best.value:.4f}, {record.deciding}; " if several else ""
    about = (
        "mean, its 95 % interval for new seeds, sample standard deviation"
        if len(seeds) >= FEWEST_SEEDS
        else f"{not_judged(len(seeds))}, an interval needs {FEWEST_SEEDS}"
    )
    return (
        f"fresh seed{'s' if len(seeds) > 1 else ''}: {', '.join(map(str, seeds))}; {about}. "
        f"These are the figures to quote.",
        f"tuned: {mean}trial {best.trial}, {which}. "
        "Optimistic: the best of many, on the very rows and seeds that chose it.",
        "With fresh seeds, too, these rows chose the configuration; only rows that no trial was "
        "measured on (data.test) are free of that.",
    )


def _mean(row: VariantResult, metric: Metric) -> str:
    """With its interval, where there are seeds enough for one."""
    found = mean_interval(row.values, metric.bounds)
    if row.mean is None or found is None:
        return format_value(row.mean, metric.form)
    return format_estimate(Estimate(row.mean, found.low, found.high), metric.form)

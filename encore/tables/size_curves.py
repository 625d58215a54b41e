"""Score against the number of training rows, where the studies of a comparison differ in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from encore import catalogue
from encore.evaluation.claims import FEWEST_SEEDS
from encore.evaluation.comparison_record import ComparisonRecord, MetricResult
from encore.evaluation.metric import Form, Metric
from encore.tables.formatting import format_difference, format_interval, format_mean
from encore.tables.listing import Listing

__all__ = ["SizeCurve", "size_curves", "size_tables"]

_SIZE = "data.train_rows"


@dataclass(frozen=True)
class SizeCurve:
    """One metric of a task on one dev set over two sizes or more. label: the task, and the other
    settings of its studies. sizes: training rows → the metric of all variants, ascending.
    """

    label: str
    dev_set: str | None
    metric: str
    sizes: dict[int, MetricResult]


def size_curves(record: ComparisonRecord) -> list[SizeCurve]:
    """One curve for each task, dev set and metric that was measured at several sizes."""
    groups: dict[tuple[str, str | None, str], list[tuple[int, MetricResult]]] = {}
    for each in record.studies:
        if _SIZE not in each.point:
            continue
        rest = [f"{key}={value}" for key, value in each.point.items() if key not in ("task", _SIZE)]
        label = " ".join([each.task, *rest])
        for metric in each.metrics:
            sizes = groups.setdefault((label, each.dev_set, metric.metric), [])
            sizes.append((each.point[_SIZE], metric))
    return [
        SizeCurve(*key, dict(sorted(sizes, key=lambda pair: pair[0])))
        for key, sizes in groups.items()
        if len(sizes) > 1
    ]


def size_tables(record: ComparisonRecord) -> Iterator[Listing]:
    """A table for each curve: a line per size with the mean of every variant, and the difference
    of each from the reference.
    """
    others = [name for name in record.variants if name != record.reference]
    columns = ("training rows", record.reference, *others, *(f"Δ {name}" for name in others))
    note = (
        "[low, high]: 95 % intervals, of a mean for new seeds, of a difference Δ for new examples "
        f"too; none below {FEWEST_SEEDS} seeds."
    )
    for curve in size_curves(record):
        kind = catalogue.find("metrics", curve.metric)
        rows = tuple(
            (
                f"{size:,}",
                *(_mean(metric, name, kind) for name in (record.reference, *others)),
                *(_difference(metric, name, kind.form) for name in others),
            )
            for size, metric in curve.sizes.items()
        )
        title = f"{curve.label}, {curve.dev_set}, {kind.title}, by training rows"
        yield Listing(title, columns, rows, (note,), frozenset(range(len(columns))))


def _mean(metric: MetricResult, variant: str, kind: Metric) -> str:
    row = metric.variant(variant)  # None where it has left a race
    return format_mean(row.values if row else (), kind)


def _difference(metric: MetricResult, variant: str, form: Form) -> str:
    row = metric.variant(variant)
    if row is None or row.contrast is None:
        return "–"
    delta = format_difference(row.contrast.delta, form)
    return f"{delta} {format_interval(row.contrast.new_examples, form)}"

"""The figures of a comparison as tables for a terminal or a report."""

from __future__ import annotations

from collections.abc import Iterator

from encore import catalogue
from encore.evaluation.comparison_record import (
    ComparisonRecord,
    MetricResult,
    StudyResult,
    VariantResult,
)
from encore.evaluation.metric import Form
from encore.tables.ensembles import ensemble_rows
from encore.tables.formatting import (
    format_difference,
    format_interval,
    format_mean_sd,
    format_value,
)
from encore.tables.listing import Listing
from encore.tables.sequences import sequence_tables
from encore.tables.size_curves import size_tables
from encore.tables.task_tables import task_tables
from encore.tables.verdicts import (
    beside_source,
    collapsed_runs,
    failed_runs,
    probabilities_in_words,
    race_in_words,
    remarks,
    stability_in_words,
)

__all__ = ["SOURCE", "comparison_tables", "reading_notes"]

SOURCE = (
    "source: the figures of the paper, or whatever else the recipe's source is, in its own setting"
)


def comparison_tables(record: ComparisonRecord) -> list[Listing]:
    """One table per study, dev set and metric, with the verdicts in words below it; then those
    over all tasks.
    """
    found = [
        _metric_table(each, metric, record) for each in record.studies for metric in each.metrics
    ]
    found += [_not_applicable(each) for each in record.studies if not each.metrics]
    found += size_tables(record)
    found += sequence_tables(record.sequences)
    found += ensemble_rows(record.ensembles)
    return [*found, *task_tables(record)]


def _not_applicable(each: StudyResult) -> Listing:
    reasons = tuple(f"{name}: {why}" for name, why in each.not_applicable.items() if why)
    return Listing(f"{each.study}: not applicable", (), (), reasons)


def _metric_table(each: StudyResult, metric: MetricResult, record: ComparisonRecord) -> Listing:
    kind = catalogue.find("metrics", metric.metric)
    n_seeds = f"{len(record.seeds)} seed{'s' if len(record.seeds) > 1 else ''}"
    title = (
        f"{each.title}, {each.dev_set} ({each.n_rows:,} rows), "
        f"{kind.title}{' in points' if kind.form == 'percent' else ''}, {n_seeds}"
    )
    columns = (
        "variant",
        "seeds",
        "mean ± sd",
        "max" if kind.higher_is_better else "min",
        "source",
        "Δ",
        "this dev set",
        "new examples too",
    )
    rows = tuple(cells for row in metric.variants for cells in _rows(row, kind.form))
    notes = dict.fromkeys(_notes(each, metric, record, kind.form))
    return Listing(title, columns, rows, tuple(notes), frozenset(range(1, 8)))


def _rows(row: VariantResult, form: Form) -> Iterator[tuple[str, ...]]:
    """The line of a variant, and one for the common epoch of several tasks where the source reports
    that.
    """
    yield _line(row, form)
    if (common := row.common) is not None:
        yield (
            f"{row.variant}, common epoch",
            str(len(common.values)),
            format_mean_sd(common.mean, common.sd, form),
            format_value(common.best, form),
            format_value(common.expected, form),
            *[""] * 3,
        )


def _line(row: VariantResult, form: Form) -> tuple[str, ...]:
    if row.not_applicable:
        return (row.variant, "not applicable", *[""] * 6)
    against, cells = row.contrast, ("", "", "")
    if against is not None:
        cells = (
            format_difference(against.delta, form),
            format_interval(against.this_dev_set, form),
            format_interval(against.new_examples, form),
        )
    return (
        row.variant,
        str(len(row.seeds)),
        format_mean_sd(row.mean, row.sd, form),
        format_value(row.best, form),
        _source(row, form),
        *cells,
    )


def _source(row: VariantResult, form: Form) -> str:
    """The source's figures: mean ± sd, and its best seed."""
    if row.expected_max is None:
        return format_mean_sd(row.expected, row.expected_sd, form)
    best = f"max {format_value(row.expected_max, form)}"
    if row.expected is None:
        return best
    return f"{format_mean_sd(row.expected, row.expected_sd, form)}, {best}"


def _notes(
    each: StudyResult, metric: MetricResult, record: ComparisonRecord, form: Form
) -> Iterator[str]:
    """The verdicts, then all that qualifies the figures, then how to read them."""
    for row in metric.variants:
        yield from _verdict(row, metric.variants[0], each.n_rows, form)
    simple = [
        f"{who} {format_value(figures[metric.metric], form)}"
        for who, figures in each.baselines.items()
        if metric.metric in figures
    ]
    if simple:
        yield f"without an encoder: {', '.join(simple)}"
    if each.race is not None and record.race is not None:
        yield from race_in_words(each.race, record.race)
    yield from each.notes
    yield from record.notes
    if any(_source(row, form) != "–" for row in metric.variants):
        yield SOURCE
    yield from reading_notes(record, metric)


def reading_notes(record: ComparisonRecord, metric: MetricResult) -> Iterator[str]:
    """Notes on how to read a table: its columns, and what its verdicts are adjusted for."""
    yield (
        f"± sample standard deviation over seeds; Δ against {record.reference} on the same "
        f"seeds, with 95 % intervals (not adjusted): for this dev set, "
        "and for new examples too. Verdicts hold for all variants together (Holm); they are not "
        "adjusted over metrics, dev sets and tasks."
    )
    if any(row.contrast and row.contrast.stability for row in metric.variants):
        yield (
            "stability: an F test of the variance over seeds, conservative here, where variants "
            "share their seeds."
        )


def _verdict(
    row: VariantResult, reference: VariantResult, n_rows: int, form: Form
) -> Iterator[str]:
    if row.not_applicable:
        yield f"{row.variant}: not applicable: {row.not_applicable}"
        return
    if row.contrast is not None:
        yield f"{row.variant}: {probabilities_in_words(row.contrast)}"
        if stable := stability_in_words(row.contrast):
            yield f"{row.variant}, stability: {stable}"
        yield from remarks(row, reference, n_rows)
    yield from (f"{row.variant}, {sentence}" for sentence in failed_runs(row))
    if collapsed := collapsed_runs(row):
        yield f"{row.variant}: {collapsed}"
    if beside := beside_source(row, reference, form):
        yield beside

"""The report of a comparison as a page: verdicts, tables, then study by study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from encore import catalogue
from encore.evaluation.comparison_record import (
    ComparisonRecord,
    MetricResult,
    StudyResult,
    VariantResult,
)
from encore.evaluation.distances import has_distances, shares_by_distance
from encore.evaluation.estimates import confusion
from encore.evaluation.metric import Metric
from encore.evaluation.task_groups import task_groups
from encore.report import figures, gather
from encore.report.comparison_runs import cell_blocks, cost_figure, cost_table, reproduction
from encore.report.dev_set import (
    MOST_CLASSES,
    learning_curves,
    prediction_figures,
    task_curves,
)
from encore.report.figures import Figure
from encore.report.layer_figure import layer_figure
from encore.report.mistakes import common_errors
from encore.report.model_views import chosen_layers
from encore.report.page import Facts, Notes, Page, Section, VerdictLine, Verdicts, slug
from encore.report.provenance import (
    data_table,
    encoder_name,
    environment_facts,
)
from encore.report.row_figures import row_figures
from encore.report.texts import Sources, Texts
from encore.runs.folder import DevPredictions, read_predictions
from encore.runs.pooled_rows import pooled_predictions
from encore.tables.comparison import comparison_tables, reading_notes
from encore.tables.distances import distances_of_variants
from encore.tables.evaluation import confusion_table
from encore.tables.listing import Listing
from encore.tables.size_curves import size_curves
from encore.tables.task_tables import task_tables
from encore.tables.verdicts import (
    collapsed_runs,
    difference_in_words,
    failed_runs,
    stability_in_words,
)
from encore.types import LabelSpace

__all__ = ["comparison_page"]


@dataclass(frozen=True)
class _Set:
    """One dev set of a task in one study, with the predictions of its runs. runs: variant → seed →
    run, none where a seed has a run for each fold. first: one of all runs.
    """

    study: StudyResult
    title: str
    runs: Mapping[str, Mapping[int, gather.GatheredRun]]
    predictions: Mapping[str, Sequence[DevPredictions]]
    first: gather.GatheredRun | None

    @property
    def decides(self) -> Metric:
        """The metric that the verdicts go by."""
        return catalogue.find("metrics", self.study.metrics[0].metric)


def comparison_page(
    comparison: gather.GatheredComparison, sources: Sources, *, n_mistakes: int
) -> Page:
    """A comparison: verdicts, tables, then study by study. n_mistakes: rows to list of each dev
    set.
    """
    record = comparison.record
    parts = [_study_section(one, record, sources, n_mistakes) for one in _sets(comparison)]
    sized = tuple(_size_figures(record))
    over_tasks = tuple(_over_tasks(comparison))
    in_turn = tuple(figures.sequence_matrices(record.sequences))
    runs = list(comparison.runs.values())
    notes = dict.fromkeys(
        [
            *(note for each in record.studies for note in _named_notes(each, record)),
            *record.notes,
            *sources.notes,
        ]
    )
    lead = (*([data_table(runs)] if runs else []), *([Notes(tuple(notes))] if notes else []))
    of_runs = [
        Section("Cost", (cost_table(comparison),)),
        Section("Environment", (environment_facts(runs),)),
    ]
    sections = (
        Section("Results", tuple(_verdicts(record))),
        Section("Tables", tuple(_tables(record))),
        *([Section("Over all tasks", over_tasks)] if over_tasks else []),
        *([Section("Score by number of training rows", sized)] if sized else []),
        *([Section("Training on one task after another", in_turn)] if in_turn else []),
        *parts,
        Section("Runs", tuple(cell_blocks(comparison))),
        *(of_runs if runs else []),
        Section("Reproduction", tuple(reproduction(comparison))),
    )
    return Page(record.name, _about(comparison), comparison.name, lead, sections)


def _about(comparison: gather.GatheredComparison) -> str:
    record = comparison.record
    counts = (
        (len({each.study for each in record.studies}), "study", "studies"),
        (len(record.variants), "variant", "variants"),
        (len(record.seeds), "seed", "seeds"),
    )
    size = ", ".join(f"{n} {one if n == 1 else several}" for n, one, several in counts)
    names = dict.fromkeys(encoder_name(run) for run in comparison.runs.values())
    return (
        f"Comparison {comparison.name}: {size}, encoder {', '.join(names) or 'not known'}. "
        f"The reference is {record.reference}."
    )


def _named_notes(each: StudyResult, record: ComparisonRecord) -> list[str]:
    """The notes of a study, with its name where there are several."""
    several = len(record.studies) > 1
    return [f"{each.title}: {note}" if several else note for note in each.notes]


def _sets(comparison: gather.GatheredComparison) -> list[_Set]:
    """Every study's dev sets, with those of their runs that can be read."""
    found = []
    studies = comparison.record.studies
    for each in studies:
        if not each.metrics or each.dev_set is None:
            continue
        runs = {
            row.variant: of
            for row in each.metrics[0].variants
            if (of := comparison.runs_of(each.study, row.variant, row.seeds))
        }
        seeds = {
            variant: comparison.seeds_of(each.study, variant, tuple(of))
            for variant, of in runs.items()
        }
        predictions = {
            variant: [_predictions(of, each.task, each.dev_set) for of in found]
            for variant, found in seeds.items()
            if found
        }
        first = next((of[0] for found in seeds.values() for of in found), None)
        runs = {} if any(len(of) > 1 for found in seeds.values() for of in found) else runs
        alike = {(one.dev_set, one.task) for one in studies if one.study == each.study}
        named = len(alike) > 1 or each.dev_set != "dev"
        title = f"{each.title}, {each.dev_set}" if named else each.title
        found.append(_Set(each, title, runs, predictions, first))
    return found


def _predictions(runs: Sequence[gather.GatheredRun], task: str, split: str) -> DevPredictions:
    """The predictions of one seed: of its run, or of those of all its folds."""
    return pooled_predictions(
        [read_predictions(run.folder, task, split, run.result.epoch_of(task)) for run in runs]
    )


def _verdicts(record: ComparisonRecord) -> Iterator[Any]:
    """For every study and variant a verdict on the metric that decides; before them how many there
    are of each kind.
    """
    verdicts = [line for each in record.studies for line in _verdicts_of(each, record.reference)]
    if len(verdicts) > 3:
        counted = Counter(one.badge for one in verdicts)
        counts = ", ".join(f"{badge} {n}" for badge, n in counted.items())
        yield Facts((("verdicts", counts), ("reference", record.reference)))
    yield Verdicts(tuple(verdicts))
    deciding = {each.metrics[0].metric for each in record.studies if each.metrics}
    titles = ", ".join(catalogue.find("metrics", name).title for name in sorted(deciding))
    yield Notes(
        (
            f"Judged by the metric that decides ({titles}); the others are in the tables. A "
            f"verdict names what it holds for: this dev set (new seeds on these "
            "rows), or new examples too (new seeds on new rows). “No evidence” is no proof "
            "that there is no difference.",
        )
    )


def _verdicts_of(each: StudyResult, reference: str) -> Iterator[VerdictLine]:
    if not each.metrics:
        for variant, why in each.not_applicable.items():
            if why:
                yield VerdictLine("not applicable", f"{variant}, {each.study}", why)
    else:
        for row in each.metrics[0].variants:
            if row.variant != reference or row.failed or row.collapsed:
                yield from _verdict(each, row)
    for decision in each.race.rounds if each.race else ():
        words = f"in round {decision.number}, on screening seeds that are not in the table."
        for variant in decision.left:
            yield VerdictLine("left the race", f"{variant}, {each.study}", words)


def _verdict(each: StudyResult, row: VariantResult) -> Iterator[VerdictLine]:
    split = "" if each.dev_set == "dev" else f" {each.dev_set}"
    about = f"{row.variant}, {each.title}{split}"
    if row.not_applicable:
        yield VerdictLine("not applicable", about, row.not_applicable)
        return
    against = row.contrast
    if against is not None and against.delta is not None:
        metric = catalogue.find("metrics", each.metrics[0].metric)
        words = difference_in_words(against, metric)
        stable = against.stability
        if stable is not None and stable.verdict != "no evidence":
            words += f" Stability: {stability_in_words(against)}."
        yield VerdictLine(against.badge, about, words)
    if row.failed:
        yield VerdictLine("failed", about, "; ".join(failed_runs(row)))
    if collapsed := collapsed_runs(row):
        words = f"{collapsed}. Such a run learnt nothing, and counts all the same."
        yield VerdictLine("collapsed", about, words)


def _tables(record: ComparisonRecord) -> Iterator[Listing]:
    """The tables of the terminal; notes on the data, which are at the top of the page, are left
    out, and how to read a table is explained once.
    """
    shown = {note for each in record.studies for note in each.notes} | set(record.notes)
    metrics = [metric for each in record.studies for metric in each.metrics]
    how_to_read = {note for metric in metrics for note in reading_notes(record, metric)}
    apart = {table.title for table in task_tables(record)}  # they have a section of their own
    for table in comparison_tables(record):
        if table.title in apart:
            continue
        yield replace(table, notes=tuple(note for note in table.notes if note not in shown))
        shown |= how_to_read & set(table.notes)


def _study_section(
    one: _Set, record: ComparisonRecord, sources: Sources, n_mistakes: int
) -> Section:
    each, where = one.study, one.title
    blocks: list[Any] = []
    for metric in each.metrics:
        blocks += _variant_figures(metric, record.reference, where)
    if one.first is None:
        return Section(one.title, tuple(blocks))
    assert each.dev_set is not None, "it has runs"
    runs = {variant: list(of.values()) for variant, of in one.runs.items()}
    if (drawn := cost_figure(each.metrics[0], runs, where)) is not None:
        blocks.append(drawn)
    if runs:
        names = [metric.metric for metric in each.metrics]
        blocks += learning_curves(runs, each.task, each.dev_set, names, where=where)
    first = one.first
    labels = first.labels[each.task]
    of_variants = runs or {"": [first]}
    sure = all(run.gives_probabilities(each.task) for of in of_variants.values() for run in of)
    blocks += prediction_figures(
        one.predictions,
        labels,
        where=where,
        seed=first.identity["seed"],
        gives_probabilities=sure,
    )
    some = next(iter(one.predictions.values()))[0]
    # The texts of all folds are no dev set of any run.
    texts = sources.texts(first, each.task, each.dev_set, some.digest, some.rows) if runs else None
    blocks += row_figures(one.predictions, labels, one.decides, texts, where=where)
    blocks += _layer_figures(one, texts)
    if labels.kind in ("binary", "multiclass") and len(labels.names) > MOST_CLASSES:
        for variant, of in one.predictions.items():
            matrix = np.sum([confusion(run.scores, run.targets, labels) for run in of], axis=0)
            title = f"Confusion matrix, {variant}, all seeds"
            blocks.append(confusion_table(matrix, labels, title=title))
    blocks += _distances(one.predictions, labels)
    errors = common_errors(one.predictions, labels, texts, n_mistakes)
    return Section(one.title, tuple(blocks), (Section("Errors of most runs", (errors,)),))


def _distances(
    predictions: Mapping[str, Sequence[DevPredictions]], labels: LabelSpace
) -> Iterator[Listing]:
    """The shares by distance of every variant, where classes have an order."""
    if has_distances(labels):
        found = {
            variant: [
                shares_by_distance(one.scores, one.targets, labels, 0, n_resamples=2) for one in of
            ]  # intervals over the rows are not shown
            for variant, of in predictions.items()
        }
        yield distances_of_variants(found, title="Distance from the true class, in %")


def _variant_figures(metric: MetricResult, reference: str, where: str) -> list[Figure]:
    kind, name = catalogue.find("metrics", metric.metric), f"{where} {metric.metric}"
    drawn = (
        figures.forest(slug(f"differences {name}"), kind, metric.variants, reference, where=where),
        figures.seeds(slug(f"seeds {name}"), kind, metric.variants, where=where),
    )
    return [figure for figure in drawn if figure is not None]


def _layer_figures(one: _Set, texts: Texts | None) -> Iterator[Figure]:
    """The layers that poolings chose, of the variants whose runs keep their models."""
    groups: dict[str, dict[int, int]] = {}
    if texts is None:
        return
    for variant, runs in one.runs.items():
        counts: Counter[int] = Counter()
        for run in runs.values():
            counts.update(chosen_layers(run, one.study.task, texts))
        if counts:
            groups[variant] = dict(counts)
    if groups:
        yield layer_figure(slug(f"layers {one.title}"), groups, where=one.title)


def _over_tasks(comparison: gather.GatheredComparison) -> Iterator[Any]:
    """The tables over all tasks, the claims as verdicts, and the pictures of all tasks."""
    record = comparison.record
    lines = [
        VerdictLine(one.outcome, f"{one.claim}{f', {one.about}' if one.about else ''}", one.why)
        for one in record.claims
    ]
    if lines:
        yield Verdicts(tuple(lines))
    yield from task_tables(replace(record, claims=()))
    for group in task_groups(record):
        yield figures.scores_of_tasks(slug(f"all tasks {group.label}"), group, record.variants)
        rows = {}
        for task, each in group.studies.items():
            runs = comparison.runs_of(each.study, record.reference, record.seeds)
            for run in list(runs.values())[:1]:
                rows[task] = int(run.data[task].get("splits", {}).get("train", {}).get("rows", 0))
        rows = {task: n for task, n in rows.items() if n}
        curves = {
            task: task_curves(
                _runs_by_variant(comparison, each), task, each.dev_set, each.metrics[0].metric
            )
            for task, each in group.studies.items()
            if each.dev_set is not None
        }
        for drawn in (
            figures.gain_by_rows(slug(f"gains {group.label}"), group, rows, record.variants),
            figures.epochs_of_tasks(slug(f"epochs {group.label}"), curves, where=group.label),
        ):
            if drawn is not None:
                yield drawn


def _runs_by_variant(
    comparison: gather.GatheredComparison, each: StudyResult
) -> dict[str, list[gather.GatheredRun]]:
    """Variant → its runs that can be read, of the variants that have any."""
    found = {
        row.variant: list(comparison.runs_of(each.study, row.variant, row.seeds).values())
        for row in each.metrics[0].variants
    }
    return {variant: runs for variant, runs in found.items() if runs}


def _size_figures(record: ComparisonRecord) -> Iterator[Figure]:
    """Score against size, where studies differ in the number of training rows."""
    for curve in size_curves(record):
        by_variant: dict[str, dict[int, Sequence[float]]] = {}
        for size, metric in curve.sizes.items():
            for row in metric.variants:
                if row.values:
                    by_variant.setdefault(row.variant, {})[size] = row.values
        if max(map(len, by_variant.values()), default=0) > 1:
            where = f"{curve.label}, {curve.dev_set}"
            kind = catalogue.find("metrics", curve.metric)
            yield figures.sizes(
                slug(f"sizes {where} {curve.metric}"), kind, by_variant, where=where
            )

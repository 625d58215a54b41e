"""Means over the tasks of a comparison: GLUE's, and the overall scores of CS224N."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from encore.evaluation.average_contrast import AverageColumn, contrast_averages
from encore.evaluation.averages import (
    AVERAGE_WEIGHTS,
    GLUE_COLUMNS,
    glue_averages,
    overall_scores,
)
from encore.evaluation.comparison_record import StudyResult, VariantResult
from encore.evaluation.contrast import Contrasts
from encore.evaluation.task_groups import group_label
from encore.evaluation.task_record import AverageResult

__all__ = ["ColumnKey", "in_an_average", "task_averages"]

ColumnKey = tuple[str, str, str, str]  # study, task, dev set, metric

_AVERAGES = {
    "glue.columns": "mean of GLUE's 12 columns (MRPC, MNLI and QQP count twice)",
    "glue.tasks": "mean of GLUE's 9 tasks",
    "cs224n.r": "mean of sst5, quora and r on sts",
    "cs224n.normalised": "mean of sst5, quora and (1 + r) / 2 on sts",
}


def task_averages(
    studies: Sequence[StudyResult],
    variants: Sequence[str],
    expected: Mapping[str, Mapping[str, float]],
    columns: Mapping[ColumnKey, Contrasts],
    reference: str,
) -> tuple[AverageResult, ...]:
    """Means over tasks of the variants that have every column: GLUE's in both ways, and of the
    CS224N three tasks with both conventions for Pearson. columns: what the differences from the
    reference are judged by, of all that `in_an_average`.

    The source's own figure is `expect: {glue.columns: …}`, and likewise with the other names; at
    the epoch that is best for all tasks together it is `glue.columns.common`.
    """
    groups: dict[str, list[StudyResult]] = {}
    for each in studies:
        groups.setdefault(group_label(each), []).append(each)
    found = []
    for rest, group in groups.items():
        best = _by_name({one: _columns(group, one) for one in variants})
        common = _by_name({one: _common_columns(group, one) for one in variants})
        for name, values in best.items():
            at_common = _reported(f"{name}.common", common.get(name, {}), expected)
            title = f"{_AVERAGES[name]}{', ' if rest else ''}{rest}"
            found.append(
                AverageResult(
                    name,
                    title,
                    values,
                    _reported(name, values, expected),
                    {variant: common[name][variant] for variant in at_common},
                    at_common,
                    contrast_averages(_weighted(name, group, columns), variants, reference),
                )
            )
    return tuple(found)


def in_an_average(task: str, dev_set: str, metric: str) -> bool:
    """True where a metric on a dev set is a column of some average."""
    names = {f"{task}.{metric}", f"{task}.{dev_set}.{metric}"}
    return any(names & set(weights) for weights in AVERAGE_WEIGHTS.values())


def _weighted(
    name: str, studies: Sequence[StudyResult], columns: Mapping[ColumnKey, Contrasts]
) -> list[AverageColumn]:
    """The columns of an average; of a task with several dev sets the first, where none is named."""
    found: dict[str, AverageColumn] = {}
    for each in studies:
        for metric in each.metrics:
            compared = columns.get((each.study, each.task, str(each.dev_set), metric.metric))
            for column in (
                f"{each.task}.{each.dev_set}.{metric.metric}",
                f"{each.task}.{metric.metric}",
            ):
                weight = AVERAGE_WEIGHTS[name].get(column)
                if weight is not None and compared is not None:
                    rows = (each.task, each.dev_set)
                    found.setdefault(column, AverageColumn(weight, rows, compared))
    return list(found.values())


def _by_name(columns: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Variant → columns, turned into name of an average → variant → value."""
    found: dict[str, dict[str, float]] = {}
    for variant, of_variant in columns.items():
        for name, value in _averages(of_variant).items():
            found.setdefault(name, {})[variant] = value
    return found


def _reported(
    key: str, variants: Collection[str], expected: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    """The source's figure of those variants that it reports one of."""
    return {one: expected[one][key] for one in variants if key in expected.get(one, {})}


def _averages(columns: Mapping[str, float]) -> dict[str, float]:
    """Name → value, of the averages whose columns are all there."""
    found: dict[str, float] = {}
    glue = glue_averages({name: columns[name] for name in GLUE_COLUMNS if name in columns})
    if glue.columns is not None and glue.tasks is not None:
        found |= {"glue.columns": glue.columns, "glue.tasks": glue.tasks}
    if {"sst5.accuracy", "quora.accuracy", "sts.pearson"} <= set(columns):
        both = overall_scores(
            {name: columns[name] for name in ("sst5.accuracy", "quora.accuracy")},
            {"sts.pearson": columns["sts.pearson"]},
        )
        found |= {"cs224n.r": both.with_r, "cs224n.normalised": both.with_normalised}
    return found


def _columns(studies: Sequence[StudyResult], variant: str) -> dict[str, float]:
    """A variant's means, as "task.metric" and as "task.dev set.metric"."""
    return _keyed(studies, variant, lambda row: row.mean)


def _common_columns(studies: Sequence[StudyResult], variant: str) -> dict[str, float]:
    """The same at the epoch that is best for all tasks together, where it was measured."""
    return _keyed(studies, variant, lambda row: row.common.mean if row.common else None)


def _keyed(
    studies: Sequence[StudyResult], variant: str, figure: Callable[[VariantResult], float | None]
) -> dict[str, float]:
    found: dict[str, float] = {}
    for each in studies:
        for metric in each.metrics:
            row = metric.variant(variant)
            value = None if row is None else figure(row)
            if value is not None:
                found[f"{each.task}.{each.dev_set}.{metric.metric}"] = value
                found.setdefault(f"{each.task}.{metric.metric}", value)
    return found

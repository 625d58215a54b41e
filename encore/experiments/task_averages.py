"""Means over the tasks of a comparison: GLUE's, and the overall scores of CS224N."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from encore.evaluation.averages import GLUE_COLUMNS, glue_averages, overall_scores
from encore.evaluation.comparison_record import AverageResult, StudyResult

__all__ = ["task_averages"]

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
) -> tuple[AverageResult, ...]:
    """Means over tasks of the variants that have every column: GLUE's in both ways, and of the
    CS224N three tasks with both conventions for Pearson.

    The source's own figure is `expect: {glue.columns: …}`, and likewise with the other names.
    """
    groups: dict[str, list[StudyResult]] = {}
    for each in studies:
        rest = " ".join(f"{key}={value}" for key, value in each.point.items() if key != "task")
        groups.setdefault(rest, []).append(each)
    found = []
    for rest, group in groups.items():
        values: dict[str, dict[str, float]] = {}
        for variant in variants:
            for name, value in _averages(_columns(group, variant)).items():
                values.setdefault(name, {})[variant] = value
        for name, of in values.items():
            reported = {
                variant: expected[variant][name]
                for variant in of
                if name in expected.get(variant, {})
            }
            title = f"{_AVERAGES[name]}{', ' if rest else ''}{rest}"
            found.append(AverageResult(name, title, of, reported))
    return tuple(found)


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
    found: dict[str, float] = {}
    for each in studies:
        for metric in each.metrics:
            row = metric.variant(variant)
            if row is not None and row.mean is not None:
                found[f"{each.task}.{each.dev_set}.{metric.metric}"] = row.mean
                found.setdefault(f"{each.task}.{metric.metric}", row.mean)
    return found

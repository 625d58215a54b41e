"""The results of a comparison as plain data: variants, contrasts with the reference, averages over
tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from encore import catalogue
from encore.evaluation import contrast
from encore.evaluation.averages import GLUE_COLUMNS, glue_averages, overall_scores
from encore.evaluation.contrast import Arm, Claim, Contrast, SeedRuns
from encore.types import LabelSpace

__all__ = ["averages", "metric_results"]

# ------------------------------------------------------------------------------------------ as data


def metric_results(
    reference: SeedRuns,
    others: Sequence[SeedRuns],
    targets: np.ndarray,
    labels: LabelSpace,
    metric: str,
    expected: Callable[[str], tuple[float | None, float | None]],
    *,
    n_left: int = 0,
) -> dict[str, Any]:
    """One metric on one dev set: every variant, the reference first. expected: variant → (mean, sd)
    that the source reports. n_left: variants that have left a race on these rows.
    """
    found = contrast.compare_variants(
        reference, others, targets, labels, catalogue.find("metrics", metric), n_left=n_left
    )
    contrasts = {one.variant: one for one in found.contrasts}
    rows = [
        _row(arm, contrasts.get(arm.name), *expected(arm.name))
        for arm in (found.baseline, *found.variants)
    ]
    return {"metric": metric, "variants": rows}


def _row(
    arm: Arm, against: Contrast | None, expected: float | None, expected_sd: float | None
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "variant": arm.name,
        "seeds": list(arm.seeds),
        "values": list(arm.values),
        "mean": arm.mean,
        "sd": arm.sd,
        "best": arm.best,
        "expected": expected,
        "expected_sd": expected_sd,
        "collapsed": {str(seed): why for seed, why in arm.collapsed.items()},
        "failed": {str(seed): why for seed, why in arm.failed.items()},
        "not_applicable": arm.not_applicable,
        "contrast": None,
    }
    if against is not None and arm.not_applicable is None:
        stable = against.stability
        row["contrast"] = {
            "seeds": list(against.seeds),
            "differences": list(against.differences),
            "delta": against.delta,
            "verdict": against.verdict,
            "this_dev_set": _claim(against.this_dev_set),
            "new_examples": _claim(against.new_examples),
            "sign_flip_p": against.sign_flip_p,
            "stability": None
            if stable is None
            else {
                key: _finite(getattr(stable, key))
                for key in ("ratio", "low", "high", "p", "p_holm", "verdict")
            },
            "notes": list(against.notes),
        }
    return row


def _claim(claim: Claim | None) -> dict[str, Any] | None:
    keys = (
        "low",
        "high",
        "standard_error",
        "df",
        "p",
        "p_holm",
        "verdict",
        "seeds_needed",
        "rows_needed",
    )
    return None if claim is None else {key: _finite(getattr(claim, key)) for key in keys}


def _finite(value: Any) -> Any:
    """JSON knows no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def averages(
    studies: Sequence[Mapping[str, Any]],
    variants: Sequence[str],
    expected: Mapping[str, Mapping[str, float]],
) -> list[dict[str, Any]]:
    """Means over tasks of the variants that have every column: GLUE's in both ways, and of the
    CS224N three tasks with both conventions for Pearson.

    The source's own figure is `expect: {glue.columns: …}`, and likewise with the other names.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for each in studies:
        rest = " ".join(f"{key}={value}" for key, value in each["point"].items() if key != "task")
        groups.setdefault(rest, []).append(each)
    found = []
    for rest, group in groups.items():
        values: dict[str, dict[str, float]] = {}
        for variant in variants:
            for name, value in _averages(_columns(group, variant)).items():
                values.setdefault(name, {})[variant] = value
        for name, of in values.items():
            told = {
                variant: expected[variant][name]
                for variant in of
                if name in expected.get(variant, {})
            }
            found.append(
                {
                    "name": name,
                    "title": f"{_AVERAGES[name]}{', ' if rest else ''}{rest}",
                    "values": of,
                    "expected": told,
                }
            )
    return found


_AVERAGES = {
    "glue.columns": "mean of GLUE's 12 columns (MRPC, MNLI and QQP count twice)",
    "glue.tasks": "mean of GLUE's 9 tasks",
    "cs224n.r": "mean of sst5, quora and r on sts",
    "cs224n.normalised": "mean of sst5, quora and (1 + r) / 2 on sts",
}


def _averages(columns: Mapping[str, float]) -> dict[str, float]:
    """Those that can be told: name → value."""
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


def _columns(studies: Sequence[Mapping[str, Any]], variant: str) -> dict[str, float]:
    """A variant's means, as "task.metric" and as "task.dev set.metric"."""
    found = {}
    for each in studies:
        for metric in each["metrics"]:
            for row in metric["variants"]:
                if row["variant"] == variant and row["mean"] is not None:
                    found[f"{each['task']}.{each['set']}.{metric['metric']}"] = row["mean"]
                    found.setdefault(f"{each['task']}.{metric['metric']}", row["mean"])
    return found

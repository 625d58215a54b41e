"""The pictures of all tasks: the numbers behind them are those of the comparison."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from encore.evaluation.claims import Claim, Contrast
from encore.evaluation.comparison_record import (
    ComparisonRecord,
    MetricResult,
    StudyResult,
    VariantResult,
)
from encore.evaluation.task_groups import TaskGroup, task_groups
from encore.report import figures

# task → metric, training rows, the reference's mean and sd, and the variant's
TASKS = {
    "cola": ("mcc", 8_551, (0.40, 0.06), (0.44, 0.02)),
    "rte": ("accuracy", 2_490, (0.60, 0.02), (0.61, 0.03)),
    "wnli": ("accuracy", 635, (0.50, 0.05), (0.55, 0.01)),
    "lossy": ("log_loss", 635, (0.70, 0.01), (0.60, 0.01)),
}


def group() -> TaskGroup:
    studies = []
    for task, (metric, _, base, mine) in TASKS.items():
        delta = mine[0] - base[0]
        claim = Claim(delta - 0.02, delta + 0.03, 0.01, 2.0, 0.1, 0.1, "no evidence", 9)
        against = Contrast("mha", (1, 2, 3), (delta,) * 3, delta, claim, claim, None, None)
        row = VariantResult(
            "baseline", (1, 2, 3), (), base[0], base[1], None, None, None, {}, {}, None, None
        )
        other = replace(row, variant="mha", mean=mine[0], sd=mine[1], contrast=against)
        found = (MetricResult(metric, (row, other)),)
        studies.append(StudyResult(task, {"task": task}, task, "dev", 9, found, {}, (), {}))
    names = ("baseline", "mha")
    record = ComparisonRecord("all", "baseline", names, (1, 2, 3), tuple(studies), (), ())
    (only,) = task_groups(record)
    return only


def numbers(figure: figures.Figure) -> list[dict[str, str]]:
    ElementTree.fromstring(figure.svg)
    return list(csv.DictReader(io.StringIO(figure.csv())))


def test_scores_of_all_tasks() -> None:
    figure = figures.scores_of_tasks("all", group(), ("baseline", "mha"))
    assert [(one["task"], one["variant"], one["mean"], one["sd"]) for one in numbers(figure)] == [
        (task, name, str(mean), str(sd))
        for task, (_, _, *both) in TASKS.items()
        for name, (mean, sd) in zip(("baseline", "mha"), both, strict=True)
    ]
    assert "cola baseline 0.400 ± 0.060, mha 0.440 ± 0.020" in figure.alt
    assert figure == figures.scores_of_tasks("all", group(), ("baseline", "mha"))


def test_a_gain_is_above_0_where_the_variant_is_better() -> None:
    rows = {task: n for task, (_, n, *_) in TASKS.items()}
    figure = figures.gain_by_rows("gains", group(), rows, ("baseline", "mha"))
    assert figure is not None
    for one, (task, (_, n, base, mine)) in zip(numbers(figure), TASKS.items(), strict=True):
        gain = abs(mine[0] - base[0])
        assert (one["task"], int(one["train_rows"])) == (task, n)
        assert float(one["gain"]) == pytest.approx(gain)
        low, high = (0.03, 0.02) if task == "lossy" else (0.02, 0.03)
        ends = (float(one["low_new_examples"]), float(one["high_new_examples"]))
        assert ends == pytest.approx((gain - low, gain + high))


def test_no_gain_where_no_task_s_rows_are_known() -> None:
    assert figures.gain_by_rows("gains", group(), {}, ("baseline", "mha")) is None

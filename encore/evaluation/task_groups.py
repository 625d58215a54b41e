"""The tasks of a comparison side by side: in how many each variant is better, worse or neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from encore import catalogue
from encore.evaluation.claims import Badge, Contrast
from encore.evaluation.comparison_record import ComparisonRecord, MetricResult, StudyResult

__all__ = ["TaskCount", "TaskGroup", "count_tasks", "gain", "group_label", "task_groups"]


@dataclass(frozen=True)
class TaskGroup:
    """Studies that differ in their task only. label: the settings that they have in common, ""
    where they have none. tasks: task → its first dev set under the metric that decides.
    """

    label: str
    tasks: Mapping[str, MetricResult]
    studies: Mapping[str, StudyResult]

    def contrast(self, task: str, variant: str) -> Contrast | None:
        """The contrast of a variant on one task, None of what has none."""
        row = self.tasks[task].variant(variant) if task in self.tasks else None
        return row.contrast if row else None


def group_label(study: StudyResult) -> str:
    """The settings of a study's point apart from its task, as tables name them."""
    return " ".join(f"{key}={value}" for key, value in study.point.items() if key != "task")


def task_groups(record: ComparisonRecord) -> list[TaskGroup]:
    """The groups of two tasks or more."""
    groups: dict[str, dict[str, StudyResult]] = {}
    for each in record.studies:
        if each.metrics:
            groups.setdefault(group_label(each), {}).setdefault(each.task, each)
    return [
        TaskGroup(label, {task: each.metrics[0] for task, each in found.items()}, found)
        for label, found in groups.items()
        if len(found) > 1
    ]


def gain(metric: str, difference: float) -> float:
    """A difference with the sign that makes more the better."""
    return difference if catalogue.find("metrics", metric).higher_is_better else -difference


@dataclass(frozen=True)
class TaskCount:
    """A variant over tasks. of: verdict → the tasks with it; anew: those with a verdict that holds
    for new examples too. ahead: the tasks with the better mean, whatever the verdict. more_stable,
    less_stable: of the variance over seeds.
    """

    variant: str
    of: Mapping[Badge, tuple[str, ...]]
    anew: tuple[str, ...]
    ahead: tuple[str, ...]
    more_stable: tuple[str, ...]
    less_stable: tuple[str, ...]

    @property
    def n_tasks(self) -> int:
        """The tasks that the variant was run on."""
        return sum(map(len, self.of.values()))


def count_tasks(group: TaskGroup, variants: Sequence[str], reference: str) -> list[TaskCount]:
    """The count of each variant but the reference."""
    return [_count(group, name) for name in variants if name != reference]


def _count(group: TaskGroup, variant: str) -> TaskCount:
    against = {task: one for task in group.tasks if (one := group.contrast(task, variant))}
    badges: dict[Badge, tuple[str, ...]] = {
        badge: tuple(task for task, one in against.items() if one.badge == badge)
        for badge in ("better", "worse", "no evidence", "not judged")
    }

    def stability(verdict: str) -> tuple[str, ...]:
        return tuple(
            task
            for task, one in against.items()
            if one.stability and one.stability.verdict == verdict
        )

    return TaskCount(
        variant,
        badges,
        tuple(
            task
            for task, one in against.items()
            if one.new_examples and one.new_examples.verdict == one.badge != "no evidence"
        ),
        tuple(
            task
            for task, one in against.items()
            if one.delta is not None and gain(group.tasks[task].metric, one.delta) > 0
        ),
        stability("more stable"),
        stability("less stable"),
    )

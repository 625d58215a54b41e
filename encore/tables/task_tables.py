"""The tables of a comparison over all its tasks: counts of verdicts, averages, claims."""

from __future__ import annotations

from collections.abc import Iterator

from encore.evaluation.comparison_record import ComparisonRecord
from encore.evaluation.task_groups import TaskCount, TaskGroup, count_tasks, task_groups
from encore.evaluation.task_record import AverageResult
from encore.tables.formatting import format_interval
from encore.tables.listing import Listing
from encore.tables.verdicts import probabilities_in_words, stability_in_words

__all__ = ["task_tables"]


def task_tables(record: ComparisonRecord) -> Iterator[Listing]:
    """In how many tasks each variant is better, worse or neither; the averages over tasks; the
    claims of the recipe.
    """
    for group in task_groups(record):
        counted = count_tasks(group, record.variants, record.reference)
        if counted:
            yield _counts(group, counted, record.reference)
    if record.averages:
        yield _averages(record)
    if record.claims:
        several = any(one.about for one in record.claims)
        yield Listing(
            "claims of the recipe",
            (*(("studies",) if several else ()), "claim", "outcome", "why"),
            tuple(
                (*((one.about,) if several else ()), one.claim, one.outcome, one.why)
                for one in record.claims
            ),
            (
                "held, not held: decided by the verdicts, however the tasks without one turn out; "
                "“better” is by the intervals, “a higher mean” by the means alone.",
            ),
        )


def _counts(group: TaskGroup, counted: list[TaskCount], reference: str) -> Listing:
    title = f"over {len(group.tasks)} tasks{f', {group.label}' if group.label else ''}"
    columns = (
        "variant",
        "tasks",
        "better",
        "worse",
        "no evidence",
        "not judged",
        "better mean",
        "less variable",
        "more variable",
    )
    rows = tuple(
        (
            one.variant,
            str(one.n_tasks),
            *(str(len(tasks)) for tasks in one.of.values()),
            f"{len(one.ahead)} of {one.n_tasks}",
            str(len(one.more_stable)),
            str(len(one.less_stable)),
        )
        for one in counted
    )
    notes = tuple(note for one in counted for note in _named(one))
    how = (
        f"Tasks by the verdict on their first metric and dev set, against {reference}; “better "
        f"mean” is the mean alone, whatever the verdict. Verdicts are not adjusted over tasks."
    )
    return Listing(title, columns, rows, (*notes, how), frozenset(range(1, len(columns))))


def _named(one: TaskCount) -> Iterator[str]:
    """The tasks with a verdict, by name."""
    found: dict[str, tuple[str, ...]] = {
        badge: tasks for badge, tasks in one.of.items() if badge in ("better", "worse")
    }
    found |= {"less variable": one.more_stable, "more variable": one.less_stable}
    for verdict, tasks in found.items():
        if tasks:
            anew = [task for task in tasks if task in one.anew]
            also = (
                f" (for new examples too: {', '.join(anew)})"
                if anew and verdict in ("better", "worse")
                else ""
            )
            yield f"{one.variant}, {verdict}: {', '.join(tasks)}{also}"


def _averages(record: ComparisonRecord) -> Listing:
    judged = any(one.contrasts for one in record.averages)
    tests = ("Δ", "these dev sets", "new examples too") if judged else ()
    columns = ("average", "variant", "mean", "source", *tests)
    rows = [row for one in record.averages for row in _average_rows(one, judged=judged)]
    notes = dict.fromkeys(note for one in record.averages for note in _verdicts(one))
    return Listing(
        "averages", columns, tuple(rows), tuple(notes), frozenset(range(2, len(columns)))
    )


def _average_rows(average: AverageResult, *, judged: bool) -> Iterator[tuple[str, ...]]:
    """The line of each variant, and one for the common epoch of the tasks where the source reports
    that.
    """
    title, empty = average.title, ("", "", "") if judged else ()
    for name, value in average.values.items():
        cells: tuple[str, ...] = empty
        if (against := average.contrasts.get(name)) is not None:
            cells = (
                "–" if against.delta is None else _signed(against.delta),
                format_interval(against.this_dev_set, "percent"),
                format_interval(against.new_examples, "percent"),
            )
        yield (title, name, f"{100 * value:.2f}", _in_points(average.expected.get(name)), *cells)
        title = ""
        if (common := average.common.get(name)) is not None:
            source = _in_points(average.expected_common.get(name))
            yield ("", f"{name}, common epoch", f"{100 * common:.2f}", source, *empty)


def _verdicts(average: AverageResult) -> Iterator[str]:
    for name, against in average.contrasts.items():
        words = probabilities_in_words(against)
        words = words.replace("this dev set", "these dev sets").replace("dev set p", "dev sets p")
        yield f"{name}, {average.name}: {words}"
        if stable := stability_in_words(against):
            yield f"{name}, {average.name}, stability: {stable}"


def _signed(fraction: float) -> str:
    return f"{100 * fraction:+.2f}".replace("-", "−")


def _in_points(fraction: float | None) -> str:
    return "–" if fraction is None else f"{100 * fraction:.2f}"

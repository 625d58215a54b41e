"""The keys of `expect:`, with which a recipe says what its source reports.

sst5.accuracy                the mean over seeds of a metric on a task's dev set
mnli.dev_matched.accuracy    the same, of one dev set of several
sst5.accuracy.sd             the standard deviation over seeds
sst5.accuracy.max            the best seed
sst5.accuracy.common         at the epoch that is best for all tasks together
glue.columns                 an average over tasks: AVERAGES
glue.columns.common          the same at the epoch that is best for all tasks together
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from encore import catalogue
from encore.errors import Problem, did_you_mean, format_given

__all__ = ["AVERAGES", "ENDINGS", "parse_expectation", "unknown_expectation"]

ENDINGS = ("sd", "max", "common")
AVERAGES = ("glue.columns", "glue.tasks", "cs224n.r", "cs224n.normalised")


def parse_expectation(key: str) -> tuple[str, str, str, str] | None:
    """(task, dev set, metric, ending) of a key, "" for a dev set or an ending that it does not
    name; None for an average and for a key of another form.

    >>> parse_expectation("mnli.dev_matched.accuracy.sd")
    ('mnli', 'dev_matched', 'accuracy', 'sd')
    """
    parts = key.split(".")
    ending = parts.pop() if parts[-1] in ENDINGS else ""
    if not all(parts) or ".".join(parts) in AVERAGES:
        return None
    if len(parts) == 2:
        return parts[0], "", parts[1], ending
    return (parts[0], parts[1], parts[2], ending) if len(parts) == 3 else None


def unknown_expectation(
    key: str, tasks: Iterable[str], dev_sets: Collection[str] | None = None
) -> Problem | None:
    """The problem of a key that no comparison would ever read, if it is one.

    tasks: of the recipe and of its studies, and the named ones. dev_sets: those of the key's task,
    None where they are not known.
    """
    known = tuple(tasks)
    head, _, last = key.rpartition(".")
    stem = head if last in ENDINGS else key
    if stem in AVERAGES:
        return None
    section = stem.partition(".")[0]
    if section not in known and section in {name.partition(".")[0] for name in AVERAGES}:
        message = f"no average called {format_given(stem)}."
        return Problem(message=message, remedy=did_you_mean(stem, AVERAGES))
    found = parse_expectation(key)
    if found is None:
        form = "TASK.METRIC or TASK.DEV_SET.METRIC, with .sd, .max or .common behind it"
        return Problem(expected=f"{form} if it is not the mean", got=format_given(key))
    task, dev_set, metric, _ = found
    if task not in known:
        message = f"no task called {format_given(task)}."
        return Problem(message=message, remedy=did_you_mean(task, known))
    if metric not in catalogue.names("metrics"):
        return catalogue.unknown_name("metrics", metric)
    if dev_set and dev_sets is not None and dev_set not in dev_sets:
        message = f"task '{task}' has no dev set called {format_given(dev_set)}."
        return Problem(message=message, remedy=did_you_mean(dev_set, tuple(dev_sets)))
    return None

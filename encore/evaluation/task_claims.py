"""The claims of a recipe over several tasks, written as sentences, and their judgement by the
verdicts of a comparison.

    VARIANT is better on TASKS               by the verdicts on intervals; also: worse
    VARIANT has a higher mean on TASKS       by the means alone, as papers count; also: lower
    VARIANT is less variable on TASKS        by the verdicts on the variance over seeds; also: more
    VARIANT is better in AVERAGE             such as glue.columns; also: worse
    VARIANT gains more on small sets         the gain falls with the number of training rows
    VARIANT gains most on TASK

TASKS is `all tasks`, `at least 7 of 9 tasks`, or names: `cola, mrpc and rte`, all of which are
meant. In place of a variant, the first three forms take `every variant`, and `some variant`: one of
them or another on each task.

A claim is held or not held where verdicts decide it, whatever the tasks without one turn out to be;
else it cannot be judged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from encore.evaluation.claims import FEWEST_SEEDS, Contrast
from encore.evaluation.comparison_record import ComparisonRecord
from encore.evaluation.intervals import Student, for_these_rows, holm
from encore.evaluation.task_groups import TaskGroup, gain, task_groups
from encore.evaluation.task_record import ClaimResult, Outcome

__all__ = ["FORMS", "TaskClaim", "judge_claims", "parse_claim"]

FORMS = (
    "VARIANT is better on all tasks",
    "VARIANT has a higher mean on at least 7 of 9 tasks",
    "VARIANT is less variable on cola and mrpc",
    "VARIANT is better in glue.columns",
    "VARIANT gains more on small sets",
    "VARIANT gains most on wnli",
)
_LEVEL = 0.05
_FEWEST_TASKS = 3  # of a trend over the number of training rows

_SUBJECT = r"(?P<subject>every variant|some variant|\S+)"
_PREDICATES = {
    "better": "is better",
    "worse": "is worse",
    "higher": "has a higher mean",
    "lower": "has a lower mean",
    "less variable": "is (?:less variable|more stable)",
    "more variable": "is (?:more variable|less stable)",
}
_ON_TASKS = {
    what: re.compile(rf"{_SUBJECT} {words} on (?P<on>.+)") for what, words in _PREDICATES.items()
}
_AVERAGE = re.compile(rf"{_SUBJECT} is (?P<what>better|worse) in (?P<average>\S+)")
_SMALL = re.compile(rf"{_SUBJECT} gains more on small sets")
_MOST = re.compile(rf"{_SUBJECT} gains most on (?P<task>\S+)")
_LEAST = re.compile(r"at least (?P<n>[1-9]\d*) of (?P<of>[1-9]\d*) tasks")


@dataclass(frozen=True)
class TaskClaim:
    """A claim as it was read. what: its predicate; for an average, "better" or "worse". tasks:
    those that it names, none where it is about all. n_least, n_tasks: of "at least n of m tasks".
    """

    text: str
    subject: str
    what: str
    tasks: tuple[str, ...] = ()
    n_least: int | None = None
    n_tasks: int | None = None
    average: str = ""

    @property
    def variant(self) -> str:
        """The variant that it names, "" where it is about every one or some."""
        return "" if self.subject in ("every variant", "some variant") else self.subject


def parse_claim(text: str) -> TaskClaim | None:
    """The claim that a sentence makes; None of a sentence of another form.

    >>> parse_claim("mha is better on at least 7 of 9 tasks").n_least
    7
    >>> parse_claim("mha is less variable on cola, mrpc and rte.").tasks
    ('cola', 'mrpc', 'rte')
    """
    words = " ".join(text.split()).removesuffix(".")
    for what, form in _ON_TASKS.items():
        if found := form.fullmatch(words):
            return _on_tasks(text, found.group("subject"), what, found.group("on"))
    if found := _AVERAGE.fullmatch(words):
        claim = TaskClaim(
            text, found.group("subject"), found.group("what"), average=found.group("average")
        )
    elif found := _MOST.fullmatch(words):
        claim = TaskClaim(text, found.group("subject"), "most", (found.group("task"),))
    elif found := _SMALL.fullmatch(words):
        claim = TaskClaim(text, found.group("subject"), "small sets")
    else:
        return None
    return claim if claim.variant else None


def _on_tasks(text: str, subject: str, what: str, scope: str) -> TaskClaim | None:
    if scope == "all tasks":
        return TaskClaim(text, subject, what)
    if found := _LEAST.fullmatch(scope):
        n, of = int(found.group("n")), int(found.group("of"))
        return TaskClaim(text, subject, what, (), n, of) if n <= of else None
    tasks = tuple(re.split(r", and | and |, ?", scope))
    plain = all(task and " " not in task for task in tasks)
    return TaskClaim(text, subject, what, tasks) if plain else None


# ------------------------------------------------------------------------------------------ judging


def judge_claims(
    claims: Sequence[TaskClaim], record: ComparisonRecord, train_rows: Mapping[tuple[str, str], int]
) -> tuple[ClaimResult, ...]:
    """Each claim in each group of studies that differ in their task only. train_rows: (study, task)
    → rows that its runs were trained on.
    """
    groups = task_groups(record)
    if not groups:
        why = "the comparison has fewer than two tasks"
        return tuple(ClaimResult(one.text, "cannot be judged", why) for one in claims)
    several = len(groups) > 1
    return tuple(
        ClaimResult(
            one.text, *_judged(one, group, record, train_rows), group.label if several else ""
        )
        for group in groups
        for one in claims
    )


def _judged(
    claim: TaskClaim,
    group: TaskGroup,
    record: ComparisonRecord,
    train_rows: Mapping[tuple[str, str], int],
) -> tuple[Outcome, str]:
    missing = [task for task in claim.tasks if task not in group.tasks]
    if missing:
        return "cannot be judged", f"{_listed(missing)}: not in this comparison"
    if claim.variant and claim.variant not in record.variants:
        return "cannot be judged", f"the variant {claim.variant} was left out"
    if claim.variant == record.reference:
        return "cannot be judged", f"{claim.variant} is the reference, and has no difference"
    if claim.average:
        return _average(claim, group, record)
    if claim.what == "small sets":
        rows = {task: train_rows[one.study, task] for task, one in group.studies.items()}
        return _small_sets(claim, group, rows)
    return _most(claim, group) if claim.what == "most" else _counted(claim, group, record)


# What a contrast says of a predicate: 1 for it, −1 against it, 0 neither.
def _by_verdict(against: Contrast, metric: str) -> int:
    return {"better": 1, "worse": -1}.get(against.badge, 0)


def _by_mean(against: Contrast, metric: str) -> int:
    if against.delta is None:
        return 0
    difference = gain(metric, against.delta)
    return (difference > 0) - (difference < 0)


def _by_stability(against: Contrast, metric: str) -> int:
    found = against.stability.verdict if against.stability else ""
    return {"more stable": 1, "less stable": -1}.get(found, 0)


_SAYS: Mapping[str, tuple[Callable[[Contrast, str], int], int, tuple[str, str, str]]] = {
    "better": (_by_verdict, 1, ("better", "worse", "no evidence")),
    "worse": (_by_verdict, -1, ("worse", "better", "no evidence")),
    "higher": (_by_mean, 1, ("higher", "lower", "equal")),
    "lower": (_by_mean, -1, ("lower", "higher", "equal")),
    "less variable": (_by_stability, 1, ("less variable", "more variable", "no evidence")),
    "more variable": (_by_stability, -1, ("more variable", "less variable", "no evidence")),
}


def _counted(claim: TaskClaim, group: TaskGroup, record: ComparisonRecord) -> tuple[Outcome, str]:
    """A claim on a number of tasks, by what each of them says."""
    if claim.n_tasks not in (None, len(group.tasks)):
        return (
            "cannot be judged",
            f"it is about {claim.n_tasks} tasks, and the comparison has {len(group.tasks)}",
        )
    say, sign, words = _SAYS[claim.what]
    chosen = claim.tasks or tuple(group.tasks)
    names = (
        [claim.variant]
        if claim.variant
        else [name for name in record.variants if name != record.reference]
    )
    over = max if claim.subject == "some variant" else min
    found = {}
    for task in chosen:
        metric = group.tasks[task].metric
        each = [group.contrast(task, name) for name in names]
        found[task] = over((sign * say(one, metric) if one else 0) for one in each)
    sides = {side: [task for task, one in found.items() if one == side] for side in (1, -1, 0)}
    if claim.what in ("higher", "lower"):
        # Equal means are not higher: nothing is left open, but where there is no mean at all.
        gone = [task for task in sides[0] if not all(_has_mean(group, task, one) for one in names)]
        n_open = len(gone)
    else:
        n_open = len(sides[0])
    least = claim.n_least or len(chosen)
    why = "; ".join(
        f"{word} on {len(sides[side])} ({_listed(sides[side])})" if sides[side] else f"{word} on 0"
        for side, word in zip((1, -1, 0), words, strict=True)
        if sides[side] or side == 1
    )
    if claim.what in ("better", "worse") and claim.variant:
        ahead = sum(
            1
            for task in chosen
            if (one := group.contrast(task, claim.variant))
            and sign * _by_mean(one, group.tasks[task].metric) > 0
        )
        side = "higher" if claim.what == "better" else "lower"
        why += f"; by the means alone, {side} on {ahead} of {len(chosen)}"
    if len(sides[1]) >= least:
        return "held", why
    return ("not held" if len(sides[1]) + n_open < least else "cannot be judged"), why


def _has_mean(group: TaskGroup, task: str, variant: str) -> bool:
    found = group.contrast(task, variant)
    return found is not None and found.delta is not None


def _average(claim: TaskClaim, group: TaskGroup, record: ComparisonRecord) -> tuple[Outcome, str]:
    of_group = f", {group.label}" if group.label else ""
    found = [
        one for one in record.averages if one.name == claim.average and one.title.endswith(of_group)
    ]
    against = found[0].contrasts.get(claim.variant) if found else None
    if against is None:
        return "cannot be judged", f"not every column of {claim.average} was measured"
    points = ""
    if against.delta is not None:
        claims = (
            ("these dev sets", against.this_dev_set),
            ("new examples too", against.new_examples),
        )
        ends = (
            f", {about} [{_points(one.low, 2)}, {_points(one.high, 2)}]"
            for about, one in claims
            if one and one.low is not None and one.high is not None
        )
        points = f" ({_points(against.delta, 2)} points{''.join(ends)})"
    outcome: Outcome = "cannot be judged"
    if against.badge in ("better", "worse"):
        outcome = "held" if against.badge == claim.what else "not held"
    return outcome, f"{against.verdict.replace('this dev set', 'these dev sets')}{points}"


def _gains(claim: TaskClaim, group: TaskGroup) -> tuple[dict[str, np.ndarray], str]:
    """Task → (seeds,) gains of the variant on the seeds that all tasks have; or why there are
    none.
    """
    found = {task: group.contrast(task, claim.variant) for task in group.tasks}
    absent = [task for task, one in found.items() if one is None]
    if absent:
        return {}, f"{claim.variant} was not measured on {_listed(absent)}"
    seeds = set.intersection(*(set(one.seeds) for one in found.values() if one))
    if len(seeds) < FEWEST_SEEDS:
        return {}, f"{len(seeds)} seeds are common to all tasks, and it takes {FEWEST_SEEDS}"
    return {
        task: np.array(
            [
                gain(group.tasks[task].metric, difference)
                for seed, difference in zip(one.seeds, one.differences, strict=True)
                if seed in seeds
            ]
        )
        for task, one in found.items()
        if one
    }, ""


def _small_sets(
    claim: TaskClaim, group: TaskGroup, train_rows: Mapping[str, int]
) -> tuple[Outcome, str]:
    """By the slope of the gain over the logarithm of the training rows, seed by seed (paired t)."""
    gains, why = _gains(claim, group)
    if why:
        return "cannot be judged", why
    sizes = np.log10([train_rows[task] for task in gains])
    if len(gains) < _FEWEST_TASKS or np.ptp(sizes) == 0:
        rows = sorted(set(train_rows.values()))
        few = (
            f"all tasks have {rows[0]:,} training rows"
            if len(rows) == 1
            else "two tasks are no trend"
        )
        return "cannot be judged", few
    centred = sizes - sizes.mean()
    slopes = centred @ np.array(list(gains.values())) / (centred @ centred)
    slope = for_these_rows(slopes)
    low, high = slope.interval()
    why = (
        f"the gain changes by {_points(float(slope.estimate))} points [{_points(float(low))}, "
        f"{_points(float(high))}] with ten times the training rows ({len(gains)} tasks, "
        f"{min(train_rows.values()):,} to {max(train_rows.values()):,} rows)"
    )
    return _sided(slope, -1), why


def _most(claim: TaskClaim, group: TaskGroup) -> tuple[Outcome, str]:
    """By the gain on the task less that on each of the others, seed by seed (paired t): held where
    all of them are above 0, not held where one is below 0 (Holm).
    """
    gains, why = _gains(claim, group)
    if why:
        return "cannot be judged", why
    (task,) = claim.tasks
    others = {
        name: for_these_rows(gains[task] - one) for name, one in gains.items() if name != task
    }
    ranked = sorted(gains, key=lambda name: -gains[name].mean())
    first = f"{ranked[0]} {_points(float(gains[ranked[0]].mean()))}"
    rank = f"rank {ranked.index(task) + 1} of {len(ranked)}"
    mine = f"{task} {_points(float(gains[task].mean()))} ({rank})"
    why = f"mean gain in points: {mine}" + ("" if ranked[0] == task else f", largest {first}")
    if all(_sided(one, 1) == "held" for one in others.values()):
        return "held", why
    p_values = holm([_p(one) for one in others.values()])
    beaten = [
        name
        for (name, one), p in zip(others.items(), p_values, strict=True)
        if p is not None and p < _LEVEL and one.estimate < 0
    ]
    if beaten:
        return "not held", f"{why}; the gain is larger on {_listed(beaten)}"
    open_ = [name for name, one in others.items() if _sided(one, 1) != "held"]
    return "cannot be judged", f"{why}; not told apart from {_listed(open_)}"


def _p(found: Student) -> float:
    """1 where all seeds agree to the last bit: how much they vary was not seen."""
    return float(found.p()) if found.standard_error > 1e-12 * abs(found.estimate) else 1.0


def _sided(found: Student, sign: int) -> Outcome:
    """Held where the estimate has this sign beyond chance, not held where it has the other."""
    if _p(found) >= _LEVEL:
        return "cannot be judged"
    return "held" if sign * found.estimate > 0 else "not held"


def _points(value: float, decimals: int = 1) -> str:
    return f"{100 * value:+.{decimals}f}".replace("-", "−")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)

"""Model soups: which models are put together by the mean of their weights, chosen on dev rows, and
the figures of what they give (Wortsman et al. 2022, "Model soups", recipe 1).

Nothing here knows of weights: whoever asks says how a set of models scores the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from encore import catalogue
from encore.data.table import plural
from encore.evaluation.ensemble_record import EnsembleResult, MemberFigures
from encore.evaluation.ensembles import Choosing, halves
from encore.evaluation.estimates import Estimate, estimate_metrics
from encore.evaluation.paired import paired_differences
from encore.types import LabelSpace

__all__ = ["SOUPS", "SoupChoice", "SoupRows", "measure_soup"]

SOUPS = ("greedy", "uniform")

# Numbers of models, ascending → task → (rows, n_scores) float32 of the mean of their weights.
ScoresOf = Callable[[tuple[int, ...]], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class SoupRows:
    """The dev rows of a task by which models are chosen. metrics: the first one decides. groups:
    (rows,) numbers of those that belong together; None where no column says.
    """

    split: str
    targets: np.ndarray
    labels: LabelSpace
    metrics: tuple[str, ...]
    groups: np.ndarray | None = None


@dataclass(frozen=True)
class SoupChoice:
    """The rule by which models are chosen. names: of the models, which decide among equal ones.
    tasks: their dev rows; of several tasks the mean of their first metrics decides. seed: of the
    two halves.
    """

    method: str
    names: tuple[str, ...]
    tasks: Mapping[str, SoupRows]
    seed: int = 11

    def choose(self, scores_of: ScoresOf, half: int | None = None) -> tuple[int, ...]:
        """The numbers of the models that are averaged, ascending. greedy: the best one, then each
        next one that does not make the figure of the averaged weights worse; uniform: all. half:
        look at one half of each task's rows only.
        """
        everyone = tuple(range(len(self.names)))
        if self.method == "uniform":
            return everyone
        first, *others = self._order(scores_of, half)
        found: tuple[int, ...] = (first,)
        best = self._value(scores_of(found), half)
        for number in others:
            larger = tuple(sorted((*found, number)))
            value = self._value(scores_of(larger), half)
            if value >= best:
                found, best = larger, value
        return found

    def best(self, scores_of: ScoresOf, half: int | None = None) -> int:
        """The number of the best model by itself, equal ones by name."""
        return self._order(scores_of, half)[0]

    def rows(self, task: str, half: int | None) -> np.ndarray:
        """The numbers of a task's rows in a half, or of all."""
        one = self.tasks[task]
        n_rows = len(one.targets)
        return np.arange(n_rows) if half is None else halves(n_rows, self.seed, one.groups)[half]

    def _order(self, scores_of: ScoresOf, half: int | None) -> list[int]:
        values = [self._value(scores_of((number,)), half) for number in range(len(self.names))]
        return sorted(range(len(values)), key=lambda each: (-values[each], self.names[each]))

    def _value(self, scores: Mapping[str, np.ndarray], half: int | None) -> float:
        """The figure that decides: higher is better."""
        found = []
        for task, one in self.tasks.items():
            metric, rows = catalogue.find("metrics", one.metrics[0]), self.rows(task, half)
            rule = Choosing("best", self.names, one.labels, metric)
            value = rule.value(scores[task][rows], one.targets[rows])
            found.append(value if metric.higher_is_better else -value)
        return sum(found) / len(found)


def measure_soup(
    choice: SoupChoice, scores_of: ScoresOf, bootstrap_seed: int
) -> tuple[tuple[int, ...], tuple[EnsembleResult, ...]]:
    """Choose models on dev rows and measure the mean of their weights there, beside the best single
    model; a result for each task. Cross-fitted: each row is scored by what the other half chooses.
    """
    chosen, single = choice.choose(scores_of), choice.best(scores_of)
    by_half = [choice.choose(scores_of, half) for half in (0, 1)]
    single_by_half = [choice.best(scores_of, half) for half in (0, 1)]
    results = []
    for task, one in choice.tasks.items():

        def estimates(scores: np.ndarray, one: SoupRows = one) -> dict[str, Estimate]:
            return estimate_metrics(
                scores, one.targets, one.labels, one.metrics, bootstrap_seed, groups=one.groups
            )

        fitted = _cross_fitted(choice, scores_of, task, by_half)
        fitted_single = _cross_fitted(choice, scores_of, task, [(each,) for each in single_by_half])
        against = paired_differences(
            fitted,
            fitted_single,
            one.targets,
            one.labels,
            one.metrics,
            bootstrap_seed,
            groups=one.groups,
        )
        results.append(
            EnsembleResult(
                task,
                one.split,
                len(one.targets),
                one.metrics,
                _members(choice, scores_of, task, (chosen, *by_half)),
                choice.names[single],
                estimates(scores_of(chosen)[task]),
                estimates(fitted),
                estimates(scores_of((single,))[task]),
                estimates(fitted_single),
                against,
                {},
                notes=_notes(choice, chosen),
            )
        )
    return chosen, tuple(results)


def _members(
    choice: SoupChoice, scores_of: ScoresOf, task: str, chosen: Sequence[tuple[int, ...]]
) -> tuple[MemberFigures, ...]:
    """Every candidate. chosen: those that all rows choose, and those that each half does."""
    one, (whole, *by_half) = choice.tasks[task], chosen
    return tuple(
        MemberFigures(
            name,
            {
                metric: catalogue.find("metrics", metric)(
                    scores_of((number,))[task], one.targets, one.labels
                )
                for metric in one.metrics
            },
            number in whole,
            None,
            sum(number in part for part in by_half),
        )
        for number, name in enumerate(choice.names)
    )


def _cross_fitted(
    choice: SoupChoice, scores_of: ScoresOf, task: str, by_half: Sequence[tuple[int, ...]]
) -> np.ndarray:
    """(rows, n_scores) float32: each half scored by the models that the other half chooses."""
    found = np.zeros_like(scores_of((0,))[task])
    for half, members in enumerate(by_half):
        rows = choice.rows(task, 1 - half)
        found[rows] = scores_of(members)[task][rows]
    return found


def _notes(choice: SoupChoice, chosen: Sequence[int]) -> tuple[str, ...]:
    if len(chosen) > 1:
        return ()
    return (f"one of {plural(len(choice.names), 'model')} is taken, so nothing is averaged",)

"""Races: successive halving on seeds of their own selects the variants that get all seeds.

In each round every remaining variant is run with the round's screening seeds, and one in `factor`
of them survives (rounded up), by the mean of the metric that decides; variants tied with the last
survivor also survive. The reference takes no part and always survives; so does a variant that
cannot be measured beside the others. Every study of a comparison has a race of its own. No decision
depends on time: the same runs give the same decisions.

Two selections, two effects. *Seeds*: the winner of a screening was lucky with its seeds, so those
runs flatter, and none of them enters the table: the survivors are run again with the table's seeds,
and on this dev set their figures are as unbiased as without a race. In 1,500 simulated studies of 8
equal variants (tests/experiments/test_race.py) the winner's screening figure is 0.9 to 1.0 standard
deviations over seeds too good, its figure in the table 0.00 (standard error 0.02). *Rows*: the
screening saw the rows of the table. Which rows suit a variant is not new luck, so *for new
examples* the survivors' differences do flatter, and their probabilities are adjusted for all
variants that started (Holm, those that left with p = 1), which no selection can cheat: false claims
in 2.7 to 3.2 % of the same studies, where adjusting for those who stayed makes 6.0 to 6.9 %.

Source: Karnin, Koren, Somekh, Almost Optimal Exploration in Multi-Armed Bandits, 2013 (sequential
halving); Jamieson, Talwalkar, 2016.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from encore import catalogue, files
from encore.evaluation.comparison_record import Round, StudyRace
from encore.evaluation.metric import Metric
from encore.evaluation.seed_runs import measure_variant
from encore.experiments.cells import CellRunner
from encore.experiments.preparation import PreparedCell, PreparedComparison, distinct_runs
from encore.experiments.results import read_runs
from encore.experiments.seed_scores import same_rows, seed_runs
from encore.experiments.study_keys import Race
from encore.runs.contents import RACE
from encore.runs.prepared import Prepared

__all__ = ["decide_round", "n_runs", "run_race", "saved_by_race", "survivors"]

_EQUAL = 1e-9  # of figures that are means over seeds: the last bits depend on the order of adding


def survivors(
    scores: Mapping[str, float | None], factor: int, *, higher_is_better: bool = True
) -> tuple[str, ...]:
    """The best of them, in their own order: one in `factor`, rounded up, and those tied with the
    last of these. None, a failed run, is eliminated.

    >>> survivors({"a": 0.5, "b": 0.7, "c": 0.6, "d": 0.6}, 2)
    ('b', 'c', 'd')
    >>> survivors({"a": 0.5, "b": None, "c": 0.6}, 2, higher_is_better=False)
    ('a', 'c')
    """
    sign = 1 if higher_is_better else -1
    worth = {name: sign * score for name, score in scores.items() if score is not None}
    if not worth:
        return ()
    last = sorted(worth.values(), reverse=True)[: math.ceil(len(scores) / factor)][-1]
    return tuple(
        name for name, value in worth.items() if value >= last - _EQUAL * max(1.0, abs(last))
    )


def decide_round(
    number: int,
    seeds: Sequence[int],
    scores: Mapping[str, float | None],
    failed: Mapping[str, str],
    factor: int,
    *,
    higher_is_better: bool,
) -> Round:
    """The decision of a round. scores: of the variants in it, None where a run of one failed."""
    stayed = survivors(scores, factor, higher_is_better=higher_is_better)
    return Round(
        number,
        tuple(seeds),
        scores,
        stayed,
        tuple(name for name in scores if name not in stayed),
        failed,
    )


def n_runs(n_variants: int, n_seeds: int, race: Race) -> int:
    """Runs of one study with so many variants beside the reference, screening included, where no
    two are equal.

    >>> n_runs(8, 5, Race((1042, 1043), 2))
    27
    """
    left, screened, before = n_variants, 0, 0
    for seeds in race.rounds if n_variants > 1 else ():
        if left > 1:
            screened += left * (len(seeds) - before)
            before, left = len(seeds), math.ceil(left / race.factor)
    return screened + (left + 1) * n_seeds


# ------------------------------------------------------------------------------------- run by run


@dataclass(frozen=True)
class _Measure:
    """The measure that decides a study's race: one metric of one task on one dev set, on the rows
    of the run `first`.
    """

    first: Prepared
    task: str
    split: str

    @property
    def metric(self) -> str:
        return self.first.streams[self.task].metrics[0]

    @property
    def kind(self) -> Metric:
        return catalogue.find("metrics", self.metric)


class _RacingStudy:
    """The race of one study. racing: the variants that are in it now; those that cannot be run, or
    not be measured beside the others, never are.
    """

    def __init__(self, point: Mapping[str, Any], plan: PreparedComparison) -> None:
        cells, self.point = plan.cells_of(point), point
        self.label, self.screening = cells[0].cell.study, plan.screening_of(point)
        self.measure = _measure(cells, plan.study.reference)
        self.started: tuple[str, ...] = ()
        if (by := self.measure) is not None:
            comparable = {
                each.cell.variant
                for each in self.screening
                if each.run is not None and same_rows(each.run, by.first, by.task, by.split)
            }
            self.started = tuple(name for name in plan.study.variants if name in comparable)
        self.racing = self.started
        self.rounds: list[Round] = []

    def decide(self, number: int, seeds: Sequence[int], factor: int, runner: CellRunner) -> Round:
        """The decision of a round, by the runs with these seeds."""
        by = self.measure
        assert by is not None, "a study without a metric does not race"
        stream = by.first.streams[by.task]
        scores: dict[str, float | None] = {}
        failed: dict[str, str] = {}
        for name in self.racing:
            mine = [
                each
                for each in self.screening
                if each.cell.variant == name and each.cell.seed in seeds
            ]
            arm = measure_variant(
                seed_runs(
                    name,
                    by.task,
                    by.split,
                    mine,
                    [by.first],
                    read_runs(mine, runner),
                    runner.failed,
                ),
                stream.dev[by.split].targets,
                stream.labels,
                by.kind,
            )
            scores[name] = None if arm.failed else arm.mean
            if arm.failed:
                failed[name] = "; ".join(
                    f"seed {seed} failed: {why}" for seed, why in arm.failed.items()
                )
        return decide_round(
            number, seeds, scores, failed, factor, higher_is_better=by.kind.higher_is_better
        )

    def to_json(self, *, over: bool) -> dict[str, Any]:
        """Its entry in race.json; over: whether no round follows."""
        entry: dict[str, Any] = {
            "study": self.label,
            "point": dict(self.point),
            "metric": self.measure.metric if self.measure else None,
            "started": list(self.started),
            "rounds": [one.to_json() for one in self.rounds],
        }
        return entry | ({"stayed": list(self.racing)} if over else {})

    @property
    def result(self) -> StudyRace:
        return StudyRace(
            self.measure.metric if self.measure else None,
            self.started,
            tuple(self.rounds),
            self.racing,
        )


def _measure(cells: Sequence[PreparedCell], reference: str) -> _Measure | None:
    """By the reference's rows, else by those of the first variant that can be run."""
    runs = [(each.cell.variant, each.run) for each in cells if each.run is not None]
    first = next((run for variant, run in runs if variant == reference), None)
    first = first or next((run for _, run in runs), None)
    if first is None:
        return None
    for task, stream in first.streams.items():
        if stream.metrics:
            return _Measure(first, task, next(iter(stream.dev)))
    return None


def run_race(runner: CellRunner) -> tuple[StudyRace, ...]:
    """Run the screening, round by round in all studies at once; one result for each point of the
    study. race.json is written after every round; `runner.eliminated` takes who left.
    """
    study, race = runner.plan.study, runner.plan.study.race
    assert race is not None, "the study has no race"
    studies = [_RacingStudy(point, runner.plan) for point in study.points]

    def write(*, over: bool = False) -> None:
        entries = [each.to_json(over=over) for each in studies]
        found = {"factor": race.factor, "seeds": list(race.seeds), "studies": entries}
        files.write_json(runner.folder / RACE, found)

    for number, seeds in enumerate(race.rounds, 1):
        still = [each for each in studies if len(each.racing) > 1]
        cells = [
            each
            for one in still
            for each in one.screening
            if each.cell.variant in one.racing and each.cell.seed in seeds
        ]
        runner.compute(distinct_runs(race.seeds, cells), f"screening, round {number}: ")
        for one in still:
            decided = one.decide(number, seeds, race.factor, runner)
            one.rounds.append(decided)
            runner.eliminated |= {(one.label, name): number for name in decided.left}
            one.racing = decided.stayed
        write()
    write(over=True)
    return tuple(each.result for each in studies)


def saved_by_race(runner: CellRunner) -> dict[str, float]:
    """Runs and seconds of computing of this race and of the full grid. A run that was not made
    counts as a run of its variant that was.
    """
    seconds: dict[tuple[str, str], list[float]] = {}
    made = 0.0
    for name in runner.wanted:
        if name in runner.failed:
            continue
        took = float(files.read_json(runner.runs / name / "cost.json")["seconds"])
        made += took
        for each in runner.cells:
            if each.run is not None and each.run.name == name:
                seconds.setdefault((each.cell.study, each.cell.variant), []).append(took)
    of_run = {
        each.run.name: seconds[each.cell.study, each.cell.variant]
        for each in runner.plan.cells
        if each.run is not None and (each.cell.study, each.cell.variant) in seconds
    }
    return {
        "runs": len(runner.wanted),
        "runs_of_the_grid": len(runner.plan.distinct),
        "seconds": made,
        "seconds_of_the_grid": sum(sum(took) / len(took) for took in of_run.values()),
    }

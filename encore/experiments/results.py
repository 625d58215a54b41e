"""Measures a comparison: variants, contrasts with the reference, averages and claims over tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from encore import catalogue
from encore.evaluation import contrast
from encore.evaluation.claims import Contrast
from encore.evaluation.comparison_record import (
    CommonEpoch,
    ComparisonRecord,
    MetricResult,
    RaceSummary,
    StudyRace,
    StudyResult,
    VariantResult,
)
from encore.evaluation.contrast import Contrasts
from encore.evaluation.seed_runs import Arm, SeedRuns
from encore.evaluation.task_claims import judge_claims
from encore.experiments.cells import CellRunner
from encore.experiments.ensembles import measure_ensembles
from encore.experiments.preparation import PreparedCell, PreparedComparison
from encore.experiments.seed_scores import dev_rows, first_runs, mean_baselines, seed_runs
from encore.experiments.sequences import measure_sequences
from encore.experiments.task_averages import ColumnKey, in_an_average, task_averages
from encore.experiments.variants import Study
from encore.recipe.expectations import AVERAGES
from encore.runs.folder import RunResult, read_result
from encore.runs.prepared import Prepared
from encore.types import LabelSpace

__all__ = [
    "measure_comparison",
    "metric_results",
    "read_runs",
]

# variant → (mean, standard deviation) that the source reports
Expected = Callable[[str], tuple[float | None, float | None]]


def measure_comparison(
    runner: CellRunner, races: Sequence[StudyRace] | None = None
) -> ComparisonRecord:
    """All figures of a comparison whose runs have been computed. races: of each point of the
    study, where there was one.
    """
    plan = runner.plan
    study = plan.study
    studies: list[StudyResult] = []
    columns: dict[ColumnKey, Contrasts] = {}
    train_rows: dict[tuple[str, str], int] = {}
    for number, point in enumerate(study.points):
        cells = [each for each in plan.cells_of(point) if runner.eliminated_in(each.cell) is None]
        race = races[number] if races else None
        measured = _Studies(plan, cells, read_runs(cells, runner), runner.failed, race)
        for task in cells[0].cell.tasks:
            found = measured.of_task(task)
            studies += found
            train_rows |= {(one.study, task): measured.n_train(task) for one in found}
        columns |= measured.columns
    summary = None
    if study.race is not None:
        summary = RaceSummary(
            study.race.factor, study.race.seeds, len(runner.wanted), len(plan.distinct)
        )
    expected = {each.cell.variant: each.cell.recipe.expect for each in plan.cells}
    record = ComparisonRecord(
        study.name,
        study.reference,
        study.variants,
        study.seeds,
        tuple(studies),
        task_averages(studies, study.variants, expected, columns, study.reference),
        (*study.notes, *_on_folds(study), *_equal_variants(plan)),
        summary,
        measure_sequences(runner, studies),
        measure_ensembles(runner),
    )
    return replace(record, claims=judge_claims(study.claims, record, train_rows))


def read_runs(cells: Sequence[PreparedCell], runner: CellRunner) -> dict[str, RunResult]:
    """Run name → result, of the cells whose runs did not fail."""
    return {
        each.run.name: read_result(runner.runs / each.run.name)
        for each in cells
        if each.run is not None and each.run.name not in runner.failed
    }


class _Studies:
    """Measures the dev sets of one point of the study. cells: without those of variants that have
    left its race; results: run name → result; failed: run name → what went wrong.
    """

    def __init__(
        self,
        plan: PreparedComparison,
        cells: Sequence[PreparedCell],
        results: Mapping[str, RunResult],
        failed: Mapping[str, tuple[str, ...]],
        race: StudyRace | None,
    ) -> None:
        self.study, self.cells, self.results, self.failed = plan.study, cells, results, failed
        self.race = race
        self.firsts = first_runs(cells, plan.study.reference)
        self.first = next(iter(self.firsts), None)
        present = {each.cell.variant for each in cells}
        self.variants = [name for name in plan.study.variants if name in present]
        self.columns: dict[ColumnKey, Contrasts] = {}  # those of averages over tasks

    def n_train(self, task: str) -> int:
        """The rows that a task is trained on; 0 where nothing can be run."""
        return (
            len(self.first.streams[task].train) if self.first and task in self.first.streams else 0
        )

    def of_task(self, task: str) -> list[StudyResult]:
        """One result for each dev set of the task."""
        if self.first is None or task not in self.first.streams:
            why = {each.cell.variant: each.why for each in self.cells}
            return [self._result(task, None, 0, (), {}, (), why, None)]
        return [self._of_set(task, split, self.first) for split in self.first.streams[task].dev]

    def _of_set(self, task: str, split: str, first: Prepared) -> StudyResult:
        stream = first.streams[task]
        rows = dev_rows(self.firsts, task, split)
        arms = {
            name: seed_runs(
                name, task, split, self._cells_of(name), self.firsts, self.results, self.failed
            )
            for name in self.variants
        }
        reference = arms[self.study.reference]
        others = [arm for arm in arms.values() if arm is not reference]
        n_left = len(self.study.variants) - len(self.variants)
        metrics = []
        for name in stream.metrics:
            measured, compared = metric_results(
                reference,
                others,
                rows.targets,
                stream.labels,
                name,
                partial(self._expected, task, split, name),
                n_left=n_left,
                groups=rows.clusters,
            )
            metrics.append(self._with_details(task, split, measured))
            if in_an_average(task, split, name):
                self.columns[self.cells[0].cell.study, task, split, name] = compared
        why = {arm.name: arm.not_applicable for arm in arms.values() if arm.not_applicable}
        return self._result(
            task,
            split,
            len(rows),
            tuple(metrics),
            self._baselines(task, split),
            self._notes(task, first),
            why,
            self.race,
        )

    def _result(
        self,
        task: str,
        split: str | None,
        n_rows: int,
        metrics: tuple[MetricResult, ...],
        baselines: Mapping[str, Mapping[str, float]],
        notes: tuple[str, ...],
        why: Mapping[str, str],
        race: StudyRace | None,
    ) -> StudyResult:
        cell = self.cells[0].cell
        return StudyResult(
            cell.study, dict(cell.point), task, split, n_rows, metrics, baselines, notes, why, race
        )

    def _cells_of(self, variant: str) -> list[PreparedCell]:
        return [each for each in self.cells if each.cell.variant == variant]

    def _expected(
        self, task: str, split: str, metric: str, variant: str
    ) -> tuple[float | None, float | None]:
        """(mean, standard deviation) that the source reports: `rte.accuracy`, `rte.accuracy.sd`;
        with several dev sets `mnli.dev_matched.accuracy`.
        """
        find = partial(self._expectation, task, split, metric, variant)
        return find(""), find(".sd")

    def _expectation(
        self, task: str, split: str, metric: str, variant: str, ending: str
    ) -> float | None:
        expect = self._cells_of(variant)[0].cell.recipe.expect
        of_task = expect.get(f"{task}.{metric}{ending}")
        return expect.get(f"{task}.{split}.{metric}{ending}", of_task)

    def _with_details(self, task: str, split: str, measured: MetricResult) -> MetricResult:
        """With what some sources report besides: the best seed (`rte.accuracy.max`), and of several
        tasks the figure at their common epoch (`rte.accuracy.common`), or an average of such
        figures (`glue.columns.common`).
        """
        rows = []
        for row in measured.variants:
            find = partial(self._expectation, task, split, measured.metric, row.variant)
            common = find(".common")
            expect = self._cells_of(row.variant)[0].cell.recipe.expect
            if common is not None or any(f"{name}.common" in expect for name in AVERAGES):
                values = self._at_common_epoch(task, split, measured.metric, row)
                row = replace(row, common=_common_epoch(values, common, measured.metric))
            rows.append(replace(row, expected_max=find(".max")))
        return replace(measured, variants=tuple(rows))

    def _at_common_epoch(
        self, task: str, split: str, metric: str, row: VariantResult
    ) -> list[float]:
        """The value of each seed; none where the runs do not have it: it is the task's first metric
        on its first dev set that runs keep of every epoch.
        """
        stream = self.first.streams[task] if self.first else None
        if stream is None or (split, metric) != (next(iter(stream.dev)), stream.metrics[0]):
            return []
        best = [
            self.results[each.run.name].best
            for each in self._cells_of(row.variant)
            if each.run is not None and each.cell.seed in row.seeds
        ]
        return [one["common"]["values"][task] for one in best if one]

    def _baselines(self, task: str, split: str) -> dict[str, dict[str, float]]:
        """Predictors without an encoder → metric → value, of the reference's first seed that has
        them.
        """
        by_seed: dict[int, list[RunResult]] = {}
        for each in self._cells_of(self.study.reference):
            if each.run is not None and each.run.name in self.results:
                by_seed.setdefault(each.cell.seed, []).append(self.results[each.run.name])
        found = (mean_baselines(results, task, split) for results in by_seed.values())
        return next(filter(None, found), {})

    def _notes(self, task: str, first: Prepared) -> tuple[str, ...]:
        """Notes on the reference's figures of a task; then those on other variants only."""
        # Of several folds the first speaks for all.
        firsts = [each for each in self.cells if each.cell.fold in (None, self.cells[0].cell.fold)]
        common = list(map(str, first.notes_of(task)))
        others = (
            f"{each.cell.variant}: {note}"
            for each in firsts
            if each.run is not None
            for note in map(str, each.run.notes_of(task))
            if note not in common
        )
        return tuple(dict.fromkeys([*common, *others]))


def _common_epoch(
    values: Sequence[float], expected: float | None, metric: str
) -> CommonEpoch | None:
    if not values:
        return None
    return CommonEpoch(
        tuple(values),
        float(np.mean(values)),
        float(np.std(values, ddof=1)) if len(values) > 1 else None,
        (max if catalogue.find("metrics", metric).higher_is_better else min)(values),
        expected,
    )


def _on_folds(study: Study) -> list[str]:
    """A note on the rows that a comparison with folds is measured on."""
    if study.folds is None:
        return []
    return [
        f"trained on each of {study.folds} folds: figures are those of all rows, each scored by "
        f"the run that did not train on it; the baselines are means over the folds. The runs "
        f"share training rows, and intervals do not count what other training rows would change."
    ]


def _equal_variants(plan: PreparedComparison) -> list[str]:
    """Notes on variants that differ in nothing that changes a run."""
    runs: dict[str, list[str | None]] = {}
    for each in plan.cells:
        runs.setdefault(each.cell.variant, []).append(each.run.name if each.run else None)
    names = list(runs)
    return [
        f"{b} is the same as {a}: its changes equal settings that the recipe already has."
        for at, b in enumerate(names)
        for a in names[:at]
        if runs[a] == runs[b] and any(runs[a])
    ]


def metric_results(
    reference: SeedRuns,
    others: Sequence[SeedRuns],
    targets: np.ndarray,
    labels: LabelSpace,
    metric: str,
    expected: Expected,
    *,
    n_left: int = 0,
    groups: np.ndarray | None = None,
) -> tuple[MetricResult, Contrasts]:
    """One metric on one dev set: every variant, the reference first; and what that was made of.
    n_left: variants that have left a race on these rows. groups: (rows,) numbers of those that
    belong together.
    """
    found = contrast.compare_variants(
        reference,
        others,
        targets,
        labels,
        catalogue.find("metrics", metric),
        n_left=n_left,
        groups=groups,
    )
    contrasts = {one.variant: one for one in found.contrasts}
    arms = (found.baseline, *found.variants)
    rows = tuple(_variant(arm, contrasts.get(arm.name), *expected(arm.name)) for arm in arms)
    return MetricResult(metric, rows), found


def _variant(
    arm: Arm, against: Contrast | None, expected: float | None, expected_sd: float | None
) -> VariantResult:
    return VariantResult(
        arm.name,
        arm.seeds,
        arm.values,
        arm.mean,
        arm.sd,
        arm.best,
        expected,
        expected_sd,
        arm.collapsed,
        arm.failed,
        arm.not_applicable,
        against if arm.not_applicable is None else None,
    )

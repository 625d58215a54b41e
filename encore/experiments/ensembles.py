"""Measures the ensembles that a comparison ends with: methods over the runs of each study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from encore import catalogue
from encore.evaluation.claims import Contrast
from encore.evaluation.contrast import compare_variants
from encore.evaluation.ensemble_record import EnsembleRow, measure_ensemble
from encore.evaluation.ensembles import Choosing
from encore.evaluation.seed_runs import SeedRuns
from encore.experiments.cells import CellRunner
from encore.experiments.preparation import PreparedCell
from encore.runs.folder import read_result, read_scores
from encore.runs.prepared import Prepared

__all__ = ["measure_ensembles"]

RunScores = Mapping[tuple[str, int], np.ndarray]  # by variant and seed


def measure_ensembles(runner: CellRunner) -> tuple[EnsembleRow, ...]:
    """A row for each study, task, first dev set and method."""
    study = runner.plan.study
    if not study.ensembles:
        return ()
    return tuple(
        row
        for point in study.points
        for cells in [runner.plan.cells_of(point)]
        for task in cells[0].cell.tasks
        for row in _of_task(task, runner, cells)
    )


def _of_task(task: str, runner: CellRunner, cells: Sequence[PreparedCell]) -> Iterator[EnsembleRow]:
    """Runs that failed, left a race or were measured on other rows than the first are left out. A
    run of several cells takes part once.
    """
    usable = [
        (each, each.run)
        for each in cells
        if each.run is not None
        and each.run.name not in runner.failed
        and runner.eliminated_in(each.cell) is None
    ]
    if not usable:
        return
    first = usable[0][1]
    stream = first.streams[task]
    split, rows = next(iter(stream.dev.items()))
    scores, run_of = {}, {}
    for each, run in usable:
        if _same_rows(run, first, task, split):
            result = read_result(runner.runs / run.name)
            key = (each.cell.variant, each.cell.seed)
            run_of[key] = run.name
            scores[key] = read_scores(result.folder, task, split, result.epoch_of(task))
    study = runner.plan.study
    members = {run_of[key]: key for key in reversed(run_of) if key[0] in study.ensembles_of}
    candidates = [key for key in run_of if members.get(run_of[key]) == key]
    if len(candidates) < 2:
        return
    targets = np.asarray(rows.targets)
    for one in study.ensembles:
        metrics = [
            name
            for name in stream.metrics
            if one.method != "vote" or not catalogue.find("metrics", name).needs_probabilities
        ]
        if not metrics or (one.method == "vote" and stream.labels.kind == "regression"):
            continue
        metric = catalogue.find("metrics", metrics[0])
        names = tuple(f"{variant}, {seed}" for variant, seed in candidates)
        rule = one.rule(task, names, stream.labels, metric, rows.clusters)
        taken = [scores[key] for key in candidates]
        _, measured, fitted = measure_ensemble(
            rule, taken, targets, metrics, task=task, dev_set=split, seed=first.recipe.seed
        )
        against = _against_variants(rule, fitted, scores, targets)
        yield EnsembleRow(cells[0].cell.study, one.method, measured, tuple(against))


def _against_variants(
    rule: Choosing, combined: np.ndarray, scores: RunScores, targets: np.ndarray
) -> Iterator[Contrast]:
    """For each variant, the ensemble less each of its runs. The ensemble is one model, the same
    beside all seeds, so an interval holds for this ensemble, not for others made alike.
    """
    for variant in dict.fromkeys(name for name, _ in scores):
        runs = {seed: one for (name, seed), one in scores.items() if name == variant}
        same = SeedRuns("ensemble", dict.fromkeys(runs, combined))
        compared = compare_variants(
            SeedRuns(variant, runs), [same], targets, rule.labels, rule.metric, groups=rule.groups
        )
        yield replace(compared.contrasts[0], variant=variant)


def _same_rows(one: Prepared, other: Prepared, task: str, split: str) -> bool:
    """True if two runs have the same dev rows with the same targets and labels."""
    if task not in one.streams or one.data[task].labels != other.data[task].labels:
        return False
    mine, theirs = one.streams[task].dev.get(split), other.streams[task].dev[split]
    return mine is not None and (
        mine.digest == theirs.digest
        and np.array_equal(mine.numbers, theirs.numbers)
        and np.array_equal(mine.targets, theirs.targets)
    )

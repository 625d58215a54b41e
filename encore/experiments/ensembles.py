"""Measures the ensembles that a comparison ends with: methods over the runs of each study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from encore import catalogue
from encore.evaluation.ensemble_record import EnsembleRow, measure_ensemble
from encore.experiments.cells import CellRunner
from encore.experiments.preparation import PreparedCell
from encore.runs.ensemble import EnsembleSettings
from encore.runs.folder import RunResult, read_result, read_scores
from encore.runs.prepared import Prepared

__all__ = ["measure_ensembles"]


def measure_ensembles(runner: CellRunner) -> tuple[EnsembleRow, ...]:
    """A row for each study, task, first dev set and method."""
    study = runner.plan.study
    if not study.ensembles:
        return ()
    return tuple(
        row
        for point in study.points
        for row in _of_point(runner, runner.plan.cells_of(point), study.ensembles)
    )


def _of_point(
    runner: CellRunner, cells: Sequence[PreparedCell], settings: Sequence[EnsembleSettings]
) -> Iterator[EnsembleRow]:
    """Runs that failed, left a race or were measured on other rows than the first are left out. A
    run of several cells takes part once.
    """
    runs: dict[str, tuple[str, Prepared]] = {}
    for each in cells:
        if each.run is None or each.run.name in runner.failed:
            continue
        if runner.eliminated_in(each.cell) is None:
            runs.setdefault(each.run.name, (f"{each.cell.variant}, {each.cell.seed}", each.run))
    results = {name: read_result(runner.runs / name) for name in runs}
    for task in cells[0].cell.tasks if runs else ():
        yield from _of_task(task, cells[0].cell.study, runs, results, settings)


def _of_task(
    task: str,
    study: str,
    runs: Mapping[str, tuple[str, Prepared]],
    results: Mapping[str, RunResult],
    settings: Sequence[EnsembleSettings],
) -> Iterator[EnsembleRow]:
    first = next(one for _, one in runs.values())
    stream = first.streams[task]
    split, rows = next(iter(stream.dev.items()))
    names, scores = [], []
    for name, (title, run) in runs.items():
        if _same_rows(run, first, task, split):
            result = results[name]
            names.append(title)
            scores.append(read_scores(result.folder, task, split, result.epoch_of(task)))
    if len(names) < 2:
        return
    for one in settings:
        metrics = [
            name
            for name in stream.metrics
            if one.method != "vote" or not catalogue.find("metrics", name).needs_probabilities
        ]
        if not metrics or (one.method == "vote" and stream.labels.kind == "regression"):
            continue
        metric = catalogue.find("metrics", metrics[0])
        rule = one.rule(task, tuple(names), stream.labels, metric, rows.clusters)
        _, measured = measure_ensemble(
            rule,
            scores,
            np.asarray(rows.targets),
            metrics,
            task=task,
            dev_set=split,
            seed=first.recipe.seed,
        )
        yield EnsembleRow(study, one.method, measured)


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

"""The scores of a variant, seed by seed: of one run each, or of the runs of all folds, put together
in the order of the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from encore.evaluation.seed_runs import SeedRuns
from encore.experiments.preparation import PreparedCell
from encore.runs.folder import MODEL, RunResult, read_scores
from encore.runs.pooled_rows import PooledRows, pooled
from encore.runs.prepared import Prepared

__all__ = ["alike", "dev_rows", "first_runs", "mean_baselines", "same_rows", "seed_runs"]


def first_runs(cells: Sequence[PreparedCell], reference: str) -> tuple[Prepared, ...]:
    """The runs whose rows all others must share: those of the reference's first seed, else of the
    first variant that can be run. Several where there are folds; none where nothing can be run.
    """
    ready = [each for each in cells if each.run is not None]
    first = next((each for each in ready if each.cell.variant == reference), None)
    first = first or next(iter(ready), None)
    if first is None:
        return ()
    key = (first.cell.variant, first.cell.seed)
    runs = [each.run for each in ready if (each.cell.variant, each.cell.seed) == key]
    return tuple(run for run in runs if run is not None)


def dev_rows(runs: Sequence[Prepared], task: str, split: str) -> PooledRows:
    """The dev rows of one run, or of all folds of one seed."""
    return pooled([run.streams[task].dev[split] for run in runs])


def seed_runs(
    variant: str,
    task: str,
    split: str,
    cells: Sequence[PreparedCell],
    firsts: Sequence[Prepared],
    results: Mapping[str, RunResult],
    failed: Mapping[str, tuple[str, ...]],
) -> SeedRuns:
    """The scores of a variant's runs on one dev set. cells: the variant's. firsts: the runs whose
    rows they must share; results, failed: by run name.
    """
    scores: dict[int, np.ndarray] = {}
    lost: dict[int, str] = {}
    why = None
    for seed, mine in _by_seed(cells).items():
        runs = [each.run for each in mine if each.run is not None]
        names = [run.name for run in runs]
        broken = next((failed[name][0] for name in names if name in failed), None)
        if len(runs) < len(mine):
            why = next(each.why for each in mine if each.run is None)
        elif broken is not None:
            lost[seed] = broken
        elif not alike(runs, firsts, task, split):
            why = (
                f"it is measured on other rows than {firsts[0].name}, so the two cannot be compared"
            )
        else:
            found = (results[name] for name in names)
            parts = [read_scores(one.folder, task, split, one.epoch_of(task)) for one in found]
            scores[seed] = dev_rows(runs, task, split).scores(parts)
    return SeedRuns(variant, {} if why else scores, {} if why else lost, why)


def _by_seed(cells: Sequence[PreparedCell]) -> dict[int, list[PreparedCell]]:
    found: dict[int, list[PreparedCell]] = {}
    for each in cells:
        found.setdefault(each.cell.seed, []).append(each)
    return found


def same_rows(one: Prepared, other: Prepared, task: str, split: str) -> bool:
    """True if two runs have the same dev rows with the same targets and labels."""
    return alike([one], [other], task, split)


def alike(some: Sequence[Prepared], others: Sequence[Prepared], task: str, split: str) -> bool:
    """True if the runs of two seeds have the same dev rows, with the same targets and labels. How
    these are dealt out to folds may differ.
    """
    if any(
        task not in one.streams
        or split not in one.streams[task].dev
        or one.data[task].labels != others[0].data[task].labels
        for one in some
    ):
        return False
    mine, theirs = dev_rows(some, task, split), dev_rows(others, task, split)
    return (
        mine.digest == theirs.digest
        and mine.numbers.tolist() == theirs.numbers.tolist()
        and mine.targets.tolist() == theirs.targets.tolist()
    )


def mean_baselines(
    results: Sequence[RunResult], task: str, split: str
) -> dict[str, dict[str, float]]:
    """Predictors without an encoder → metric → value of a run, or the mean over those of all folds;
    none where the run has none.
    """
    first = results[0].metrics[task][split]
    return {
        who: {
            name: estimate.value
            if len(results) == 1
            else float(np.mean([one.metrics[task][split][who][name].value for one in results]))
            for name, estimate in values.items()
        }
        for who, values in first.items()
        if who != MODEL
    }

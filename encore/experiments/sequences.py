"""Measures a comparison's sequences: what training on one task gives to the next, and what it takes
from those before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from encore import catalogue
from encore.evaluation import contrast
from encore.evaluation.comparison_record import StudyResult
from encore.evaluation.seed_runs import SeedRuns
from encore.evaluation.sequence_record import Forgetting, SequenceResult
from encore.experiments.cells import CellRunner
from encore.experiments.preparation import PreparedCell
from encore.runs.folder import RunResult, read_forgetting, read_result, read_scores
from encore.runs.forgetting import earlier_starts
from encore.runs.prepared import Start

__all__ = ["measure_sequences"]

_Key = tuple[str, str]  # study and variant


def measure_sequences(
    runner: CellRunner, studies: Sequence[StudyResult]
) -> tuple[SequenceResult, ...]:
    """Every variant that is to measure what it forgets, in the order of the studies. All that
    followed the same runs are judged together (Holm).
    """
    found: dict[_Key, dict[int, PreparedCell]] = {}
    for each in runner.plan.cells:
        if each.run is None or each.run.name in runner.failed or not any(earlier_starts(each.run)):
            continue
        found.setdefault((each.cell.study, each.cell.variant), {})[each.cell.seed] = each
    if not found:
        return ()
    results = {
        cell.run.name: read_result(runner.runs / cell.run.name)
        for cells in found.values()
        for cell in cells.values()
        if cell.run is not None
    }
    forgotten = _Earlier(runner, found, results).measure()
    return tuple(_sequence(key, cells, studies, forgotten[key]) for key, cells in found.items())


def _sequence(
    key: _Key,
    cells: Mapping[int, PreparedCell],
    studies: Sequence[StudyResult],
    forgotten: Sequence[Forgetting],
) -> SequenceResult:
    study, variant = key
    measured = next((one for one in studies if one.study == study and one.metrics), None)
    first = next(iter(cells.values())).run
    assert first is not None, "runs that were not prepared are left out"
    order = [start.task for start in earlier_starts(first)][::-1]
    if measured is None:
        return SequenceResult((*order, study), study, variant, "", None, tuple(forgotten))
    row = measured.metrics[0].variant(variant)
    transfer = None if row is None else row.contrast
    metric = measured.metrics[0].metric
    return SequenceResult(
        (*order, measured.task), study, variant, metric, transfer, tuple(forgotten)
    )


class _Earlier:
    """Scores of earlier tasks, before and after. results: run name → result."""

    def __init__(
        self,
        runner: CellRunner,
        found: Mapping[_Key, Mapping[int, PreparedCell]],
        results: Mapping[str, RunResult],
    ) -> None:
        self.runs, self.results = runner.runs, results
        # The first runs, one for each seed → what followed them.
        self.followed: dict[tuple[str, ...], list[_Key]] = {}
        self.cells = found
        self.starts: dict[tuple[_Key, tuple[str, ...]], dict[int, Start]] = {}
        for key, cells in found.items():
            by_task: dict[str, dict[int, Start]] = {}
            for seed, each in cells.items():
                assert each.run is not None, "runs that were not prepared are left out"
                for start in earlier_starts(each.run):
                    by_task.setdefault(start.task, {})[seed] = start
            for task, starts in by_task.items():
                firsts = (task, *(start.name for start in starts.values()))
                self.followed.setdefault(firsts, []).append(key)
                self.starts[key, firsts] = starts

    def measure(self) -> dict[_Key, list[Forgetting]]:
        """Study and variant → what it changed of each earlier task, the first one first."""
        found: dict[_Key, list[Forgetting]] = {key: [] for key in self.cells}
        for firsts, keys in self.followed.items():
            starts = self.starts[keys[0], firsts]
            one = next(iter(starts.values()))
            assert one.run is not None, "only runs that were prepared are measured again"
            stream = one.run.streams[one.task]
            split, metric = next(iter(stream.dev)), stream.metrics[0]
            before = SeedRuns(
                "before", {seed: self._before(each, split) for seed, each in starts.items()}
            )
            after = [
                SeedRuns(
                    " ".join(key),
                    {seed: self._after(key, seed, one.task, split) for seed in starts},
                )
                for key in keys
            ]
            rows, kind = stream.dev[split], catalogue.find("metrics", metric)
            judged = contrast.compare_variants(
                before, after, rows.targets, stream.labels, kind, groups=rows.clusters
            )
            for key, change in zip(keys, judged.contrasts, strict=True):
                named = replace(change, variant=key[1])
                found[key].insert(0, Forgetting(one.task, metric, len(rows), named))
        return found

    def _before(self, start: Start, split: str) -> np.ndarray:
        result = read_result(self.runs / start.name)
        return read_scores(result.folder, start.task, split, result.epoch_of(start.task))

    def _after(self, key: _Key, seed: int, task: str, split: str) -> np.ndarray:
        run = self.cells[key][seed].run
        assert run is not None, "runs that were not prepared are left out"
        result = self.results[run.name]
        return read_forgetting(result.folder, task, split, result.epoch)

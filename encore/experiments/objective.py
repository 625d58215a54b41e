"""The objective of a search: one run for each seed of a trial, and their mean."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encore.experiments.search_preparation import PreparedSearch
from encore.experiments.trial import TrialReport, TrialScore
from encore.runs.cache import Cache
from encore.runs.execute import execute_when_free
from encore.runs.folder import MODEL, RunResult
from encore.runs.prepare import prepare
from encore.runs.prepared import Prepared
from encore.training.loop import higher_is_better
from encore.training.reports import EvalReport, StepReport

__all__ = ["SearchObjective"]


@dataclass(frozen=True)
class SearchObjective:
    """An `Objective` that trains a recipe. runs: the folder of its runs; those that are complete
    are read.
    """

    search: PreparedSearch
    runs: Path

    def __call__(self, given: Mapping[str, Any], report: TrialReport) -> TrialScore:
        search = self.search
        cache = Cache(dict(search.cache.found))  # what this trial reads does not outlive it
        seeds, by_seed = search.search.trial_seeds, search.pruner == "wilcoxon"
        values, best, names, seconds = [], [], [], 0.0
        for position, seed in enumerate(seeds):
            one = prepare(search.search.recipe(given, seed), cache)
            is_last = position == len(seeds) - 1
            n_epochs = sum(phase.epochs for phase in one.plan)

            def each_epoch(
                epoch: int,
                value: float,
                done: bool,
                start: int = position * search.epochs - 1,
                end: int = n_epochs if is_last else 0,
            ) -> None:
                report(start + epoch, value, final=done or epoch == end)

            result, epochs = self._run(one, (lambda *_: None) if by_seed else each_epoch)
            values.append(self._value(result))
            best.append(max(epochs.values()) if search.maximise else min(epochs.values()))
            names.append(result.folder.name)
            seconds += result.seconds
            if by_seed:
                report(position, values[-1], final=is_last)
        return TrialScore(
            statistics.fmean(values), tuple(values), tuple(names), statistics.fmean(best), seconds
        )

    def _run(
        self, one: Prepared, each_epoch: Callable[[int, float, bool], None]
    ) -> tuple[RunResult, dict[int, float]]:
        """The run and its value at every epoch. each_epoch: takes epoch, value, and whether that
        is over already (the run was complete, or was resumed).
        """
        seen: dict[int, float] = {}
        maximise = self.search.maximise

        def see(epoch: int, selected: float | None, done: bool) -> None:
            if selected is not None and epoch not in seen:
                seen[epoch] = selected if maximise else -selected
                each_epoch(epoch, seen[epoch], done)

        def watch(report: StepReport | EvalReport) -> None:
            if isinstance(report, EvalReport):
                see(report.epoch, report.selected, False)

        result = execute_when_free(one, self.runs, keep_model=False, watch=watch)
        for line in (result.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            see(record["epoch"], record["selected"], True)
        return result, seen

    def _value(self, result: RunResult) -> float:
        """The mean over the tasks of their first metric on their first dev set, at the reported
        epoch. Where higher is better of one task and lower of another, the latter's count with
        their sign turned, as for early stopping.
        """
        maximise = self.search.maximise
        found = [
            (metric, result.metrics[task][split][MODEL][metric].value)
            for task, (split, metric) in self.search.metrics.items()
        ]
        return statistics.fmean(
            -value if maximise and not higher_is_better(metric) else value
            for metric, value in found
        )

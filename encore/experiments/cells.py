"""Computes the runs of a comparison that are missing, and keeps cells.json up to date: study,
variant, seed → run folder and state.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from encore import files
from encore.experiments.borrowed import drop_borrowed, record_borrowed
from encore.experiments.cell_state import CellState
from encore.experiments.executors.choice import executor_for
from encore.experiments.executors.jobs import End
from encore.experiments.preparation import PreparedCell, PreparedComparison
from encore.experiments.run_jobs import run_job
from encore.experiments.variants import Cell
from encore.runs.contents import damaged_files
from encore.runs.execute import execute
from encore.runs.folder import MODEL
from encore.runs.hardware import cores
from encore.runs.memory import most_at_once
from encore.runs.places import is_kept
from encore.runs.prepared import Prepared
from encore.tables.formatting import format_duration

__all__ = [
    "CellRunner",
    "import_for_runs",
    "predecessors",
    "processes_that_fit",
]

# What a run imports on its way: the optimiser brings torch's compiler along, the simple baselines
# scikit-learn.
_NEEDED = (
    "torch._dynamo",
    "sklearn.feature_extraction.text",
    "sklearn.linear_model",
    "sklearn.metrics",
    "scipy.stats",
)


def import_for_runs() -> None:
    """Import what runs import, once here and not in each of the forked processes."""
    for module in _NEEDED:
        importlib.import_module(module)


def processes_that_fit(
    runs: Iterable[Prepared],
    n_jobs: int,
    processes: int | None,
    threads: int,
    report: Callable[[str], None],
) -> int:
    """The number of runs at once: `processes`, as many as the machine has cores for if None, or
    fewer where the free memory does not suffice, which is reported. runs: such as are to be run.
    """
    at_once = min(n_jobs, processes or max(1, cores() // threads))
    fitting, why = most_at_once(runs) if at_once > 1 else (at_once, "")
    if fitting < at_once:
        report(f"{fitting} at once and not {at_once}: {why}")
    return min(at_once, fitting)


@dataclass
class CellRunner:
    """The runs of a comparison while they are computed.

    wanted: runs requested until now; computed: those that were not complete; failed: run name →
    what went wrong; eliminated: (study, variant) → the round of the race that it left in; firsts:
    runs that others start from; screened: whether the race is over. report: takes a line about
    every run that ends.
    """

    plan: PreparedComparison
    runs: Path
    folder: Path
    processes: int | None
    keep_models: bool
    report: Callable[[str], None]
    executor: str | None = None
    wanted: dict[str, Prepared] = field(default_factory=dict)
    computed: list[str] = field(default_factory=list)
    failed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    eliminated: dict[tuple[str, str], int] = field(default_factory=dict)
    firsts: set[str] = field(default_factory=set)
    screened: bool = False

    @property
    def cells(self) -> tuple[PreparedCell, ...]:
        """Those of the table, then those of the screening."""
        return (*self.plan.cells, *self.plan.screening)

    def eliminated_in(self, cell: Cell) -> int | None:
        """The round in which the cell's variant left the race; None where it did not."""
        return self.eliminated.get((cell.study, cell.variant))

    def label(self, name: str) -> str:
        """A run by the first cell that it belongs to, or that starts from it."""
        ready = [(each.cell, each.run) for each in self.cells if each.run is not None]
        own = [cell for cell, run in ready if run.name == name]
        others = [cell for cell, run in ready if name in (one.name for one in run.firsts)]
        cell, before = (*own, *others)[0], "" if own else "what comes before "
        fold = "" if cell.fold is None else f", fold {cell.fold}"
        return f"{before}{cell.study}, {cell.variant}, seed {cell.seed}{fold}"

    @property
    def failures(self) -> tuple[str, ...]:
        """ "study, variant, seed n: what went wrong", a line each, in the order of the runs."""
        return tuple(
            f"{self.label(name)}: {problem}"
            for name in self.wanted
            for problem in self.failed.get(name, ())
        )

    def compute(self, wanted: Mapping[str, Prepared], stage: str = "") -> None:
        """Compute those of the runs that are not complete; cells.json is up to date throughout.
        stage: the beginning of each reported line.
        """
        todo = self.take(wanted)
        left, names, started = set(todo), list(todo), time.monotonic()

        def on_end(number: int, end: End) -> None:
            name = names[number]
            left.discard(name)
            if end.problems:
                self.failed[name] = end.problems
            self.write_states(left)
            n_done = len(names) - len(left)
            seconds = (time.monotonic() - started) / n_done * len(left)
            rest = f"; about {format_duration(seconds)} left" if left else ""
            self.report(
                f"{stage}[{n_done}/{len(names)}] {self.label(name)}: "
                f"{_outcome(self.runs / name, end)} ({format_duration(end.seconds)}{rest})"
            )

        self.write_states(left)
        if not todo:
            return
        jobs = [run_job(one, self.runs, keep_model=self.keeps(name)) for name, one in todo.items()]
        in_process = any(one.device != "cpu" for one in todo.values())
        threads = max(one.n_cores for one in todo.values())
        processes = self.processes
        if not in_process and self.executor in (None, "local"):
            import_for_runs()
            processes = processes_that_fit(
                todo.values(), len(jobs), processes, threads, self.report
            )
        logs = self.folder / "log"
        executor_for(
            len(jobs), processes, threads, logs, in_process=in_process, name=self.executor
        ).run(jobs, on_end, predecessors(todo))

    def take(self, wanted: Mapping[str, Prepared]) -> dict[str, Prepared]:
        """Those of the runs that are to be computed, each behind those that it starts from."""
        ordered: dict[str, Prepared] = {}
        firsts: set[str] = set()
        for run in wanted.values():
            missing = () if (self.runs / run.name / files.MANIFEST).exists() else run.firsts
            firsts.update(one.name for one in missing)
            for one in (*missing, run):
                ordered.setdefault(one.name, one)
        todo = self._incomplete(ordered, firsts)
        self.firsts |= firsts
        self.computed += todo
        if not self.keep_models and (borrowed := firsts.intersection(todo)):
            record_borrowed(self.folder, borrowed)
        return todo

    def keeps(self, name: str) -> bool:
        """True for a run that is to keep its weights, at least until the comparison ends."""
        return self.keep_models or name in self.firsts

    def _incomplete(
        self, wanted: Mapping[str, Prepared], firsts: Collection[str]
    ) -> dict[str, Prepared]:
        """The runs that are to be computed; damaged ones fail, and each counts as wanted. firsts:
        those that others start from, which need weights.
        """
        todo: dict[str, Prepared] = {}
        for name, one in wanted.items():
            if name in self.wanted:  # by another study, or by an earlier round
                continue
            self.wanted[name] = one
            folder = self.runs / name
            if not (folder / files.MANIFEST).exists() or (name in firsts and not is_kept(folder)):
                todo[name] = one
            elif wrong := damaged_files(folder, "run"):
                self.failed[name] = tuple(
                    f"{folder / file}: missing, or not as the run wrote it. Remove the folder and "
                    f"run it again."
                    for file in wrong
                )
            elif any((folder / left).exists() for left in ("checkpoint", ".checkpoint.gone")):
                # Complete, but killed before it had removed its checkpoint, which it does now.
                execute(one, self.runs, keep_model=False)
        return todo

    def drop_weights(self) -> None:
        """Remove the weights of those runs that were computed, by this command or by others before
        it, for runs of this comparison to start from.
        """
        if not self.keep_models and not self.failed:
            drop_borrowed(self.folder, self.runs)

    def write_states(self, left: Collection[str]) -> None:
        """Write cells.json. left: the runs that are still to be computed."""
        table = [self._state(each, left, screening=False) for each in self.plan.cells]
        found = {"cells": [one.to_json() for one in table]}
        if self.plan.study.race:
            screening = [self._state(each, left, screening=True) for each in self.plan.screening]
            found["screening"] = [one.to_json() for one in screening]
        files.write_json(self.folder / "cells.json", found)

    def _state(self, each: PreparedCell, left: Collection[str], *, screening: bool) -> CellState:
        cell, run = each.cell, each.run
        of_cell = partial(
            CellState,
            cell.study,
            cell.variant,
            cell.seed,
            run.name if run else None,
            fold=cell.fold,
        )
        if run is None:
            return of_cell("not applicable", None if screening else (each.why,))
        if run.name in self.failed:
            return of_cell("failed", self.failed[run.name])
        if run.name in self.wanted:
            return of_cell("waiting" if run.name in left else "complete")
        if (number := self.eliminated_in(cell)) is not None:
            return of_cell(f"left the race in round {number}")
        # Of a screening without opponents nothing is run.
        return of_cell("not needed" if screening and self.screened else "waiting")


def predecessors(todo: Mapping[str, Prepared]) -> dict[int, list[int]]:
    """The number of a run → those of the others that have to be complete before it."""
    names = list(todo)
    return {
        number: [names.index(first.name) for first in one.firsts if first.name in todo]
        for number, one in enumerate(todo.values())
    }


def _outcome(run: Path, end: End) -> str:
    """A run's first figures, or why it failed, in a line."""
    if end.problems:
        return f"FAILED: {end.problems[0]}"
    tasks, parts = files.read_json(run / "results.json")["metrics"], []
    for task, sets in tasks.items():
        for split, predictors in list(sets.items())[:1]:
            figures = ", ".join(
                f"{name} {value['value']:.4f}" for name, value in predictors[MODEL].items()
            )
            parts += [f"{task + ' ' if len(tasks) > 1 else ''}{split} {figures}"] if figures else []
    return "; ".join(parts) or "complete"

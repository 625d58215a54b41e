"""`encore compare`: every distinct run of a study once, then the table.

    compare-NAME-HASH/recipe.yaml, study.json     the recipe as it was given, and what was made of it
    cells.json                                    study, variant, seed → run folder and state
    results.json                                  all figures, intervals and verdicts: the same bytes however often it was killed on the way
    table.csv, table.tex                          the same as tables
    cost.json                                     seconds, and what was found on the disk already (no part of the results)
    log/                                          what processes printed, if anything
    manifest.json                                 sha256 of every file; there is one when, and only when, no run is missing
"""

from __future__ import annotations

import hashlib
import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from encore import compare_tables, files
from encore.contrast import Runs
from encore.errors import Complaints, RecipeError
from encore.prepare import NotApplicable, Prepared, Shelf, cores, prepare
from encore.processes import End, Job, run_all, run_here
from encore.run import MODEL, Result, RunBusy, execute, read_result, scores_at
from encore.study import Cell, Study

__all__ = ["Outcome", "Plan", "compare", "resolve"]

# What a run imports on its way: the optimiser brings torch's compiler along, the simple baselines scikit-learn.
_NEEDED = ("torch._dynamo", "sklearn.feature_extraction.text", "sklearn.linear_model", "sklearn.metrics", "scipy.stats")
_VERSION = 1                                     # raised by hand when the same runs give another results.json


@dataclass(frozen=True)
class Plan:
    """A study with every cell made ready: `prepared[i]` belongs to `study.cells[i]`; where that cell cannot apply it is None and `why[i]` says why."""

    study: Study
    prepared: tuple[Prepared | None, ...]
    why: tuple[str, ...]

    @property
    def distinct(self) -> dict[str, Prepared]:
        """Run name → run, in the order in which they are computed: a first look at everything comes before the second seed of anything."""
        order = sorted(range(len(self.prepared)), key=lambda at: self.study.seeds.index(self.study.cells[at].seed))
        return {one.name: one for at in order if (one := self.prepared[at]) is not None}

    @property
    def name(self) -> str:
        """The comparison folder's name: the recipe's for people, and a hash of the runs and of what they are set against."""
        everything = zip(self.study.cells, self.prepared, self.why, strict=True)
        cells = [[cell.study, cell.variant, cell.seed, one.name if one else why] for cell, one, why in everything]
        said = [sorted(cell.recipe.expect.items()) for cell in self.study.cells]
        digest = hashlib.sha256(files.canonical([_VERSION, cells, said, self.study.reference]))
        return f"compare-{self.study.name}-{digest.hexdigest()[:10]}"


@dataclass(frozen=True)
class Outcome:
    """A comparison that has been run. failed: "study variant seed n: what happened". results: what results.json holds."""

    folder: Path
    results: Mapping[str, Any]
    failed: tuple[str, ...]
    n_runs: int
    n_reused: int
    seconds: float


def resolve(study: Study) -> Plan:
    """Read and tokenise what the cells need, each file once. Raises RecipeError or DataError with everything that is wrong, or where no cell applies."""
    shelf, complaints = Shelf(), Complaints()
    before = torch.get_num_threads()
    torch.set_num_threads(1)                     # threads that torch starts here would be missing from the copies of this process, which wait for them
    try:
        ready = [complaints.of(_ready, cell, shelf) or (None, "") for cell in study.cells]
    finally:
        torch.set_num_threads(before)
    complaints.raise_any()
    if not any(prepared for prepared, _ in ready):
        raise RecipeError(dict.fromkeys(f"{cell.study}, {cell.variant}: {why}" for cell, (_, why) in zip(study.cells, ready, strict=True)))
    return Plan(study, tuple(prepared for prepared, _ in ready), tuple(why for _, why in ready))


def _ready(cell: Cell, shelf: Shelf) -> tuple[Prepared | None, str]:
    try:
        return prepare(cell.recipe, shelf), ""
    except NotApplicable as error:
        return None, " ".join(error.problems)


def compare(
    plan: Plan, runs: Path, *, processes: int | None = None, keep_models: bool = False, tell: Callable[[str], None] = lambda line: None
) -> Outcome:
    """Compute what is missing, then measure. Killed at any moment, the same call goes on; a run that fails does not stop the others.

    processes: how many at once, as many as there are cores if None. tell: takes a line about every run that ends.
    """
    started, study = time.monotonic(), plan.study
    folder = runs / plan.name
    with files.explained(folder):
        (folder / "log").mkdir(parents=True, exist_ok=True)
        (folder / files.MANIFEST).unlink(missing_ok=True)
    files.sweep(folder)
    files.write(folder / "recipe.yaml", study.text.encode())
    said = {"name": study.name, "overrides": list(study.overrides), "points": [dict(point) for point in study.points]}
    files.write_json(folder / "study.json", said | {"variants": list(study.variants), "reference": study.reference, "seeds": list(study.seeds)})
    todo: dict[str, Prepared] = {}
    failed: dict[str, tuple[str, ...]] = {}
    for name, one in plan.distinct.items():
        if not (runs / name / files.MANIFEST).exists():
            todo[name] = one
        elif wrong := files.wrong_files(runs / name):
            failed[name] = tuple(f"{runs / name / file}: missing, or not as the run wrote it. Remove the folder and run it again." for file in wrong)
    _compute(plan, todo, failed, runs, folder, processes, keep_models, tell)
    results = _measure(plan, runs, failed)
    files.write_json(folder / "results.json", results)
    files.write(folder / "table.csv", compare_tables.csv_of(results).encode())
    files.write(folder / "table.tex", compare_tables.latex_of(results).encode())
    seconds = time.monotonic() - started
    files.write_json(folder / "cost.json", {"seconds": seconds, "computed": sorted(todo), "found_complete": sorted(set(plan.distinct) - set(todo))})
    if not failed:
        files.write_manifest(folder, [folder / name for name in ("recipe.yaml", "study.json", "cells.json", "results.json", "table.csv", "table.tex")])
    told = [f"{_words(plan, name)}: {problem}" for name in plan.distinct for problem in failed.get(name, ())]
    return Outcome(folder, results, tuple(told), len(plan.distinct), len(plan.distinct) - len(todo), seconds)


def _words(plan: Plan, name: str) -> str:
    """A run by the first cell that it belongs to."""
    cell = next(cell for cell, one in zip(plan.study.cells, plan.prepared, strict=True) if one is not None and one.name == name)
    return f"{cell.study}, {cell.variant}, seed {cell.seed}"


def _compute(
    plan: Plan,
    todo: Mapping[str, Prepared],
    failed: dict[str, tuple[str, ...]],
    runs: Path,
    folder: Path,
    processes: int | None,
    keep_models: bool,
    tell: Callable[[str], None],
) -> None:
    """`failed` takes, by run name, what went wrong; cells.json is up to date at any moment."""
    left = set(todo)
    names = list(todo)
    started = time.monotonic()

    def note() -> None:
        cells = []
        for cell, one, why in zip(plan.study.cells, plan.prepared, plan.why, strict=True):
            state = "not applicable" if one is None else "failed" if one.name in failed else "waiting" if one.name in left else "complete"
            reasons = [why] if one is None else list(failed.get(one.name, ()))
            entry = {"study": cell.study, "variant": cell.variant, "seed": cell.seed, "run": one.name if one else None, "state": state}
            cells.append(entry | ({"why": reasons} if reasons else {}))
        files.write_json(folder / "cells.json", {"cells": cells})

    def on_end(number: int, end: End) -> None:
        name = names[number]
        left.discard(name)
        if end.problems:
            failed[name] = end.problems
        note()
        n_done = len(names) - len(left)
        seconds = (time.monotonic() - started) / n_done * len(left)
        rest = f"; about {_duration(seconds)} left" if left else ""
        tell(f"[{n_done}/{len(names)}] {_words(plan, name)}: {_news(runs / name, end)} ({_duration(end.seconds)}{rest})")

    note()
    jobs = [Job(name, partial(_run, one, runs, keep_models)) for name, one in todo.items()]
    if any(one.device != "cpu" for one in todo.values()):
        run_here(jobs, on_end)
    elif jobs:
        for module in _NEEDED:                   # once, here, and not in each of the processes
            importlib.import_module(module)
        threads = max(one.threads for one in todo.values())
        n = min(len(jobs), processes or max(1, cores() // threads))
        run_all(jobs, n, folder / "log", on_end, threads=threads)


def _run(prepared: Prepared, runs: Path, keep_models: bool) -> None:
    while True:
        try:
            execute(prepared, runs, keep_model=keep_models)
            return
        except RunBusy:                          # another comparison computes this very run, or a killed one is just about to let go of it
            time.sleep(0.5)


def _news(run: Path, end: End) -> str:
    if end.problems:
        return f"FAILED: {end.problems[0]}"
    for sets in files.read_json(run / "results.json")["metrics"].values():
        for split, who in sets.items():
            return f"{split} " + ", ".join(f"{name} {value['value']:.4f}" for name, value in who[MODEL].items())
    return "complete"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


# ---------------------------------------------------------------------------------------------------------------------------------------- measuring


def _measure(plan: Plan, runs: Path, failed: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """What results.json holds."""
    read = {name: read_result(runs / name) for name in plan.distinct if name not in failed}
    study, cells = plan.study, list(zip(plan.study.cells, plan.prepared, plan.why, strict=True))
    studies = []
    for point in study.points:
        mine = [(cell, one, why) for cell, one, why in cells if cell.point == point]
        for task in mine[0][0].recipe.tasks:
            studies += _sets(study, task, mine, read, failed)
    results = {"name": study.name, "reference": study.reference, "variants": list(study.variants), "seeds": list(study.seeds), "studies": studies}
    return results | {"averages": compare_tables.averages(studies, study.variants, _expected_averages(study)), "notes": [*study.notes, *_same(plan)]}


_Mine = Sequence[tuple[Cell, Prepared | None, str]]


def _sets(study: Study, task: str, mine: _Mine, read: Mapping[str, Result], failed: Mapping[str, tuple[str, ...]]) -> list[dict[str, Any]]:
    """One entry per dev set of a task in one study."""
    first = next((one for cell, one, _ in mine if one is not None and cell.variant == study.reference), None)
    first = first or next((one for _, one, _ in mine if one is not None), None)
    label, point = mine[0][0].study, dict(mine[0][0].point)
    if first is None or task not in first.streams:
        why = {cell.variant: reason for cell, _, reason in mine}
        return [{"study": label, "point": point, "task": task, "set": None, "rows": 0, "metrics": [], "baselines": {}, "notes": [], "not_applicable": why}]
    stream, found = first.streams[task], []
    for split, rows in stream.dev.items():
        arms = [_arm(variant, task, split, [each for each in mine if each[0].variant == variant], first, read, failed) for variant in study.variants]
        reference = next(arm for arm in arms if arm.name == study.reference)
        others = [arm for arm in arms if arm.name != study.reference]
        expected = {cell.variant: cell.recipe.expect for cell, _, _ in mine}
        metrics = [
            compare_tables.measured(reference, others, rows.targets, stream.labels, name, partial(_expected, expected, task, split, name))
            for name in stream.metrics
        ]
        simple: dict[str, Any] = {}
        for cell, one, _ in mine:
            if not simple and one is not None and one.name in read and cell.variant == study.reference:
                simple = {who: {name: value.value for name, value in said.items()} for who, said in read[one.name].metrics[task][split].items() if who != MODEL}
        found.append({
            "study": label, "point": point, "task": task, "set": split, "rows": len(rows), "metrics": metrics, "baselines": simple,
            "notes": _notes(mine, first), "not_applicable": {arm.name: arm.not_applicable for arm in arms if arm.not_applicable},
        })
    return found


def _arm(
    variant: str, task: str, split: str, mine: _Mine, first: Prepared, read: Mapping[str, Result], failed: Mapping[str, tuple[str, ...]]
) -> Runs:
    scores, lost, why = {}, {}, None
    for cell, one, reason in mine:
        if one is None:
            why = reason
        elif one.name in failed:
            lost[cell.seed] = failed[one.name][0]
        elif not _same_rows(one, first, task, split):
            why = f"it is measured on other rows than {first.name}, so the two cannot be compared"
        else:
            scores[cell.seed] = scores_at(read[one.name].folder, task, split, read[one.name].epoch)
    return Runs(variant, {} if why else scores, {} if why else lost, why)


def _same_rows(one: Prepared, other: Prepared, task: str, split: str) -> bool:
    if task not in one.streams or split not in one.streams[task].dev or one.data[task].labels != other.data[task].labels:
        return False
    mine, theirs = one.streams[task].dev[split], other.streams[task].dev[split]
    return mine.digest == theirs.digest and mine.numbers.tolist() == theirs.numbers.tolist() and mine.targets.tolist() == theirs.targets.tolist()


def _notes(mine: _Mine, first: Prepared) -> list[str]:
    """What qualifies the figures of the reference; then what qualifies those of other variants only."""
    notes = list(first.notes)
    for cell, one, _ in mine:
        if one is not None:
            notes += [f"{cell.variant}: {note}" for note in one.notes if note not in first.notes]
    return list(dict.fromkeys(notes))


def _expected(expected: Mapping[str, Mapping[str, float]], task: str, split: str, metric: str, variant: str) -> tuple[float | None, float | None]:
    """(mean, standard deviation) that the source reports: `rte.accuracy`, `rte.accuracy.sd`; with several dev sets `mnli.dev_matched.accuracy`."""
    said = expected.get(variant, {})

    def find(end: str) -> float | None:
        return said.get(f"{task}.{split}.{metric}{end}", said.get(f"{task}.{metric}{end}"))

    return find(""), find(".sd")


def _expected_averages(study: Study) -> dict[str, Mapping[str, float]]:
    return {cell.variant: cell.recipe.expect for cell in study.cells}


def _same(plan: Plan) -> list[str]:
    """Variants that differ in nothing that changes a run."""
    runs: dict[str, list[str | None]] = {}
    for cell, one in zip(plan.study.cells, plan.prepared, strict=True):
        runs.setdefault(cell.variant, []).append(one.name if one else None)
    names = list(runs)
    return [
        f"{b} is the same as {a}: what it changes is what the recipe says anyway."
        for at, b in enumerate(names) for a in names[:at] if runs[a] == runs[b] and any(runs[a])
    ]

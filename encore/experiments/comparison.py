"""`encore compare`: every distinct run of a study once, then the table.

compare-NAME-HASH/recipe.yaml, study.json     the recipe as it was given, and what was made of it
cells.json                                    study, variant, seed → run folder and state race.json
with --race: each round's figures, who left and who stayed results.json
all figures, intervals and verdicts: the same bytes however often it was killed on the way
table.csv, table.tex                          the same as tables cost.json
seconds, what was found on the disk already, what a race has saved (no part of the results) log/
what processes printed, if anything manifest.json                                 sha256 of every
file; there is one when, and only when, no run is missing
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from encore import catalogue, files
from encore.errors import Complaints, RecipeError
from encore.evaluation import contrast
from encore.evaluation.contrast import SeedRuns
from encore.experiments import results as results_module
from encore.experiments.executors.local import End, Job, run_all, run_here
from encore.experiments.race import Round, decide_round
from encore.experiments.variants import Cell, Study
from encore.runs.compatibility import NotApplicable
from encore.runs.execute import Watcher, execute
from encore.runs.folder import MODEL, RunResult, read_result, read_scores
from encore.runs.hardware import cores
from encore.runs.prepare import Cache, Prepared, prepare
from encore.runs.writer import RunBusy
from encore.tables import comparison, comparison_files
from encore.tables.formatting import format_duration

__all__ = [
    "ComparisonResult",
    "NEEDED",
    "PreparedComparison",
    "execute_when_free",
    "prepare_comparison",
    "ready_to_fork",
    "run_comparison",
]

# What a run imports on its way: the optimiser brings torch's compiler along, the simple baselines
# scikit-learn.
NEEDED = (
    "torch._dynamo",
    "sklearn.feature_extraction.text",
    "sklearn.linear_model",
    "sklearn.metrics",
    "scipy.stats",
)
_VERSION = 1  # raised by hand when the same runs give another results.json


@dataclass(frozen=True)
class PreparedComparison:
    """A study with every cell made ready: `prepared[i]` belongs to `study.cells[i]`; where that
    cell cannot apply it is None and `why[i]` says why. `screening` belongs to `study.screening`
    likewise.
    """

    study: Study
    prepared: tuple[Prepared | None, ...]
    why: tuple[str, ...]
    screening: tuple[Prepared | None, ...] = ()

    @property
    def distinct(self) -> dict[str, Prepared]:
        """Run name → run of the table, in the order in which they are computed: a first look at
        everything comes before the second seed of anything.
        """
        return _in_turn(self.study.seeds, list(zip(self.study.cells, self.prepared, strict=True)))

    @property
    def name(self) -> str:
        """The comparison folder's name: the recipe's for people, and a hash of the runs and of what
        they are set against.
        """
        everything = zip(self.study.cells, self.prepared, self.why, strict=True)
        cells = [
            [cell.study, cell.variant, cell.seed, one.name if one else why]
            for cell, one, why in everything
        ]
        said = [sorted(cell.recipe.expect.items()) for cell in self.study.cells]
        race = self.study.race
        raced = (
            [[race.factor, list(race.seeds), [one.name if one else None for one in self.screening]]]
            if race
            else []
        )
        digest = hashlib.sha256(
            files.canonical([_VERSION, cells, said, self.study.reference, *raced])
        )
        return f"compare-{self.study.name}-{digest.hexdigest()[:10]}"


_Cells = Sequence[tuple[Cell, Prepared | None]]


def _in_turn(seeds: Sequence[int], cells: _Cells) -> dict[str, Prepared]:
    ordered = sorted(cells, key=lambda pair: seeds.index(pair[0].seed))
    return {one.name: one for _, one in ordered if one is not None}


@dataclass(frozen=True)
class ComparisonResult:
    """A comparison that has been run. failed: "study variant seed n: what happened". results: what
    results.json holds. saved: of a race, the runs that were made and those of the full grid, and
    about how many seconds of computing either takes.
    """

    folder: Path
    results: Mapping[str, Any]
    failed: tuple[str, ...]
    n_runs: int
    n_reused: int
    seconds: float
    saved: Mapping[str, float] | None = None

    @property
    def table(self) -> str:
        """All tables with their verdicts, as plain text."""
        return "\n\n".join(map(str, comparison.comparison_tables(self.results)))


def prepare_comparison(study: Study) -> PreparedComparison:
    """Read and tokenize what the cells need, each file once. Raises RecipeError or DataError with
    everything that is wrong, or where no cell applies.
    """
    cache, complaints = Cache(), Complaints()
    with ready_to_fork():
        ready = [
            complaints.of(_ready, cell, cache) or (None, "")
            for cell in (*study.cells, *study.screening)
        ]
    complaints.raise_any()
    if not any(prepared for prepared, _ in ready):
        raise RecipeError(
            dict.fromkeys(
                f"{cell.study}, {cell.variant}: {why}"
                for cell, (_, why) in zip(study.cells, ready, strict=False)
            )
        )
    n, prepared = len(study.cells), tuple(prepared for prepared, _ in ready)
    return PreparedComparison(study, prepared[:n], tuple(why for _, why in ready[:n]), prepared[n:])


@contextlib.contextmanager
def ready_to_fork() -> Iterator[None]:
    """Inside, this process may read and prepare what copies of it will compute."""
    os.environ.setdefault(
        "PYTORCH_NVML_BASED_CUDA_CHECK", "1"
    )  # else asking whether there is a GPU would bind this process to it
    os.environ.setdefault(
        "TOKENIZERS_PARALLELISM", "false"
    )  # else tokenizers warns in every copy of this process
    before = torch.get_num_threads()
    torch.set_num_threads(
        1
        # threads that torch starts here would be missing from the copies of this process, which
        # wait for them
    )
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _ready(cell: Cell, cache: Cache) -> tuple[Prepared | None, str]:
    """What is to be run, or why it cannot be: in the same words wherever the recipe lies, for the
    results hold them.
    """
    try:
        return prepare(cell.recipe, cache), ""
    except NotApplicable:
        try:
            return prepare(cell.recipe.placeless, cache), ""
        except NotApplicable as error:
            return None, " ".join(error.lines)


def run_comparison(
    plan: PreparedComparison,
    runs: Path,
    *,
    processes: int | None = None,
    keep_models: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> ComparisonResult:
    """Compute what is missing, then measure. Killed at any moment, the same call goes on; a run
    that fails does not stop the others.

    processes: how many at once, as many as there are cores if None. tell: takes a line about every
    run that ends.
    """
    started, study = time.monotonic(), plan.study
    folder = runs / plan.name
    with files.explained(folder):
        (folder / "log").mkdir(parents=True, exist_ok=True)
        (folder / files.MANIFEST).unlink(missing_ok=True)
    files.sweep(folder)
    files.write(folder / "recipe.yaml", study.text.encode())
    said = {
        "name": study.name,
        "overrides": list(study.overrides),
        "points": [dict(point) for point in study.points],
    }
    raced = (
        {"race": {"factor": study.race.factor, "seeds": list(study.race.seeds)}}
        if study.race
        else {}
    )
    files.write_json(
        folder / "study.json",
        said
        | {
            "variants": list(study.variants),
            "reference": study.reference,
            "seeds": list(study.seeds),
        }
        | raced,
    )
    work = _Work(plan, runs, folder, processes, keep_models, tell)
    race = _raced(work) if study.race else None
    work.screened = True
    wanted = [
        (cell, one)
        for cell, one in zip(study.cells, plan.prepared, strict=True)
        if work.left(cell) is None
    ]
    work.compute(_in_turn(study.seeds, wanted))
    results = _measure(work, race)
    files.write_json(folder / "results.json", results)
    files.write(folder / "table.csv", comparison_files.csv_of(results).encode())
    files.write(folder / "table.tex", comparison_files.latex_of(results).encode())
    seconds = time.monotonic() - started
    saved = _saved(work) if study.race else None
    cost = {
        "seconds": seconds,
        "computed": sorted(work.computed),
        "found_complete": sorted(set(work.wanted) - set(work.computed)),
    }
    files.write_json(folder / "cost.json", cost | ({"race": saved} if saved else {}))
    if not work.failed:
        kept = [
            "recipe.yaml",
            "study.json",
            "cells.json",
            *(["race.json"] if race else []),
            "results.json",
            "table.csv",
            "table.tex",
        ]
        files.write_manifest(folder, [folder / name for name in kept])
    told = [
        f"{work.words(name)}: {problem}"
        for name in work.wanted
        for problem in work.failed.get(name, ())
    ]
    return ComparisonResult(
        folder,
        results,
        tuple(told),
        len(work.wanted),
        len(work.wanted) - len(work.computed),
        seconds,
        saved,
    )


@dataclass
class _Work:
    """A comparison under way. wanted: the runs that were asked for until now; failed: by run name,
    what went wrong; out: (study, variant) → the round of the race that it left in.
    """

    plan: PreparedComparison
    runs: Path
    folder: Path
    processes: int | None
    keep_models: bool
    tell: Callable[[str], None]
    wanted: dict[str, Prepared] = field(default_factory=dict)
    computed: list[str] = field(default_factory=list)
    failed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    out: dict[tuple[str, str], int] = field(default_factory=dict)
    screened: bool = False

    @property
    def cells(self) -> _Cells:
        """All of them: those of the table, then those of the screening."""
        study = self.plan.study
        return list(
            zip(
                (*study.cells, *study.screening),
                (*self.plan.prepared, *self.plan.screening),
                strict=True,
            )
        )

    def left(self, cell: Cell) -> int | None:
        """The round in which the cell's variant left the race, if it did."""
        return self.out.get((cell.study, cell.variant))

    def words(self, name: str) -> str:
        """A run by the first cell that it belongs to."""
        cell = next(cell for cell, one in self.cells if one is not None and one.name == name)
        return f"{cell.study}, {cell.variant}, seed {cell.seed}"

    def compute(self, wanted: Mapping[str, Prepared], stage: str = "") -> None:
        """Every run of these that is not complete; cells.json is up to date at any moment."""
        todo: dict[str, Prepared] = {}
        for name, one in wanted.items():
            if name in self.wanted:  # by another study, or by an earlier round
                continue
            self.wanted[name] = one
            if not (self.runs / name / files.MANIFEST).exists():
                todo[name] = one
            elif wrong := files.wrong_files(self.runs / name):
                damaged = [self.runs / name / file for file in wrong]
                self.failed[name] = tuple(
                    f"{file}: missing, or not as the run wrote it. Remove the folder and run "
                    f"it again."
                    for file in damaged
                )
            elif any(
                (self.runs / name / left).exists() for left in ("checkpoint", ".checkpoint.gone")
            ):
                execute(
                    one, self.runs, keep_model=False
                )  # complete, but killed before it had cleared up, which it does now
        self.computed += todo
        left, names, started = set(todo), list(todo), time.monotonic()

        def on_end(number: int, end: End) -> None:
            name = names[number]
            left.discard(name)
            if end.problems:
                self.failed[name] = end.problems
            self.note(left)
            n_done = len(names) - len(left)
            seconds = (time.monotonic() - started) / n_done * len(left)
            rest = f"; about {format_duration(seconds)} left" if left else ""
            self.tell(
                f"{stage}[{n_done}/{len(names)}] {self.words(name)}: "
                f"{_news(self.runs / name, end)} ({format_duration(end.seconds)}{rest})"
            )

        self.note(left)
        jobs = [
            Job(name, partial(execute_when_free, one, self.runs, keep_model=self.keep_models))
            for name, one in todo.items()
        ]
        if any(one.device != "cpu" for one in todo.values()):
            run_here(jobs, on_end)
        elif jobs:
            for module in NEEDED:  # once, here, and not in each of the processes
                importlib.import_module(module)
            threads = max(one.threads for one in todo.values())
            n = min(len(jobs), self.processes or max(1, cores() // threads))
            run_all(jobs, n, self.folder / "log", on_end, threads=threads)

    def note(self, left: Collection[str]) -> None:
        """Write cells.json. left: the runs that are still to be computed."""
        n = len(self.plan.study.cells)
        entries = []
        for number, (cell, one) in enumerate(self.cells):
            entry: dict[str, Any] = {
                "study": cell.study,
                "variant": cell.variant,
                "seed": cell.seed,
                "run": one.name if one else None,
            }
            if one is None:
                entry |= {"state": "not applicable"} | (
                    {"why": [self.plan.why[number]]} if number < n else {}
                )
            elif one.name in self.failed:
                entry |= {"state": "failed", "why": list(self.failed[one.name])}
            elif one.name in self.wanted:
                entry |= {"state": "waiting" if one.name in left else "complete"}
            elif (out := self.left(cell)) is not None:
                entry |= {"state": f"left the race in round {out}"}
            else:  # of a screening with nobody to race against, nothing is run
                entry |= {"state": "waiting" if number < n or not self.screened else "not needed"}
            entries.append(entry)
        files.write_json(
            self.folder / "cells.json",
            {"cells": entries[:n]} | ({"screening": entries[n:]} if self.plan.study.race else {}),
        )


def execute_when_free(
    prepared: Prepared, runs: Path, *, keep_model: bool, watch: Watcher | None = None
) -> RunResult:
    """`execute`, which waits where another process trains this very run."""
    while True:
        try:
            return execute(prepared, runs, watch=watch, keep_model=keep_model)
        except (
            RunBusy
        ):  # another command's, or that of a killed one which is just about to let go of it
            time.sleep(0.5)


def _news(run: Path, end: End) -> str:
    if end.problems:
        return f"FAILED: {end.problems[0]}"
    tasks, told = files.read_json(run / "results.json")["metrics"], []
    for task, sets in tasks.items():
        for split, who in list(sets.items())[:1]:
            figures = ", ".join(
                f"{name} {value['value']:.4f}" for name, value in who[MODEL].items()
            )
            told += [f"{task + ' ' if len(tasks) > 1 else ''}{split} {figures}"] if figures else []
    return "; ".join(told) or "complete"


# ----------------------------------------------------------------------------------------- the race


def _raced(work: _Work) -> dict[str, Any]:
    """Run the screening, round by round in all studies at once. What race.json holds, which is
    written after every round; `work.out` takes who left.
    """
    study, race = work.plan.study, work.plan.study.race
    assert race is not None
    lists = [_StudyRace(point, work.plan) for point in study.points]
    entries: list[dict[str, Any]] = [
        {
            "study": each.label,
            "point": dict(each.point),
            "metric": each.metric,
            "started": list(each.racing),
        }
        for each in lists
    ]
    for entry in entries:
        entry["rounds"] = []
    found = {"factor": race.factor, "seeds": list(race.seeds), "studies": entries}
    for number, seeds in enumerate(race.rounds, 1):
        still = [each for each in lists if len(each.racing) > 1]
        runs = [
            (cell, one)
            for each in still
            for cell, one in each.screening
            if cell.variant in each.racing and cell.seed in seeds
        ]
        work.compute(_in_turn(race.seeds, runs), f"screening, round {number}: ")
        for each, entry in zip(lists, entries, strict=True):
            if each in still:
                decided = each.decide(number, seeds, race.factor, work)
                entry["rounds"].append(decided.as_object())
                work.out |= {(each.label, name): number for name in decided.left}
                each.racing = decided.stayed
        files.write_json(work.folder / "race.json", found)
    for each, entry in zip(lists, entries, strict=True):
        entry["stayed"] = list(each.racing)
    files.write_json(work.folder / "race.json", found)
    return found


class _StudyRace:
    """The race of one study. racing: the variants that are in it now; those that cannot be run, or
    not be measured beside the others, never are.
    """

    def __init__(self, point: Mapping[str, Any], plan: PreparedComparison) -> None:
        mine = [
            (cell, one)
            for cell, one in zip(plan.study.cells, plan.prepared, strict=True)
            if cell.point == point
        ]
        self.point, self.label = point, mine[0][0].study
        self.screening = [
            (cell, one)
            for cell, one in zip(plan.study.screening, plan.screening, strict=True)
            if cell.point == point
        ]
        reference = next((one for cell, one in mine if cell.variant == plan.study.reference), None)
        self.first = reference or next((one for _, one in mine if one is not None), None)
        self.metric: str | None = None
        self.racing: tuple[str, ...] = ()
        if self.first is None or not any(stream.metrics for stream in self.first.streams.values()):
            return
        self.task, stream = next(item for item in self.first.streams.items() if item[1].metrics)
        self.split, self.metric = next(iter(stream.dev)), stream.metrics[0]
        fit = {
            cell.variant
            for cell, one in self.screening
            if one is not None and _same_rows(one, self.first, self.task, self.split)
        }
        self.racing = tuple(name for name in plan.study.variants if name in fit)

    def decide(self, number: int, seeds: Sequence[int], factor: int, work: _Work) -> Round:
        assert self.first is not None
        assert self.metric is not None
        stream, kind = self.first.streams[self.task], catalogue.find("metrics", self.metric)
        scores: dict[str, float | None] = {}
        failed: dict[str, str] = {}
        for name in self.racing:
            mine = [
                (cell, one, "")
                for cell, one in self.screening
                if cell.variant == name and cell.seed in seeds
            ]
            read = {
                one.name: read_result(work.runs / one.name)
                for _, one, _ in mine
                if one is not None and one.name not in work.failed
            }
            arm = contrast.measure_variant(
                _arm(name, self.task, self.split, mine, self.first, read, work.failed),
                stream.dev[self.split].targets,
                stream.labels,
                kind,
            )
            scores[name] = None if arm.failed else arm.mean
            if arm.failed:
                failed[name] = "; ".join(
                    f"seed {seed} failed: {why}" for seed, why in arm.failed.items()
                )
        return decide_round(
            number, seeds, scores, failed, factor, higher_is_better=kind.higher_is_better
        )


def _saved(work: _Work) -> dict[str, float]:
    """Runs and seconds of computing of this race and of the full grid. A run that was not made
    counts as a run of its variant that was.
    """
    seconds: dict[tuple[str, str], list[float]] = {}
    made = 0.0
    for name, one in work.wanted.items():
        if name in work.failed:
            continue
        took = float(files.read_json(work.runs / name / "cost.json")["seconds"])
        made += took
        for cell, other in work.cells:
            if other is not None and other.name == one.name:
                seconds.setdefault((cell.study, cell.variant), []).append(took)
    grid = list(zip(work.plan.study.cells, work.plan.prepared, strict=True))
    each = {
        one.name: seconds[cell.study, cell.variant]
        for cell, one in grid
        if one is not None and (cell.study, cell.variant) in seconds
    }
    return {
        "runs": len(work.wanted),
        "runs_of_the_grid": len(work.plan.distinct),
        "seconds": made,
        "seconds_of_the_grid": sum(sum(took) / len(took) for took in each.values()),
    }


# ---------------------------------------------------------------------------------------- measuring


def _measure(work: _Work, race: Mapping[str, Any] | None) -> dict[str, Any]:
    """What results.json holds."""
    plan, failed = work.plan, work.failed
    study = plan.study
    cells = [
        (cell, one, why)
        for cell, one, why in zip(study.cells, plan.prepared, plan.why, strict=True)
        if work.left(cell) is None
    ]
    read = {
        one.name: read_result(work.runs / one.name)
        for _, one, _ in cells
        if one is not None and one.name not in failed
    }
    studies = []
    for number, point in enumerate(study.points):
        mine = [(cell, one, why) for cell, one, why in cells if cell.point == point]
        raced = race["studies"][number] if race else None
        for task in mine[0][0].recipe.tasks:
            studies += _sets(study, task, mine, read, failed, raced)
    results = {
        "name": study.name,
        "reference": study.reference,
        "variants": list(study.variants),
        "seeds": list(study.seeds),
        "studies": studies,
    }
    results |= {
        "averages": results_module.averages(studies, study.variants, _expected_averages(study)),
        "notes": [*study.notes, *_same(plan)],
    }
    runs = {"runs": len(work.wanted), "runs_of_the_grid": len(plan.distinct)}
    return results | (
        {"race": {"factor": race["factor"], "seeds": race["seeds"], **runs}} if race else {}
    )


_Mine = Sequence[tuple[Cell, Prepared | None, str]]


def _sets(
    study: Study,
    task: str,
    mine: _Mine,
    read: Mapping[str, RunResult],
    failed: Mapping[str, tuple[str, ...]],
    race: Mapping[str, Any] | None,
) -> list[dict[str, Any]]:
    """One entry per dev set of a task in one study. mine: its cells, but for those of variants that
    have left its race.
    """
    first = next(
        (one for cell, one, _ in mine if one is not None and cell.variant == study.reference), None
    )
    first = first or next((one for _, one, _ in mine if one is not None), None)
    label, point = mine[0][0].study, dict(mine[0][0].point)
    if first is None or task not in first.streams:
        why = {cell.variant: reason for cell, _, reason in mine}
        return [
            {
                "study": label,
                "point": point,
                "task": task,
                "set": None,
                "rows": 0,
                "metrics": [],
                "baselines": {},
                "notes": [],
                "not_applicable": why,
            }
        ]
    stream, found = first.streams[task], []
    variants = [
        variant for variant in study.variants if any(cell.variant == variant for cell, _, _ in mine)
    ]
    n_left = len(study.variants) - len(variants)
    for split, rows in stream.dev.items():
        arms = [
            _arm(
                variant,
                task,
                split,
                [each for each in mine if each[0].variant == variant],
                first,
                read,
                failed,
            )
            for variant in variants
        ]
        reference = next(arm for arm in arms if arm.name == study.reference)
        others = [arm for arm in arms if arm.name != study.reference]
        expected = {cell.variant: cell.recipe.expect for cell, _, _ in mine}
        metrics = [
            results_module.metric_results(
                reference,
                others,
                rows.targets,
                stream.labels,
                name,
                partial(_expected, expected, task, split, name),
                n_left=n_left,
            )
            for name in stream.metrics
        ]
        simple: dict[str, Any] = {}
        for cell, one, _ in mine:
            if (
                not simple
                and one is not None
                and one.name in read
                and cell.variant == study.reference
            ):
                simple = {
                    who: {name: value.value for name, value in said.items()}
                    for who, said in read[one.name].metrics[task][split].items()
                    if who != MODEL
                }
        found.append(
            {
                "study": label,
                "point": point,
                "task": task,
                "set": split,
                "rows": len(rows),
                "metrics": metrics,
                "baselines": simple,
                "notes": _notes(mine, first, task),
                "not_applicable": {
                    arm.name: arm.not_applicable for arm in arms if arm.not_applicable
                },
            }
            | (
                {"race": {key: race[key] for key in ("metric", "started", "rounds", "stayed")}}
                if race
                else {}
            )
        )
    return found


def _arm(
    variant: str,
    task: str,
    split: str,
    mine: _Mine,
    first: Prepared,
    read: Mapping[str, RunResult],
    failed: Mapping[str, tuple[str, ...]],
) -> SeedRuns:
    scores, lost, why = {}, {}, None
    for cell, one, reason in mine:
        if one is None:
            why = reason
        elif one.name in failed:
            lost[cell.seed] = failed[one.name][0]
        elif not _same_rows(one, first, task, split):
            why = f"it is measured on other rows than {first.name}, so the two cannot be compared"
        else:
            scores[cell.seed] = read_scores(
                read[one.name].folder, task, split, read[one.name].epoch_of(task)
            )
    return SeedRuns(variant, {} if why else scores, {} if why else lost, why)


def _same_rows(one: Prepared, other: Prepared, task: str, split: str) -> bool:
    if (
        task not in one.streams
        or split not in one.streams[task].dev
        or one.data[task].labels != other.data[task].labels
    ):
        return False
    mine, theirs = one.streams[task].dev[split], other.streams[task].dev[split]
    return (
        mine.digest == theirs.digest
        and mine.numbers.tolist() == theirs.numbers.tolist()
        and mine.targets.tolist() == theirs.targets.tolist()
    )


def _notes(mine: _Mine, first: Prepared, task: str) -> list[str]:
    """What qualifies the reference's figures of a task; then what qualifies those of other variants
    only.
    """
    common = first.notes_of(task)
    others = (
        f"{cell.variant}: {note}"
        for cell, one, _ in mine
        if one is not None
        for note in one.notes_of(task)
        if note not in common
    )
    return list(dict.fromkeys([*common, *others]))


def _expected(
    expected: Mapping[str, Mapping[str, float]], task: str, split: str, metric: str, variant: str
) -> tuple[float | None, float | None]:
    """(mean, standard deviation) that the source reports: `rte.accuracy`, `rte.accuracy.sd`; with
    several dev sets `mnli.dev_matched.accuracy`.
    """
    said = expected.get(variant, {})

    def find(end: str) -> float | None:
        return said.get(f"{task}.{split}.{metric}{end}", said.get(f"{task}.{metric}{end}"))

    return find(""), find(".sd")


def _expected_averages(study: Study) -> dict[str, Mapping[str, float]]:
    return {cell.variant: cell.recipe.expect for cell in study.cells}


def _same(plan: PreparedComparison) -> list[str]:
    """Variants that differ in nothing that changes a run."""
    runs: dict[str, list[str | None]] = {}
    for cell, one in zip(plan.study.cells, plan.prepared, strict=True):
        runs.setdefault(cell.variant, []).append(one.name if one else None)
    names = list(runs)
    return [
        f"{b} is the same as {a}: what it changes is what the recipe says anyway."
        for at, b in enumerate(names)
        for a in names[:at]
        if runs[a] == runs[b] and any(runs[a])
    ]

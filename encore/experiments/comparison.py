"""`encore compare`: every distinct run of a study once, then the tables.

The folder compare-NAME-HASH holds:

- recipe.yaml, study.json: the recipe as it was given, and the study made of it.
- cells.json: study, variant, seed → run folder and state.
- race.json: with --race, the figures of each round, and the variants that left.
- results.json: all figures, intervals and verdicts; the same bytes however often the command was
  killed on the way.
- table.csv, table.tex: the same as tables.
- cost.json: seconds, runs found complete, runs saved by a race. No part of the results.
- log/: the output of processes, if there is any.
- jobs.json, claims/: with --prepare, the runs for workers, and who computes which.
- borrowed_weights.json: runs whose weights are removed at the end, until then.
- manifest.json: the sha256 of every file. It exists if and only if no run is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encore import files
from encore.evaluation.comparison_record import ComparisonRecord
from encore.experiments.cells import CellRunner
from encore.experiments.executors.choice import check_executor
from encore.experiments.preparation import PreparedComparison, distinct_runs
from encore.experiments.race import run_race, saved_by_race
from encore.experiments.results import measure_comparison
from encore.experiments.variants import Study
from encore.runs.contents import COMPARISON_FILES, RACE
from encore.tables import comparison, comparison_files

__all__ = ["ComparisonResult", "begin_comparison", "run_comparison"]


@dataclass(frozen=True)
class ComparisonResult:
    """A finished comparison. record: its figures. failed: "study, variant, seed n: what happened".
    saved: by a race, runs made and runs of the full grid, and about how many seconds of computing
    either takes.
    """

    folder: Path
    record: ComparisonRecord
    failed: tuple[str, ...] = ()
    n_runs: int = 0
    n_reused: int = 0
    seconds: float = 0.0
    saved: Mapping[str, float] | None = None

    @property
    def results(self) -> dict[str, Any]:
        """The figures as plain data, as results.json holds them."""
        return self.to_json()

    @property
    def table(self) -> str:
        """All tables with their verdicts, as plain text."""
        return "\n\n".join(map(str, comparison.comparison_tables(self.record)))

    def to_json(self) -> dict[str, Any]:
        """The contents of results.json: the figures, without folder, failures and cost."""
        return self.record.to_json()

    @classmethod
    def from_json(cls, folder: Path, stored: Mapping[str, Any]) -> ComparisonResult:
        """The comparison whose folder holds `stored` as results.json."""
        return cls(folder, ComparisonRecord.from_json(stored))


def run_comparison(
    plan: PreparedComparison,
    runs: Path,
    *,
    processes: int | None = None,
    keep_models: bool = False,
    tell: Callable[[str], None] = lambda line: None,
    executor: str | None = None,
) -> ComparisonResult:
    """Compute the runs that are missing, then measure. Killed at any moment, the same call resumes;
    a run that fails stops no other.

    processes: runs at once, as many as there are cores if None. tell: takes a line about every run
    that ends. executor: of `encore.experiments.executors.choice`; None: local, or serial with an
    accelerator.
    """
    started, study = time.monotonic(), plan.study
    check_executor(executor)
    folder = begin_comparison(plan, runs)
    runner = CellRunner(plan, runs, folder, processes, keep_models, tell, executor)
    races = run_race(runner) if study.race else None
    runner.screened = True
    wanted = [each for each in plan.cells if runner.eliminated_in(each.cell) is None]
    runner.compute(distinct_runs(study.seeds, wanted))
    record = measure_comparison(runner, races)
    runner.drop_weights()
    seconds = time.monotonic() - started
    saved = saved_by_race(runner) if study.race else None
    _write(runner, record, seconds, saved)
    n_computed = len(runner.computed)
    return ComparisonResult(
        folder,
        record,
        runner.failures,
        len(runner.wanted),
        len(runner.wanted) - n_computed,
        seconds,
        saved,
    )


def begin_comparison(plan: PreparedComparison, runs: Path) -> Path:
    """Make the comparison's folder ready and write what it compares; returns the folder."""
    folder = runs / plan.name
    files.require_plain(folder)
    with files.explained(folder):
        (folder / "log").mkdir(parents=True, exist_ok=True)
        (folder / files.MANIFEST).unlink(missing_ok=True)
    files.sweep(folder)
    files.write(folder / "recipe.yaml", plan.study.text.encode())
    files.write_json(folder / "study.json", _description(plan.study))
    return folder


def _description(study: Study) -> dict[str, Any]:
    """The contents of study.json."""
    found: dict[str, Any] = {
        "name": study.name,
        "overrides": list(study.overrides),
        "points": [dict(point) for point in study.points],
        "variants": list(study.variants),
        "reference": study.reference,
        "seeds": list(study.seeds),
    }
    if study.folds is not None:
        found |= {"folds": study.folds}
    if study.race is None:
        return found
    return found | {"race": {"factor": study.race.factor, "seeds": list(study.race.seeds)}}


def _write(
    runner: CellRunner, record: ComparisonRecord, seconds: float, saved: dict[str, float] | None
) -> None:
    """The figures, the tables and the cost; the manifest where no run failed."""
    folder = runner.folder
    files.write_json(folder / "results.json", record.to_json())
    files.write(folder / "table.csv", comparison_files.csv_of(record).encode())
    files.write(folder / "table.tex", comparison_files.latex_of(record).encode())
    cost = {
        "seconds": seconds,
        "computed": sorted(runner.computed),
        "found_complete": sorted(set(runner.wanted) - set(runner.computed)),
    }
    files.write_json(folder / "cost.json", cost | ({"race": saved} if saved else {}))
    if not runner.failed:
        names = (*COMPARISON_FILES, *((RACE,) if record.race else ()))
        files.write_manifest(folder, [folder / name for name in names])

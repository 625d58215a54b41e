"""`encore tune`: the trials of a search, each an ordinary run, then the best configuration on fresh
seeds.

    tune-NAME-HASH/recipe.yaml, study.json   the recipe as it was given, and what is searched, how
    study.db                                 all trials, as Optuna keeps them (SQLite), unless
      --storage names another database
    trials.csv                               a line per trial: state, value, settings, runs; up to
      date at any moment
    best.yaml                                the best configuration as a recipe of its own
    results.json                             its figures on fresh seeds, beside them the tuned one;
      importances
    figures/                                 pictures: NAME.svg, and what it shows as NAME.csv
    cost.json                                seconds of every trial (no part of the results)
    log/                                     what processes printed, if anything
    manifest.json                            sha256 of every file; there is one when, and only when,
      no trial and no run is missing

The folder's name is a hash of all that determines the trials but their number: the same command
with a larger -n resumes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from encore import files
from encore.errors import TrainingError
from encore.evaluation.search_record import (
    BestTrial,
    FreshResult,
    Importances,
    SearchRecord,
    TrialCounts,
)
from encore.experiments import comparison
from encore.experiments.cells import import_for_runs, processes_that_fit
from encore.experiments.executors.choice import check_executor
from encore.experiments.objective import SearchObjective
from encore.experiments.preparation import prepare_comparison
from encore.experiments.search_files import description_of, trials_csv
from encore.experiments.search_preparation import PreparedSearch
from encore.experiments.study import (
    best_of,
    counted_trials,
    explained_database,
    importances,
    open_study,
    problems_of,
    score_of,
)
from encore.experiments.trial import TrialScore
from encore.experiments.trial_jobs import check_shared_storage, trial_jobs
from encore.experiments.trials import run_trials
from encore.experiments.variants import Cell, Study
from encore.recipe.write import anchored, to_yaml
from encore.runs.contents import SEARCH_FILES
from encore.tables.search import search_tables

__all__ = ["SearchResult", "run_search"]


@dataclass(frozen=True)
class SearchResult:
    """A finished search. record: its figures. failed: what happened, a line each. n_found: trials
    that had ended before this call.
    """

    folder: Path
    record: SearchRecord
    failed: tuple[str, ...] = ()
    n_found: int = 0
    seconds: float = 0.0

    @property
    def results(self) -> dict[str, Any]:
        """The figures as plain data, as results.json holds them."""
        return self.to_json()

    @property
    def table(self) -> str:
        """The best configuration and its figures on fresh seeds, as plain text."""
        return "\n\n".join(map(str, search_tables(self.record)))

    def to_json(self) -> dict[str, Any]:
        """The contents of results.json: the figures, without folder, failures and cost."""
        return self.record.to_json()

    @classmethod
    def from_json(cls, folder: Path, stored: Mapping[str, Any]) -> SearchResult:
        """The search whose folder holds `stored` as results.json."""
        return cls(folder, SearchRecord.from_json(stored))


def run_search(
    tuning: PreparedSearch,
    runs: Path,
    *,
    processes: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
    draw: Callable[..., None] = lambda *_: None,
    executor: str | None = None,
) -> SearchResult:
    """Compute the trials that are missing, then the best configuration on fresh seeds. Killed at
    any moment, the same call resumes.

    processes: trials at once, as many as there are cores if None; with more than one, the
    parameters of a trial depend on which others have ended. tell: takes a line about every trial
    that ends. draw: draws the figures (`encore.report.search_figures.draw_figures`, which is
    imported late). executor: as of `run_comparison`. Raises TrainingError where no trial could be
    completed, or where another process is running the study; RecipeError where several machines
    would share a file of SQLite.
    """
    check_executor(executor, in_process=tuning.first.device != "cpu")
    if executor == "ray":
        check_shared_storage(tuning.storage)
    trials = tuning.trials(runs)
    folder = trials.folder
    busy = TrainingError(
        f"{folder}: another process is running this study. Wait for it, or stop it; the "
        f"same command then resumes."
    )
    with files.locked(folder, busy), explained_database(trials):
        return _Running(tuning, runs, processes, tell, draw, executor).run()


class _Running:
    """A search whose folder this process has locked."""

    def __init__(
        self,
        search: PreparedSearch,
        runs: Path,
        processes: int | None,
        tell: Callable[[str], None],
        draw: Callable[..., None],
        executor: str | None,
    ) -> None:
        self.started = time.monotonic()
        self.search, self.runs, self.processes = search, runs, processes
        self.tell, self.draw, self.executor = tell, draw, executor
        self.folder = search.trials(runs).folder

    def run(self) -> SearchResult:
        study = self._begin()
        n_found = sum(trial.state.is_finished() for trial in counted_trials(study))
        self._run_trials(study, n_found)
        trials = counted_trials(study)
        failed = [
            f"trial {trial.number}: {problem}" for trial in trials for problem in problems_of(trial)
        ]
        best = best_of(trials, maximise=self.search.maximise)
        if best is None:
            raise TrainingError(
                [*failed, f"{self.folder}: no trial was completed, so there is no best one."]
            )
        self._write_trials(study)
        text = to_yaml(anchored(self.search.search.recipe(best.params)), short=True)
        files.write(self.folder / "best.yaml", text.encode())
        shares, why = importances(study, self.search.search.seed)
        fresh = self._fresh(best)
        record = _record(
            self.search, trials, best, Importances(_by(self.search), shares, why), fresh
        )
        files.write_json(self.folder / "results.json", record.to_json())
        self.draw(self.search, study, trials, best, shares, self.folder, self.runs)
        seconds = self._finish(trials, complete=not fresh.failed)
        return SearchResult(self.folder, record, (*failed, *fresh.failed), n_found, seconds)

    def _begin(self) -> optuna.Study:
        """Make the folder ready and open the study, which may have more trials than this command
        requests.
        """
        folder = self.folder
        with files.explained(folder):
            (folder / "log").mkdir(exist_ok=True)
            (folder / files.MANIFEST).unlink(missing_ok=True)
        files.sweep(folder)
        study = open_study(self.search.trials(self.runs))
        n = len(counted_trials(study))
        if n > self.search.trials(self.runs).n:  # an earlier command requested more
            self.search = replace(self.search, search=replace(self.search.search, trials=n))
        files.write(folder / "recipe.yaml", self.search.search.text.encode())
        files.write_json(folder / "study.json", description_of(self.search))
        return study

    def _run_trials(self, study: optuna.Study, n_found: int) -> None:
        trials, first = self.search.trials(self.runs), self.search.first
        processes, in_process = self.processes, first.device != "cpu"
        if n_found < trials.n and self.executor in (None, "local"):
            import_for_runs()
            if not in_process:
                n_left = trials.n - n_found
                processes = processes_that_fit([first], n_left, processes, first.n_cores, self.tell)

        def ended(line: str) -> None:
            self._write_trials(study)
            self.tell(line)

        run_trials(
            trials,
            SearchObjective(self.search, self.runs),
            processes=processes,
            threads=first.n_cores,
            in_process=in_process,
            tell=ended,
            executor=self.executor,
            job_of=trial_jobs(self.search, self.runs),
        )

    def _write_trials(self, study: optuna.Study) -> None:
        text = trials_csv(self.search, counted_trials(study))
        files.write(self.folder / "trials.csv", text.encode())

    def _fresh(self, best: FrozenTrial) -> comparison.ComparisonResult:
        """The best configuration on seeds that no trial had: a comparison of one variant."""
        search = self.search.search
        self.tell(
            f"trial {best.number} is the best; it is trained again with fresh seeds: "
            f"{', '.join(map(str, search.seeds))}"
        )
        cells = tuple(
            Cell({}, "tuned", seed, recipe, tuple(recipe.tasks))
            for seed in search.seeds
            for recipe in [search.recipe(best.params, seed)]
        )
        text = to_yaml(anchored(search.recipe(best.params)), short=True)
        name = f"{search.name}-tuned"
        study = Study(name, text, (), ("tuned",), "tuned", search.seeds, ({},), cells, ())
        return comparison.run_comparison(
            prepare_comparison(study),
            self.runs,
            processes=self.processes,
            tell=self.tell,
            executor=self.executor,
        )

    def _finish(self, trials: Sequence[FrozenTrial], *, complete: bool) -> float:
        """Write the cost, and the manifest where no run is missing. Returns the seconds in all."""
        folder, seconds = self.folder, time.monotonic() - self.started
        of_trials = {
            str(trial.number): score.seconds if (score := score_of(trial)) else None
            for trial in trials
        }
        files.write_json(folder / "cost.json", {"seconds": seconds, "trials": of_trials})
        if complete:
            figures = sorted((folder / "figures").glob("*"))
            files.write_manifest(folder, [*(folder / name for name in SEARCH_FILES), *figures])
        return seconds


def _by(tuning: PreparedSearch) -> str:
    return f"fANOVA, 64 trees, seed {tuning.search.seed}"


def _record(
    tuning: PreparedSearch,
    trials: Sequence[FrozenTrial],
    best: FrozenTrial,
    shares: Importances,
    fresh: comparison.ComparisonResult,
) -> SearchRecord:
    """The contents of results.json."""
    search = tuning.search
    counts = {
        state: sum(trial.state == state for trial in trials)
        for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    }
    score = score_of(best) or TrialScore(best.value or 0.0)
    return SearchRecord(
        search.name,
        tuning.deciding,
        tuning.maximise,
        TrialCounts(tuning.n_trials, *counts.values()),
        tuning.sampler,
        tuning.pruner,
        search.seed,
        search.trial_seeds,
        {one.path: one.spec for one in search.parameters},
        BestTrial(
            best.number,
            best.value,
            best.params,
            score.values,
            score.value_at_best_epoch,
            score.runs,
        ),
        shares,
        search.notes,
        FreshResult(fresh.folder.name, search.seeds, fresh.record.studies),
    )

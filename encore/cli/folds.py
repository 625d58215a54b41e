"""`encore train --folds`: trains a run for each fold, and prints the figures of all rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from encore.cli.dry_run import dry_run_lines, dry_run_object
from encore.cli.options import whole_number
from encore.cli.output import announce, console, print_json, say
from encore.cli.train import TrainOptions, announcements, complete_run, first_lines, run_line, train
from encore.data.table import display_path, plural
from encore.errors import RecipeError
from encore.runs.places import is_kept, run_folder
from encore.tables.formatting import format_duration

if TYPE_CHECKING:
    from encore.runs.cross_validation import PreparedFolds
    from encore.runs.folder import RunResult
    from encore.runs.prepared import Prepared

__all__ = ["train_command"]


def train_command(options: TrainOptions) -> None:
    """Train the run, or those of all folds, and print the results. Raises EncoreError."""
    if options.folds is None:
        train(options)
    else:
        _train_folds(options, whole_number("--folds", options.folds))


def _train_folds(options: TrainOptions, n_folds: int) -> None:
    """Train the runs of all folds, or resume, or find them complete, and print the table. Raises
    EncoreError.
    """
    from encore.runs.cross_validation import run_folds
    from encore.tables.folds import folds_table
    from encore.tables.listing import show

    folds = _prepare(options, n_folds)
    announce(_lines(folds, options.runs), quiet=options.quiet)
    if options.dry_run:
        _print_dry_run(folds, options)
        return
    there = [is_kept(run_folder(options.runs, run.name)) for run in folds.runs]
    seconds: list[float] = []

    def complete(run: Prepared) -> RunResult:
        number = folds.runs.index(run) + 1
        announce([f"fold {number} of {len(folds.runs)}: {run.name}"], quiet=options.quiet)
        result = complete_run(run, options)
        seconds.append(result.seconds)
        return result

    found = run_folds(folds, options.runs, complete)
    if options.json_:
        print_json({**found.to_json(), "seconds": sum(seconds)})
        return
    show(folds_table(found.record), console())
    reused = f", {sum(there)} of {plural(len(there), 'run')} complete already" if any(there) else ""
    say(
        f"cross-validation: {display_path(found.folder)} ({format_duration(sum(seconds))} of "
        f"training{reused}); out_of_fold.parquet in it has the scores of all rows"
    )


def _prepare(options: TrainOptions, n_folds: int) -> PreparedFolds:
    """Raises EncoreError with everything that is wrong."""
    from encore import api
    from encore.cli import usage
    from encore.cli.options import check_runs_folder
    from encore.errors import Complaints

    complaints = Complaints()
    with complaints.collecting():
        check_runs_folder(options.runs)
    with complaints.collecting():
        if options.start is not None:
            raise RecipeError("--folds: a run goes on from another as a whole. Remove --from.")
        if options.only_new:
            raise RecipeError("--only-new: goes with --from RUN (in Python start=RUN).")
        given = usage.option_values({**options.data, **options.file.settings()})
        folds = api.prepared_folds(options.what, n_folds, options.overrides, **given)
    complaints.raise_any()
    return folds


def _lines(folds: PreparedFolds, runs: Path) -> list[str]:
    """The lines on what was inferred and decided, of the first fold and where another differs."""
    first, *others = folds.runs
    lines = announcements(first)
    decided = {
        f"fold {number}: {line}"
        for number, run in enumerate(others, 2)
        for line in run.decided
        if line not in first.decided
    }
    lines += [*sorted(decided), *first_lines(first, runs)]
    of_runs = [f"fold {number}: {_run_line(run, runs)}" for number, run in enumerate(folds.runs, 1)]
    return [*lines, *of_runs]


def _run_line(run: Prepared, runs: Path) -> str:
    n_rows = len(next(iter(run.data.values())).dev["dev"])
    return f"{plural(n_rows, 'row')}; {run_line(run_folder(runs, run.name))}"


def _print_dry_run(folds: PreparedFolds, options: TrainOptions) -> None:
    """The first fold as a run of its own, and the time of all."""
    from encore.runs.cost import estimate_cost

    first, n = folds.runs[0], len(folds.runs)
    cost = estimate_cost(first)
    left = [run for run in folds.runs if not is_kept(run_folder(options.runs, run.name))]
    seconds = cost.seconds * len(left)
    if options.json_:
        about: dict[str, Any] = {
            "cross_validation": str(run_folder(options.runs, folds.name, "folds")),
            "runs": [run.name for run in folds.runs],
            "left": len(left),
            "estimated_seconds": seconds,
            "fold_1": dry_run_object(first, cost, run_folder(options.runs, first.name)),
        }
        print_json(about)
        return
    say("\n".join(dry_run_lines(first, cost)))
    say(
        f"# fold 1 of {n}; {len(left)} of {n} runs are left, which take about "
        f"{format_duration(seconds)}"
    )

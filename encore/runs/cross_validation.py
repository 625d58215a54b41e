"""Cross-validation: one run for each fold, and the scores of all rows by the runs that did not
train on them.

RUNS/folds-TASK-HASH/ holds recipe.yaml (the recipe without a fold), folds.json (task, labels,
runs), results.json (figures), out_of_fold.parquet (a line for each row: digest and row of the
example, fold, raw scores, label, group) and manifest.json. It appears whole, once all runs are
complete.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from encore import files
from encore.data.table import display_path, plural
from encore.errors import Complaints, DataError, Problem, RecipeError
from encore.evaluation.estimates import Estimate, estimate_metrics
from encore.evaluation.fold_record import FoldFigures, FoldsRecord
from encore.evaluation.out_of_fold import OutOfFold
from encore.recipe.folds import fold_recipes
from encore.recipe.schema import Recipe
from encore.recipe.write import anchored, to_yaml
from encore.runs.cache import Cache
from encore.runs.candidates import new_folder
from encore.runs.contents import FOLDS, OUT_OF_FOLD, damaged_files
from encore.runs.folder import MODEL, RunResult, read_prediction_file, read_scores
from encore.runs.identity import RESULTS_VERSION
from encore.runs.kind import folder_kind
from encore.runs.places import run_folder
from encore.runs.pooled_rows import pooled
from encore.runs.prepare import prepare
from encore.runs.prepared import Prepared
from encore.runs.writer import prediction_table
from encore.types import LabelSpace

__all__ = [
    "CrossValidation",
    "PreparedFolds",
    "check_unseen",
    "out_of_fold",
    "prepare_folds",
    "read_folds",
    "run_folds",
]

DEV = "dev"  # what the fold of a run is called there
_GROUP_ROWS = 1 << 16
_OF_SPLIT = re.compile(r"dev: fold \d+ of \d+: ")  # how the rows were dealt out
_NUMBER = re.compile(r"\d[\d,.]*")


@dataclass(frozen=True)
class PreparedFolds:
    """A cross-validation that can start. recipe: without a fold. runs: of fold 1, 2, …"""

    recipe: Recipe
    runs: tuple[Prepared, ...]

    @property
    def task(self) -> str:
        """The name of its only task."""
        return next(iter(self.recipe.tasks))

    @property
    def name(self) -> str:
        """The name of its folder: the task's for people, and a hash of the runs' names."""
        runs = [run.name for run in self.runs]
        digest = hashlib.sha256(files.canonical([RESULTS_VERSION, runs])).hexdigest()
        return f"folds-{self.task[:80]}-{digest[:10]}"


@dataclass(frozen=True)
class CrossValidation:
    """A finished cross-validation. record: its figures."""

    folder: Path
    record: FoldsRecord
    already_complete: bool = False

    @property
    def runs(self) -> tuple[Path, ...]:
        """The folders of the runs, in the order of the folds."""
        return tuple(run_folder(self.folder.parent, fold.run) for fold in self.record.folds)

    @property
    def out_of_fold(self) -> OutOfFold:
        """All rows, each with the scores of the run that did not train on it."""
        return out_of_fold(self.folder)

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {"cross_validation": str(self.folder), **self.record.to_json()}


def prepare_folds(recipe: Recipe, n_folds: int) -> PreparedFolds:
    """Read, check and tokenize the runs of all folds. Raises RecipeError or DataError."""
    cache, complaints, runs = Cache(), Complaints(), list[Prepared]()
    for number, one in enumerate(fold_recipes(recipe, n_folds)):
        if number and complaints.errors:
            break  # what is wrong with one fold is wrong with all
        with complaints.collecting():
            runs.append(prepare(one, cache))
            check_unseen(runs[-1])
    complaints.raise_any()
    return PreparedFolds(recipe, tuple(runs))


def check_unseen(run: Prepared) -> None:
    """Raise RecipeError where a run that this one starts from was trained on rows of its fold."""
    for first in run.firsts:
        for data in first.data.values():
            for stream in run.streams.values():
                held_out = stream.dev[DEV]
                n_seen = sum(
                    int(np.isin(held_out.numbers, numbers).sum())
                    for _, digest, numbers in data.train.sources
                    if digest == held_out.digest
                )
                if n_seen:
                    message = (
                        f"the run {first.name} that it starts from was trained on "
                        f"{plural(n_seen, 'row')} of this fold, so its figures would flatter."
                    )
                    remedy = "Start from a run on other rows, or leave the folds out."
                    (task,) = run.recipe.tasks.values()
                    where = f"fold {task.data.fold}"
                    raise RecipeError(Problem(where=where, message=message, remedy=remedy))


def run_folds(
    folds: PreparedFolds, runs: Path, train: Callable[[Prepared], RunResult]
) -> CrossValidation:
    """Train the runs that are not complete, measure all rows, and write the folder, or find it.
    train: completes a run in the folder of runs. Raises DataError or TrainingError.
    """
    results = [train(one) for one in folds.runs]
    folder = run_folder(runs, folds.name, "folds")
    if (folder / files.MANIFEST).exists():
        found = read_folds(folder)
        return CrossValidation(folder, found.record, already_complete=True)
    table, record = _measured(folds, results)
    with new_folder(folder) as being_written:
        files.write(being_written / "recipe.yaml", to_yaml(anchored(folds.recipe)).encode())
        files.write_json(being_written / FOLDS, _about(folds))
        write = partial(pq.write_table, table, compression="zstd", row_group_size=_GROUP_ROWS)
        files.write(being_written / OUT_OF_FOLD, write)
        files.write_json(being_written / "results.json", record.to_json())
    return CrossValidation(folder, record)


def _about(folds: PreparedFolds) -> dict[str, Any]:
    """The contents of folds.json."""
    data = folds.runs[0].data[folds.task]
    return {
        "results_version": RESULTS_VERSION,
        "task": folds.task,
        "labels": asdict(data.labels),
        "group": data.columns.group,
        "runs": [run.name for run in folds.runs],
    }


def _measured(folds: PreparedFolds, results: Sequence[RunResult]) -> tuple[pa.Table, FoldsRecord]:
    """The lines of the file of predictions, and the figures."""
    task, first = folds.task, folds.runs[0]
    data, parts = first.data[task], [run.streams[task].dev[DEV] for run in folds.runs]
    rows = pooled(parts)
    scores = rows.scores(
        [read_scores(one.folder, task, DEV, one.epoch_of(task)) for one in results]
    )
    table = prediction_table(rows.digest, rows.numbers, scores, rows.targets, rows.groups)
    clusters = rows.clusters
    record = FoldsRecord(
        task,
        len(rows),
        tuple(
            _figures(run.name, len(one), result.metrics[task][DEV])
            for run, one, result in zip(folds.runs, parts, results, strict=True)
        ),
        estimate_metrics(
            scores,
            rows.targets,
            data.labels,
            data.metrics,
            first.recipe.seed,
            groups=clusters,
        ),
        data.columns.group,
        None if clusters is None else len(np.unique(clusters)),
        tuple(_notes(results, task)),
    )
    return table.add_column(2, "fold", pa.array(rows.fold)), record


def _figures(run: str, n_rows: int, measured: Mapping[str, Mapping[str, Estimate]]) -> FoldFigures:
    baselines = {
        who: {name: estimate.value for name, estimate in found.items()}
        for who, found in measured.items()
        if who != MODEL
    }
    return FoldFigures(run, n_rows, measured[MODEL], baselines)


def _notes(results: Sequence[RunResult], task: str) -> list[str]:
    """Caveats of the figures, each once: that of several folds whose numbers alone differ is
    told of the first of them.
    """
    said: dict[str, tuple[str, list[str]]] = {}
    for number, result in enumerate(results, 1):
        for line in [*map(str, result.notes_of(task)), *result.caveats(task)]:
            if not _OF_SPLIT.match(line):
                _, folds = said.setdefault(_NUMBER.sub("#", line), (line, []))
                folds.append(str(number))
    return [_of_folds(line, folds, len(results)) for line, folds in said.values()]


def _of_folds(line: str, folds: Sequence[str], n_folds: int) -> str:
    first, *others = dict.fromkeys(folds)
    if len(others) + 1 == n_folds and not _NUMBER.search(line):
        return line
    alike = f" (alike in {', '.join(others)})" if others else ""
    return f"fold {first}{alike}: {line}"


def read_folds(folder: str | Path) -> CrossValidation:
    """A cross-validation that was made before. Raises DataError where it is none, or damaged."""
    folder = Path(folder)
    if folder_kind(folder) != "folds":
        raise DataError(
            f"{display_path(folder)}: no cross-validation. `encore train FILE.csv --folds 5` makes "
            f"one, and `encore ls` lists them."
        )
    if wrong := damaged_files(folder, "folds"):
        raise DataError(
            f"{display_path(folder / name)}: missing, or not as it was written. Remove the folder "
            f"and run the command that made it again: its runs are found complete."
            for name in wrong
        )
    try:
        record = FoldsRecord.from_json(files.read_json(folder / "results.json"))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(_of_another_version(folder, error)) from None
    return CrossValidation(folder, record, already_complete=True)


def out_of_fold(folder: str | Path) -> OutOfFold:
    """All rows of a cross-validation, each with the scores of the run that did not train on it.

    >>> rows = encore.out_of_fold("runs/folds-reviews-1a2b3c4d5e")  # doctest: +SKIP
    >>> rows.probabilities[rows.fold == 2], rows.targets  # doctest: +SKIP

    folder: as `encore train --folds` and `encore ls` print it. Raises DataError.
    """
    folder = read_folds(folder).folder
    stored = read_prediction_file(folder / OUT_OF_FOLD)
    fold = pq.read_table(folder / OUT_OF_FOLD, columns=["fold"]).column("fold").to_numpy()
    about = files.read_json(folder / FOLDS)
    try:
        labels = about.get("labels")
        space = LabelSpace(**{**labels, "names": tuple(labels.get("names"))})
    except (TypeError, AttributeError) as error:
        raise DataError(_of_another_version(folder, error)) from None
    return OutOfFold(
        str(about.get("task")),
        stored.scores,
        stored.targets,
        stored.rows,
        fold,
        space,
        stored.digest,
        stored.groups,
    )


def _of_another_version(folder: Path, error: Exception) -> str:
    return (
        f"{folder}: another version of Encore wrote this cross-validation ({type(error).__name__}: "
        f"{error}). Remove the folder and run the command that made it again."
    )

"""Another run on the rows that a run is evaluated on, and the difference between the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encore import catalogue
from encore.data.dataset import Dataset
from encore.errors import DataError, RecipeError
from encore.evaluation.paired import PairedDifference, paired_differences
from encore.runs.loading import load_predictor
from encore.runs.predictor import Predictor, ServedTask
from encore.runs.seen_rows import seen_before
from encore.tables.listing import Listing
from encore.tables.paired import paired_table
from encore.types import LabelSpace

__all__ = ["OtherRun", "compare_with", "read_alike"]


@dataclass(frozen=True)
class OtherRun:
    """The run that another one was compared with, and the differences to it by metric. scores:
    (rows, n_scores) raw, with the columns of the other one's labels.
    """

    model: Predictor[ServedTask]
    scores: np.ndarray
    differences: Mapping[str, PairedDifference]
    notes: tuple[str, ...]

    def table(self, run: str, file: str, n_rows: int) -> Listing:
        """A line per metric. run: the one that was compared with this."""
        return paired_table(
            self.differences,
            names=(str(self.model.folder), run),
            title=f"{run} against {self.model.folder}, the same {n_rows:,} rows of {file}",
            notes=self.notes,
        )

    def as_object(self) -> dict[str, Any]:
        """Its part of the object that `--json` prints."""
        return {
            "run": str(self.model.folder),
            "metrics": {name: asdict(each) for name, each in self.differences.items()},
            "notes": list(self.notes),
        }


def read_alike(
    other: str | Path | Predictor[ServedTask] | None,
    model: Predictor[ServedTask],
    task: str,
    source: Any,
    dataset: Dataset,
    **reading: Any,
) -> tuple[Predictor[ServedTask], Dataset] | None:
    """Another run, and the rows of `dataset`, which `model` read from `source`, as that run reads
    them; None without another run. Raises RecipeError where the two do not predict the same labels,
    DataError where the other run's columns are not there.
    """
    if other is None:
        return None
    other = other if isinstance(other, Predictor) else load_predictor(other, force=model.force)
    mine, theirs = model.task(task), _counterpart(other, task)
    if (mine.labels.kind, set(mine.labels.names)) != (theirs.labels.kind, set(theirs.labels.names)):
        raise RecipeError(
            f"{other.folder} and {model.folder} do not predict the same: '{theirs.name}' is "
            f"{_described(theirs.labels)}, and '{mine.name}' {_described(mine.labels)}."
        )
    if _reading_of(mine) == _reading_of(theirs):
        return other, dataset
    if str(source) == "-":
        message = "standard input can be read once, and the two runs read it differently."
        raise DataError(f"{message} Write the rows to a file.")
    found = other.read(source, task=theirs.name, with_labels=True, **reading)
    assert found.targets is not None
    assert dataset.targets is not None
    order = _order(theirs.labels, mine.labels)
    if not np.array_equal(found.rows, dataset.rows) or not np.array_equal(
        _in_order(found.targets, order, mine.labels), dataset.targets
    ):
        raise DataError(
            f"{dataset.path}: {other.folder} reads other rows or labels in it than "
            f"{model.folder}, so the two cannot be compared on it."
        )
    return other, found


def _counterpart(other: Predictor[ServedTask], task: str) -> ServedTask:
    """The task of this name, or the only one."""
    return other.tasks.get(task) or other.task(None if len(other.tasks) == 1 else task)


def _described(labels: LabelSpace) -> str:
    names = f" ({', '.join(labels.names)})" if labels.names else ""
    return f"{labels.kind}{names}"


def _reading_of(task: ServedTask) -> tuple[Any, ...]:
    """The columns of the texts and of the label, and what is made of their cells."""
    read = task.columns
    cells = tuple(sorted(read.cells.items()))
    texts = (read.text, read.text_pair, task.normalise)
    return (*texts, read.label, read.labels, cells, read.separator, read.merge_labels)


def _order(theirs: LabelSpace, mine: LabelSpace) -> list[int]:
    """The positions in `theirs` of the labels of `mine`; the only score of a regression."""
    return [theirs.names.index(name) for name in mine.names] or [0]


def _in_order(targets: np.ndarray, order: list[int], labels: LabelSpace) -> np.ndarray:
    """Targets whose labels are renumbered: the label at `order[i]` is number i."""
    if labels.kind == "regression":
        return targets
    return targets[:, order] if targets.ndim == 2 else np.argsort(order)[targets]


def compare_with(
    other: Predictor[ServedTask],
    rows: Dataset,
    model: Predictor[ServedTask],
    task: ServedTask,
    scores: np.ndarray,
    targets: np.ndarray,
    *,
    groups: np.ndarray | None = None,
) -> OtherRun:
    """Score rows with another run and test the difference. rows: those of `read_alike`. scores,
    targets: of `model`. groups: (rows,) numbers of those that belong together. Raises DataError.
    """
    theirs = _counterpart(other, task.name)
    raw, order = other.scores(rows, task=theirs.name), _order(theirs.labels, task.labels)
    usable = [
        name
        for name in task.metrics
        if theirs.gives_probabilities or not catalogue.find("metrics", name).needs_probabilities
    ]
    differences: dict[str, PairedDifference] = {}
    for name in usable:
        metric = catalogue.find("metrics", name)
        mine = task.decision.read_by(metric, scores, task.labels)
        others = theirs.decision.read_by(metric, raw, theirs.labels)[:, order]
        differences |= paired_differences(
            mine, others, targets, task.labels, [name], model.seed, groups=groups
        )
    notes = [f"{other.folder}: {note}" for note in seen_before(other, theirs.name, rows)]
    return OtherRun(other, raw[:, order], differences, tuple(notes))

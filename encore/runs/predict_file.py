"""Predicts the rows of a file window by window, in memory that does not depend on their number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pyarrow as pa
import torch

from encore.data.build import describe_reading
from encore.data.dataset import Dataset
from encore.data.inputs import rows_to_predict
from encore.data.read import TableStream, open_table
from encore.data.settings import Reading
from encore.data.table import Table
from encore.data.token_store import NoToken
from encore.data.windows import windows
from encore.data.write import table_of
from encore.errors import DataError
from encore.model.free_memory import return_free_pages
from encore.runs.explanation_output import GradientTally, weight_columns
from encore.runs.identity import RESULTS_VERSION
from encore.runs.kept_scores import KeptScores, kept_scores
from encore.runs.output import round_probabilities, with_columns
from encore.runs.predict import task_columns
from encore.runs.predictor import Predictor, ServedTask
from encore.types import Note

__all__ = ["Abstentions", "FilePrediction", "OutputForm", "output_columns"]

# Sorted by length, 32,768 short rows fill their batches as well as a million does.
_MOST_ROWS, _MOST_BYTES, _MOST_SCORES = 1 << 15, 1 << 24, 1 << 22


@dataclass(frozen=True)
class OutputForm:
    """The columns of an output. explain: with the weights of the words; with_input: with the
    columns of the input; rounded: with probabilities of six digits.
    """

    explain: bool = False
    with_input: bool = False
    rounded: bool = False


@dataclass
class Abstentions:
    """Counts the rows that get no label. of_task: of each task that abstains at all."""

    n_rows: int = 0
    of_task: dict[str, int] = field(default_factory=dict)

    def count(self, tasks: Sequence[ServedTask], scores: Mapping[str, np.ndarray]) -> None:
        """Count further rows. scores: task → (rows, n_scores), raw."""
        self.n_rows += len(scores[tasks[0].name])
        for task in tasks:
            if task.decision.abstain:
                without = ~task.decision.covers(scores[task.name], task.labels)
                self.of_task[task.name] = self.of_task.get(task.name, 0) + int(without.sum())

    @property
    def notes(self) -> list[str]:
        """A line for each task that abstains."""
        return [
            f"{f'{task}: ' if len(self.of_task) > 1 else ''}no label for {n:,} of {self.n_rows:,} "
            f"row{'' if self.n_rows == 1 else 's'}"
            for task, n in self.of_task.items()
        ]

    def to_json(self) -> dict[str, Any]:
        """Its part of the object that `--json` prints."""
        return {"without_label": dict(self.of_task)} if self.of_task else {}


@dataclass(frozen=True)
class FilePrediction:
    """The predictions of tasks for the rows of one file. tally, abstentions: of those so far."""

    model: Predictor[ServedTask]
    tasks: Sequence[ServedTask]
    stream: TableStream
    form: OutputForm
    tally: GradientTally = field(default_factory=GradientTally)
    abstentions: Abstentions = field(default_factory=Abstentions)

    @classmethod
    def opened(
        cls,
        model: Predictor[ServedTask],
        tasks: Sequence[ServedTask],
        path: str | Path,
        form: OutputForm,
        **reading: Unpack[Reading],
    ) -> FilePrediction:
        """Survey the file. Raises DataError with all problems of its rows, and RecipeError where it
        cannot be predicted as demanded.
        """
        found = cls(model, tasks, open_table(path, **reading), form)
        found._columns(found._dataset(found.stream.shape), found._nothing)  # raises what is wrong
        return found

    @property
    def notes(self) -> list[Note]:
        """The note on how the file was read, and those that qualify the predictions."""
        shape = self.stream.shape
        how_read = describe_reading(shape, n_rows=self.stream.n_rows)
        explained = [self.model.explanation_note(self.tasks[0].name)] if self.form.explain else []
        return [how_read, *self._dataset(shape).notes, *explained]

    @cached_property
    def n_scores(self) -> int:
        """Scores per row, of all tasks."""
        return sum(task.labels.n_scores for task in self.tasks)

    def kept(self, out: str | Path, *, resume: bool) -> AbstractContextManager[KeptScores]:
        """The scores that are kept beside `out` while `tables` is consumed. Raises as
        `kept_scores` does.
        """
        shape = self.stream.shape
        what = {
            "results_version": RESULTS_VERSION,
            "model": self.model.digest,
            "tasks": [task.name for task in self.tasks],
            "file": shape.digest,
            "reading": [*shape.how_read, str(shape.skipped)],
            "torch": torch.__version__,
            "processor": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "windows": [_MOST_ROWS, _MOST_BYTES, _MOST_SCORES],
        }
        return kept_scores(Path(out), what, self.n_scores, resume=resume)

    def tables(self, kept: KeptScores | None = None) -> Iterator[pa.Table]:
        """The columns of the output, window by window, in the order of the file."""
        found = windows(
            self.stream.tables(),
            most_rows=max(1, min(_MOST_ROWS, _MOST_SCORES // self.n_scores)),
            most_bytes=_MOST_BYTES,
        )
        for window in found:
            dataset = self._dataset(window)
            scores = None if kept is None else kept.next(len(dataset))
            if scores is None:
                try:
                    scores = self._scores(dataset)
                except NoToken as error:  # its number is that in the window
                    column = self.tasks[0].columns.text
                    raise DataError(
                        window.bad_row(error.row, column, message=error.MESSAGE)
                    ) from None
                if kept is not None:
                    kept.add(scores)
            yield table_of(self._columns(dataset, scores))
            return_free_pages()

    @property
    def _nothing(self) -> np.ndarray:
        return np.empty((0, self.n_scores), np.float32)

    def _dataset(self, table: Table) -> Dataset:
        first = self.tasks[0]
        return rows_to_predict(
            table, first.columns, normalise=first.normalise, keep_all=self.form.with_input
        )

    def _scores(self, dataset: Dataset) -> np.ndarray:
        """(rows, n_scores) float32, task by task."""
        found = self.model.scores_of([task.name for task in self.tasks], dataset)
        return np.concatenate([found[task.name] for task in self.tasks], axis=1)

    def _columns(self, dataset: Dataset, scores: np.ndarray) -> dict[str, Any]:
        ends = np.cumsum([task.labels.n_scores for task in self.tasks])[:-1]
        names = [task.name for task in self.tasks]
        of_task = dict(zip(names, np.split(scores, ends, axis=1), strict=True))
        self.abstentions.count(self.tasks, of_task)
        return output_columns(self.model, self.tasks, dataset, of_task, self.form, self.tally)


def output_columns(
    model: Predictor[ServedTask],
    tasks: Sequence[ServedTask],
    dataset: Dataset,
    scores: Mapping[str, np.ndarray],
    form: OutputForm,
    tally: GradientTally,
) -> dict[str, Any]:
    """The columns of the output for rows and their raw scores: task → (rows, n_scores). tally:
    counts the explanations. Raises RecipeError where the rows cannot be explained, DataError where
    the input has a column of the same name.
    """
    columns = task_columns(scores, tasks)
    if form.rounded:
        columns = round_probabilities(columns)
    if form.explain:
        explanations = model.explanations(dataset, task=tasks[0].name)
        columns |= weight_columns(
            tally.counted(explanations),
            pair=dataset.pairs is not None,
            gradients=not tasks[0].has_attention,
            adapters=tasks[0].adapters,
        )
    return with_columns(dataset, columns) if form.with_input else columns

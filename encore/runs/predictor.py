"""A run or an ensemble of runs, as all that asks for predictions sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import numpy as np

from encore.data.columns import Columns
from encore.data.dataset import Dataset
from encore.data.inputs import read_labelled, read_unlabelled
from encore.errors import RecipeError, did_you_mean
from encore.evaluation.decision import PLAIN, Decision
from encore.model.task_model import TaskModel
from encore.runs.explain import Explanation
from encore.runs.output import Prediction, named_predictions
from encore.types import LabelSpace, Note

__all__ = ["Predictor", "ServedTask", "chosen_task", "without_probabilities"]


@dataclass(frozen=True)
class ServedTask:
    """A task that can be predicted: how its rows are read, its labels, and its metrics. decision:
    how its scores become answers.
    """

    name: str
    labels: LabelSpace
    columns: Columns
    normalise: str | None
    metrics: tuple[str, ...]
    decision: Decision = field(default=PLAIN, kw_only=True)

    def abstaining(self, confidence: float | None) -> Self:
        """The task that gives no label below this confidence; None: as its decision says. Raises
        RecipeError where its model gives no probabilities, and for anything but 0 to 1.
        """
        if confidence is None:
            return self
        if not 0 <= confidence <= 1:
            meant = f" Write {confidence / 100:g}." if 1 < confidence <= 100 else ""
            raise RecipeError(
                f"abstain: expected a confidence from 0 to 1, got {confidence:g}.{meant}"
            )
        if confidence and (why := without_probabilities(self)):
            raise RecipeError(f"abstain: {why}, so there is no confidence to abstain below.")
        return replace(self, decision=replace(self.decision, abstain=float(confidence)))

    @property
    def gives_probabilities(self) -> bool:
        """True where softmax or sigmoid makes probabilities of its scores."""
        raise LookupError("whoever serves a task says so")

    @property
    def models(self) -> tuple[TaskModel, ...]:
        """The models that score its rows: one of a run, several of an ensemble."""
        raise LookupError("whoever serves a task says so")

    @property
    def has_attention(self) -> bool:
        """True where its words are explained by attention, and not by gradients."""
        return False

    @property
    def adapters(self) -> tuple[str, ...]:
        """The adapters whose shares an explanation lists."""
        return ()

    @property
    def input_key(self) -> str:
        """The columns and settings by which texts are read. Tasks with an equal one can predict
        the same rows at once.
        """
        raise LookupError("whoever serves a task says so")


def without_probabilities(task: ServedTask) -> str:
    """The reason why a task's model predicts no probabilities; "" where it does."""
    if task.labels.kind == "regression":
        return f"task '{task.name}' is a regression, which predicts no probabilities"
    if not task.gives_probabilities:
        return f"the scores of task '{task.name}' are no logits, and give no probabilities"
    return ""


def chosen_task(folder: Path, tasks: Sequence[str], name: str | None, *, what: str = "run") -> str:
    """The task that is named, or the only one. what: the folder is. Raises RecipeError."""
    if name is None and len(tasks) == 1:
        return tasks[0]
    if name is None or name not in tasks:
        problem = (
            f"several tasks in this {what}; name one (--task; in Python task=)"
            if name is None
            else f"no task called '{name}' in this {what}"
        )
        raise RecipeError(f"{folder}: {problem}. {did_you_mean(name or '', tasks)}")
    return name


TaskT_co = TypeVar("TaskT_co", bound=ServedTask, covariant=True)


class Predictor(ABC, Generic[TaskT_co]):
    """Tasks that texts can be predicted for. folder: of the run or the ensemble. seed: of the
    bootstrap intervals of its figures. force: predict rows also where their attention takes more
    memory than is free.
    """

    WHAT = "run"  # as messages call it

    folder: Path
    tasks: Mapping[str, TaskT_co]
    seed: int
    force: bool

    @property
    @abstractmethod
    def digest(self) -> str:
        """The sha256 of all that determines its scores."""

    @abstractmethod
    def origins(self, task: str) -> tuple[Path, ...]:
        """Folders with the recipe.yaml and the data.json of the runs that predict a task."""

    @abstractmethod
    def scores_of(self, tasks: Sequence[str], dataset: Dataset) -> dict[str, np.ndarray]:
        """Task → (rows, n_scores) float32 raw scores, in the order of the rows. Raises RecipeError
        where the tasks do not read the same texts in the same way, DataError where scores are not
        finite or memory does not suffice.
        """

    @abstractmethod
    def explanations(self, dataset: Dataset, *, task: str | None = None) -> Iterator[Explanation]:
        """The explanations of rows that were read, one after the other. Raises RecipeError where
        there are none.
        """

    @abstractmethod
    def explanation_note(self, task: str) -> Note:
        """The method of its explanations. Raises RecipeError where there are none."""

    def task(self, name: str | None = None) -> TaskT_co:
        """The named task, or the only one. Raises RecipeError."""
        return self.tasks[chosen_task(self.folder, list(self.tasks), name, what=self.WHAT)]

    def predict(
        self, texts: Any, *, task: str | None = None, abstain: float | None = None
    ) -> list[Prediction]:
        """One prediction per text (or pair of texts), in their order, as the decision says where
        there is one.

        texts: a text, or several; a pair, or several, where the task has pairs; a table in memory
        with the text columns of the run (of pandas, polars, pyarrow, …, or a dict of columns); a
        Path names a file. abstain: the confidence below which the label is None, in place of the
        decision's; 0 gives each text a label. Raises DataError for anything but texts, RecipeError
        for `abstain` where there are no probabilities.
        """
        chosen = self.task(task).abstaining(abstain)
        scores = self._scores_of_given(texts, chosen)
        return named_predictions(
            scores,
            chosen.labels,
            gives_probabilities=chosen.gives_probabilities,
            decision=chosen.decision,
        )

    def predict_proba(self, texts: Any, *, task: str | None = None) -> np.ndarray:
        """(rows, labels) float64: the probability of each label, calibrated where there is a
        decision, in the order of the task's `labels.names`. texts: as of `predict`. Raises
        RecipeError where there are no probabilities (regression, and scores that are no logits),
        DataError for anything but texts.
        """
        chosen = self.task(task)
        if without_probabilities(chosen):
            raise RecipeError(f"task '{chosen.name}': its model predicts no probabilities.")
        return chosen.decision.probabilities(self._scores_of_given(texts, chosen), chosen.labels)

    def explain(self, texts: Any, *, task: str | None = None) -> list[Explanation]:
        """The weight of each word of a text (or pair of texts) in its prediction: by attention
        where the pooling has it, else by integrated gradients: 32 passes forward and back for each
        row. texts: as of `predict`. Raises RecipeError for an encoder without a token that masks
        and for an ensemble, DataError for anything but texts.
        """
        chosen = self.task(task)
        dataset = self._read_given(texts, chosen)
        return list(self.explanations(dataset, task=chosen.name)) if len(dataset) else []

    def scores(self, dataset: Dataset, *, task: str | None = None) -> np.ndarray:
        """(rows, n_scores) float32: raw scores, in the order of the rows."""
        chosen = self.task(task)
        return self.scores_of([chosen.name], dataset)[chosen.name]

    def chosen(self, names: str | None = None, *, alone: bool = False) -> list[TaskT_co]:
        """The tasks of `names`, separated by commas, or the only task; alone: `names` is one name.
        Raises RecipeError for an unknown name, and for tasks that do not read the same columns in
        the same way.
        """
        found = (
            [self.task(names)]
            if names is None or alone
            else [self.task(name.strip()) for name in dict.fromkeys(names.split(","))]
        )
        self.check_together([one.name for one in found])
        return found

    def check_together(self, tasks: Sequence[str]) -> None:
        """Raises RecipeError where tasks do not read the same columns in the same way."""
        first, *others = (self.task(name) for name in tasks)
        apart = [other.name for other in others if other.input_key != first.input_key]
        if apart:
            what = (
                f"{apart[0]} and {first.name} do not read the same columns in the same way "
                f"(length, pairs), so one file cannot serve both at once."
            )
            raise RecipeError(f"{self.folder}: {what} Predict them one after the other.")

    def read(
        self,
        source: Any,
        *,
        task: str | None = None,
        with_labels: bool = False,
        keep: Sequence[str] = (),
        keep_all: bool = False,
        **reading: Any,
    ) -> Dataset:
        """The rows of a file or a table in memory, read as the task's training file was. keep:
        further columns that `extra` is to hold, of labelled rows; keep_all: all of them, of
        unlabelled ones. reading: delimiter, encoding, on_bad_row. Raises DataError.
        """
        chosen = self.task(task)
        if with_labels:
            return read_labelled(
                source, chosen.columns, normalise=chosen.normalise, keep=keep, **reading
            )
        return read_unlabelled(
            source, chosen.columns, normalise=chosen.normalise, keep_all=keep_all, **reading
        )

    def _scores_of_given(self, texts: Any, chosen: ServedTask) -> np.ndarray:
        dataset = self._read_given(texts, chosen)
        if not len(dataset):
            return np.zeros((0, chosen.labels.n_scores), np.float32)
        return self.scores(dataset, task=chosen.name)

    def _read_given(self, texts: Any, chosen: ServedTask) -> Dataset:
        single = isinstance(texts, str) or (
            chosen.columns.text_pair is not None
            and isinstance(texts, tuple)
            and all(isinstance(text, str) for text in texts)
        )
        return read_unlabelled(
            [texts] if single else texts, chosen.columns, normalise=chosen.normalise
        )

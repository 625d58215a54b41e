"""Loads a trained run and predicts: texts in, labels and probabilities out."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from encore import files
from encore.data.columns import Columns
from encore.data.dataset import Dataset
from encore.data.inputs import read_labelled, read_unlabelled
from encore.data.tokenizer import TextTokenizer
from encore.encoder import load as encoders
from encore.errors import DataError, RecipeError, did_you_mean
from encore.evaluation.predictions import check_scores, probabilities
from encore.model.assembly import TaskSpec, assemble
from encore.model.task_model import TaskModel
from encore.runs.adapter_shares import with_adapter_shares
from encore.runs.contents import damaged_files
from encore.runs.explain import Explanation, explain
from encore.runs.folder import explain_no_run
from encore.runs.gradients import explain_by_gradients
from encore.runs.loaded_task import LoadedTask
from encore.runs.model_folder import read_models, read_parts
from encore.runs.output import Prediction, columns_of, named_predictions
from encore.runs.scoring_memory import require_memory_for_rows
from encore.training.scoring import score_together
from encore.training.streams import rows_to_score
from encore.types import Note, Spec

__all__ = ["Model", "assemble_model", "load", "task_columns"]


@dataclass(frozen=True)
class Model:
    """A run that is ready to predict. folder: the folder of the run. force: predict rows also where
    their attention takes more memory than is free.
    """

    folder: Path
    tokenizer: TextTokenizer
    tasks: Mapping[str, LoadedTask]
    seed: int
    force: bool = False

    def task(self, name: str | None = None) -> LoadedTask:
        """The named task, or the only one. Raises RecipeError."""
        if name is None and len(self.tasks) == 1:
            return next(iter(self.tasks.values()))
        if name is None or name not in self.tasks:
            problem = (
                "several tasks in this run; name one (--task; in Python task=)"
                if name is None
                else f"no task called '{name}' in this run"
            )
            raise RecipeError(
                f"{self.folder}: {problem}. {did_you_mean(name or '', list(self.tasks))}"
            )
        return self.tasks[name]

    def predict(self, texts: Any, *, task: str | None = None) -> list[Prediction]:
        """One prediction per text (or pair of texts), in their order.

        texts: a text, or several; a pair, or several, where the task has pairs; a table in memory
        with the text columns of the run (of pandas, polars, pyarrow, …, or a dict of columns); a
        Path names a file. Raises DataError for anything but texts.
        """
        chosen = self.task(task)
        scores = self._scores_of_given(texts, chosen)
        return named_predictions(
            scores, chosen.labels, gives_probabilities=chosen.gives_probabilities
        )

    def predict_proba(self, texts: Any, *, task: str | None = None) -> np.ndarray:
        """(rows, labels) float64: the probability of each label, in the order of the task's
        `labels.names`. texts: as of `predict`. Raises RecipeError where there are no probabilities
        (regression, and heads whose scores are no logits), DataError for anything but texts.
        """
        chosen = self.task(task)
        if chosen.labels.kind == "regression" or not chosen.gives_probabilities:
            raise RecipeError(f"task '{chosen.name}': its model predicts no probabilities.")
        return probabilities(self._scores_of_given(texts, chosen), chosen.labels)

    def explain(self, texts: Any, *, task: str | None = None) -> list[Explanation]:
        """The weight of each word of a text (or pair of texts) in its prediction: by attention
        where the pooling has it, else by integrated gradients: 32 passes forward and back for each
        row. texts: as of `predict`. Raises RecipeError for an encoder without a token that masks,
        DataError for anything but texts.
        """
        chosen = self.task(task)
        dataset = self._read_given(texts, chosen)
        return list(self.explanations(dataset, task=chosen.name)) if len(dataset) else []

    def _scores_of_given(self, texts: Any, chosen: LoadedTask) -> np.ndarray:
        dataset = self._read_given(texts, chosen)
        if not len(dataset):
            return np.zeros((0, chosen.labels.n_scores), np.float32)
        return self.scores(dataset, task=chosen.name)

    def _read_given(self, texts: Any, chosen: LoadedTask) -> Dataset:
        single = isinstance(texts, str) or (
            chosen.columns.text_pair is not None
            and isinstance(texts, tuple)
            and all(isinstance(text, str) for text in texts)
        )
        return read_unlabelled(
            [texts] if single else texts, chosen.columns, normalise=chosen.normalise
        )

    def explanations(self, dataset: Dataset, *, task: str | None = None) -> Iterator[Explanation]:
        """The explanations of rows that were read, one after the other. Raises RecipeError as
        `explain` does.
        """
        chosen = self.task(task)
        found = (
            explain(
                chosen.model,
                self.tokenizer,
                dataset.texts,
                dataset.pairs,
                max_length=chosen.max_length,
                truncation=chosen.truncation,
            )
            if chosen.has_attention
            else explain_by_gradients(chosen, self.tokenizer, dataset)
        )
        if not chosen.adapters:
            return found
        return with_adapter_shares(chosen, self.tokenizer, dataset, found)

    def scores(self, dataset: Dataset, *, task: str | None = None) -> np.ndarray:
        """(rows, n_scores) float32: raw scores, in the order of the rows."""
        chosen = self.task(task)
        return self.scores_of([chosen.name], dataset)[chosen.name]

    def scores_of(self, tasks: Sequence[str], dataset: Dataset) -> dict[str, np.ndarray]:
        """Task → (rows, n_scores) float32 raw scores. Shared parts of encoders are computed once
        for each text. Raises RecipeError where the tasks do not read the same texts in the same
        way, DataError where scores are not finite or memory does not suffice.
        """
        chosen = [self.task(name) for name in tasks]
        self.check_together(tasks)
        first = chosen[0]
        rows = rows_to_score(
            dataset,
            self.tokenizer,
            first.pair,
            max_length=first.max_length,
            truncation=first.truncation,
        )
        if not self.force:
            require_memory_for_rows((one.model for one in chosen), rows.store, dataset)
        scores = score_together(
            {one.name: one.model for one in chosen},
            rows,
            {one.name: one.labels.n_scores for one in chosen},
        )
        check_scores(scores, dataset)
        return scores

    def chosen(self, names: str | None = None, *, alone: bool = False) -> list[LoadedTask]:
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


def load(run: str | Path, *, force: bool = False) -> Model:
    """Load the model of a run folder, complete or not. force: predict rows also where memory may
    not suffice. Raises DataError where the folder has no model or where its files were changed.
    """
    folder = Path(run)
    where = folder / "model"
    if not where.is_dir() and not (folder / "resolved.json").is_file():
        raise DataError(explain_no_run(folder))
    if not where.is_dir() and (folder / files.MANIFEST).exists():
        command = shlex.join(
            ["encore", "train", str(folder / "recipe.yaml"), "--runs", str(folder.parent)]
        )
        raise DataError(
            f"{folder}: has no weights: a comparison or a search keeps figures only. To get "
            f"them, train it again, to the same bits: {command}"
        )
    if where.is_symlink():
        raise DataError(
            f"{where}: a symbolic link, not the folder that the run wrote. Remove the folder "
            f"{folder} and run it again."
        )
    if not where.is_dir():
        raise DataError(
            f"{folder}: has no model yet. Run the command that started it again; it resumes."
        )
    wrong = damaged_files(where, "model")
    if wrong:
        raise DataError(
            f"{where / name}: missing, or not as the run wrote it. Remove the folder {folder} "
            f"and run it again."
            for name in wrong
        )
    try:
        return replace(_built(folder, where), force=force)
    except (
        KeyError,
        TypeError,
        RecipeError,
    ) as error:  # its files are as they were written, so another Encore wrote them
        why = (
            error.lines[0].rstrip(".")
            if isinstance(error, RecipeError)
            else f"{type(error).__name__}: {error}"
        )
        remedy = f"Use the version that {folder / 'environment.json'} names, or train it again."
        raise DataError(
            f"{folder}: another version of Encore wrote its model, which this one cannot build "
            f"({why}). {remedy}"
        ) from error


def _built(folder: Path, where: Path) -> Model:
    """The model of a run whose files are as they were written."""
    assembly, parts = read_parts(where)
    models = read_models(where, assembly, parts)
    tasks = {}
    for name, spec in assembly["tasks"].items():
        labels = parts[name].labels
        if labels.kind == "unlabelled":  # it trained along, and predicts nothing
            continue
        stored = spec["columns"]
        columns = Columns(
            **{
                **stored,
                "labels": tuple(stored["labels"]),
                "notes": tuple(map(Note, stored["notes"])),
            }
        )
        tasks[name] = LoadedTask(
            name=name,
            labels=labels,
            columns=columns,
            normalise=spec["normalise"],
            metrics=tuple(spec["metrics"]),
            max_length=spec["max_length"],
            truncation=spec["truncation"],
            pair=parts[name].pair,
            model=models[name].eval(),
            adapters=tuple(assembly.get("fused", ())),
        )
    return Model(folder, TextTokenizer(where, vouched=True), tasks, assembly["seed"])


def assemble_model(
    config: Mapping[str, Any],
    part: TaskSpec,
    sharing: Spec = "one",
    adapter: Spec | None = None,
) -> TaskModel:
    """Build the model of one task by itself, without trained weights. config: the encoder's.
    sharing: that of its run, if that gives a task several encoders side by side.
    """
    encoder = encoders.build_encoder(config)
    return assemble({"": part}, sharing, encoder, encoder.shape, seed=0, adapter=adapter)[""]


def task_columns(scores: Mapping[str, np.ndarray], tasks: Sequence[LoadedTask]) -> dict[str, Any]:
    """The columns of one task, or of several with each one's name in front: `sts.prediction`."""
    found = {
        task.name: columns_of(
            scores[task.name], task.labels, gives_probabilities=task.gives_probabilities
        )
        for task in tasks
    }
    if len(tasks) == 1:
        return found[tasks[0].name]
    return {
        f"{task}.{name}": column
        for task, columns in found.items()
        for name, column in columns.items()
    }

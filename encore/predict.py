"""A trained run, loaded: texts in, labels and probabilities out."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from encore import catalogue, files
from encore.data.columns import Columns
from encore.data.dataset import Dataset, labelled, unlabelled
from encore.data.read import shown
from encore.data.tokenise import Tokeniser
from encore.encoder import load as encoders
from encore.errors import DataError, RecipeError, did_you_mean
from encore.explain import Explanation, explain
from encore.model import Branch, TaskModel
from encore.prepare import tokenise_set
from encore.scores import predictions, probabilities
from encore.train import Rows, score_rows
from encore.types import LabelSpace

__all__ = ["LoadedTask", "Model", "Prediction", "assembled", "columns_of", "load", "named_predictions", "with_columns"]


@dataclass(frozen=True)
class Prediction:
    """What the model says of one example. `label`: its name, a tuple of names for multi-label, the value for regression.
    `probabilities`: label name → probability; empty for regression."""

    label: str | tuple[str, ...] | float
    probabilities: Mapping[str, float]


@dataclass(frozen=True)
class LoadedTask:
    """One task of a run."""

    name: str
    labels: LabelSpace
    columns: Columns
    normalise: str | None
    metrics: tuple[str, ...]
    max_length: int
    truncation: str
    model: TaskModel


@dataclass(frozen=True)
class Model:
    """A run that is ready to predict. `folder`: where it came from."""

    folder: Path
    tokeniser: Tokeniser
    tasks: Mapping[str, LoadedTask]
    seed: int

    def task(self, name: str | None = None) -> LoadedTask:
        """The named task, or the only one. Raises RecipeError."""
        if name is None and len(self.tasks) == 1:
            return next(iter(self.tasks.values()))
        if name is None or name not in self.tasks:
            problem = "several tasks in this run; name one" if name is None else f"no task called '{name}' in this run"
            raise RecipeError(f"{self.folder}: {problem}. {did_you_mean(name or '', list(self.tasks))}")
        return self.tasks[name]

    def predict(self, texts: Sequence[str] | Sequence[tuple[str, str]], *, task: str | None = None) -> list[Prediction]:
        """One prediction per text (or pair of texts), in their order. Raises DataError for what is not a text."""
        chosen = self.task(task)
        if len(texts) == 0:
            return []
        scores = self.scores(unlabelled(texts, chosen.columns, normalise=chosen.normalise), task=chosen.name)
        return named_predictions(scores, chosen.labels)

    def explain(self, texts: Sequence[str] | Sequence[tuple[str, str]], *, task: str | None = None) -> list[Explanation]:
        """Where the model's pooling looked in each text (or pair of texts), word by word. Raises RecipeError where the pooling has no token weights, DataError
        for what is not a text."""
        chosen = self.task(task)
        return list(self.explanations(unlabelled(texts, chosen.columns, normalise=chosen.normalise), task=chosen.name)) if len(texts) else []

    def explanations(self, dataset: Dataset, *, task: str | None = None) -> Iterator[Explanation]:
        """The same for rows that were read, one after the other."""
        chosen = self.task(task)
        return explain(chosen.model, self.tokeniser, dataset.texts, dataset.pairs, max_length=chosen.max_length, truncation=chosen.truncation)   # type: ignore[arg-type]

    def scores(self, dataset: Dataset, *, task: str | None = None) -> np.ndarray:
        """(rows, n_scores) float32 raw scores, in the order of the rows."""
        chosen = self.task(task)
        store = tokenise_set(dataset, self.tokeniser, max_length=chosen.max_length, truncation=chosen.truncation)
        rows = Rows(store, np.zeros(len(dataset), np.int64), dataset.digest, dataset.rows, np.ones(len(dataset), np.float32))
        return score_rows(chosen.model, rows, chosen.labels)

    def read(
        self, path: str | Path, *, task: str | None = None, with_labels: bool = False, keep: Sequence[str] = (), keep_all: bool = False, **reading: Any
    ) -> Dataset:
        """A file read as this task's training file was. keep: further columns that `extra` is to hold, of labelled rows; keep_all: all of them, of
        unlabelled ones. reading: delimiter, encoding, on_bad_row."""
        chosen = self.task(task)
        if with_labels:
            return labelled(path, chosen.columns, normalise=chosen.normalise, keep=keep, **reading)
        return unlabelled(path, chosen.columns, normalise=chosen.normalise, keep_all=keep_all, **reading)


def named_predictions(scores: np.ndarray, labels: LabelSpace) -> list[Prediction]:
    """Scores (rows, n_scores) → predictions with the labels' own names."""
    predicted = predictions(scores, labels)
    if labels.kind == "regression":
        return [Prediction(float(value), {}) for value in predicted]
    chances = [dict(zip(labels.names, map(float, row), strict=True)) for row in probabilities(scores, labels)]
    if labels.kind == "multilabel":
        return [Prediction(tuple(name for name, on in zip(labels.names, row, strict=True) if on), found) for row, found in zip(predicted, chances, strict=True)]
    return [Prediction(labels.names[number], found) for number, found in zip(predicted, chances, strict=True)]


def load(run: str | Path) -> Model:
    """A run folder, complete or not, as long as it has a model. Raises DataError where it has none or where its files were changed."""
    folder = Path(run)
    where = folder / "model"
    if not folder.is_dir():
        raise DataError(f"{folder}: no such run. `encore ls` lists the runs that there are.")
    if not where.is_dir() and (folder / files.MANIFEST).exists():
        command = shlex.join(["encore", "train", str(folder / "recipe.yaml"), "--runs", str(folder.parent)])
        raise DataError(f"{folder}: a run of a comparison, which keeps figures and no weights. To get them, train it once more, to the same bits: {command}")
    if not where.is_dir():
        raise DataError(f"{folder}: has no model yet. Give the command that started it once more; it resumes.")
    wrong = files.wrong_files(where)
    if wrong:
        raise DataError(f"{where / name}: missing, or not as the run wrote it. Remove the folder {folder} and run it again." for name in wrong)
    assembly, config = files.read_json(where / "model.json"), files.read_json(where / "config.json")
    weights = safetensors.torch.load_file(where / "weights.safetensors")
    tasks = {}
    for name, spec in assembly["tasks"].items():
        labels = LabelSpace(spec["labels"]["kind"], tuple(spec["labels"]["names"]), spec["labels"]["ordered"])
        model = assembled(config, spec["pooling"], spec["head"], labels.n_scores)
        model.branches[0].encoder.dtype = torch.bfloat16 if assembly["precision"] == "bf16" else torch.float32       # type: ignore[union-attr]
        own = {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}
        encoders.fill(model, own, where / "weights.safetensors")
        columns = Columns(**{**spec["columns"], "labels": tuple(spec["columns"]["labels"]), "notes": tuple(spec["columns"]["notes"])})
        tasks[name] = LoadedTask(name, labels, columns, spec["normalise"], tuple(spec["metrics"]), spec["max_length"], spec["truncation"], model.eval())
    return Model(folder, Tokeniser(where), tasks, assembly["seed"])


def assembled(config: Mapping[str, Any], pooling: Mapping[str, Any], head: Mapping[str, Any], n_scores: int) -> TaskModel:
    """A task's model whose weights are still to be filled in. config: the encoder's."""
    encoder = encoders.build(config)
    reduced = catalogue.build("pooling", pooling, encoder.shape)
    return TaskModel([Branch(encoder, reduced)], catalogue.build("heads", head, reduced.width, n_scores))


def columns_of(scores: np.ndarray, labels: LabelSpace) -> dict[str, Any]:
    """Scores as the columns of a table: `prediction`, then `p(NAME)` for each label; multi-label predictions are lists of names."""
    import pyarrow as pa

    said = [one.label for one in named_predictions(scores, labels)]
    if labels.kind == "regression":
        return {"prediction": pa.array(said, pa.float64())}
    chances = probabilities(scores, labels)
    kind = pa.list_(pa.string()) if labels.kind == "multilabel" else pa.string()
    return {"prediction": pa.array(said, kind)} | {f"p({name})": chances[:, column] for column, name in enumerate(labels.names)}


def with_columns(dataset: Dataset, columns: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of the input (in `dataset.extra`), then those of the predictions. Raises DataError where both have one of the same name."""
    twice = [name for name in columns if name in dataset.extra]
    if twice:
        named = f"column{'s' if len(twice) > 1 else ''} {', '.join(twice)}"
        raise DataError(f"{shown(dataset.path)}: has {named}, which --with-input would write a second time. Rename them, or leave --with-input out.")
    return {**dataset.extra, **columns}

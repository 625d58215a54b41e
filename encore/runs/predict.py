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
from encore.data.dataset import Dataset
from encore.data.inputs import read_labelled, read_unlabelled
from encore.data.table import display_path
from encore.data.tokenizer import TextTokenizer
from encore.encoder import load as encoders
from encore.errors import DataError, RecipeError, did_you_mean
from encore.evaluation.predictions import predictions, probabilities
from encore.model.assembly import TaskSpec, assemble
from encore.model.parameters import first_names
from encore.model.task_model import TaskModel
from encore.runs.explain import Explanation, explain
from encore.runs.folder import explain_no_run
from encore.training.scoring import score_together
from encore.training.streams import Rows, tokenize_set
from encore.types import LabelSpace, Note, Pairing, Spec

__all__ = [
    "LoadedTask",
    "Model",
    "Prediction",
    "assemble_model",
    "columns_of",
    "load",
    "named_predictions",
    "task_columns",
    "with_columns",
]


@dataclass(frozen=True)
class Prediction:
    """What the model says of one example. `label`: its name, a tuple of names for multi-label, the
    value for regression. `probabilities`: label name → probability; empty for regression.
    """

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
    pair: Mapping[str, Any]
    model: TaskModel

    @property
    def explainable(self) -> bool:
        """Whether its rows are what `encore.runs.explain` takes them for: each text, or both of a
        pair together, as the family reads them.
        """
        return self.columns.text_pair is None or (
            self.model.n_sides == 1 and self.pair.get("segments", "family") == "family"
        )

    @property
    def in_one_row(self) -> bool:
        """Whether each example is one row, read once: what a tokenizer of other libraries can
        make.
        """
        return self.columns.text_pair is None or (
            self.model.n_sides == 1 and self.pair.get("eval_order", "given") == "given"
        )

    @property
    def apart(self) -> bool:
        """Whether one encoder reads each of two texts by itself, so that a text has a vector
        whatever its partner.
        """
        pairing: type[Pairing] = catalogue.find("pairs", self.pair["name"])
        apart = pairing.n_sides > 1 and pairing.attend is None
        return len(self.model.branches) == 1 and apart

    @property
    def reading(self) -> str:
        """What two tasks have in common that read the same texts in the same way, in whatever order
        their pairs were met in training.
        """
        how = (
            None
            if self.columns.text_pair is None
            else sorted(
                (catalogue.specify("pairs", self.pair).to_json() | {"order": "given"}).items()
            )
        )
        return repr(
            (
                self.columns.text,
                self.columns.text_pair,
                self.normalise,
                self.max_length,
                self.truncation,
                how,
            )
        )


@dataclass(frozen=True)
class Model:
    """A run that is ready to predict. `folder`: where it came from."""

    folder: Path
    tokenizer: TextTokenizer
    tasks: Mapping[str, LoadedTask]
    seed: int

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

    def predict(
        self, texts: Sequence[str] | Sequence[tuple[str, str]], *, task: str | None = None
    ) -> list[Prediction]:
        """One prediction per text (or pair of texts), in their order. Raises DataError for what is
        not a text.
        """
        chosen = self.task(task)
        if len(texts) == 0:
            return []
        scores = self.scores(
            read_unlabelled(texts, chosen.columns, normalise=chosen.normalise), task=chosen.name
        )
        return named_predictions(scores, chosen.labels)

    def explain(
        self, texts: Sequence[str] | Sequence[tuple[str, str]], *, task: str | None = None
    ) -> list[Explanation]:
        """Where the model's pooling looked in each text (or pair of texts), word by word. Raises
        RecipeError where the pooling has no token weights, DataError for what is not a text.
        """
        chosen = self.task(task)
        return (
            list(
                self.explanations(
                    read_unlabelled(texts, chosen.columns, normalise=chosen.normalise),
                    task=chosen.name,
                )
            )
            if len(texts)
            else []
        )

    def explanations(self, dataset: Dataset, *, task: str | None = None) -> Iterator[Explanation]:
        """The same for rows that were read, one after the other."""
        chosen = self.task(task)
        if not chosen.explainable:
            raise RecipeError(
                f"task '{chosen.name}': its pairs are read in a way that --explain cannot "
                f"follow (pair: {chosen.pair['name']})."
            )
        return explain(
            chosen.model,
            self.tokenizer,
            dataset.texts,
            dataset.pairs,
            max_length=chosen.max_length,
            truncation=chosen.truncation,  # type: ignore[arg-type]
        )

    def scores(self, dataset: Dataset, *, task: str | None = None) -> np.ndarray:
        """(rows, n_scores) float32 raw scores, in the order of the rows."""
        chosen = self.task(task)
        return self.scores_of([chosen.name], dataset)[chosen.name]

    def scores_of(self, tasks: Sequence[str], dataset: Dataset) -> dict[str, np.ndarray]:
        """Task → (rows, n_scores) float32 raw scores. What the tasks share of their encoders is
        computed once for each text. Raises RecipeError where they do not read the same texts in the
        same way.
        """
        chosen = [self.task(name) for name in tasks]
        self.check_together(tasks)
        pairing, first = catalogue.build("pairs", chosen[0].pair), chosen[0]
        store = tokenize_set(
            dataset,
            self.tokenizer,
            first.pair,
            max_length=first.max_length,
            truncation=first.truncation,
        )
        targets, weights = np.zeros(len(dataset), np.int64), np.ones(len(dataset), np.float32)
        rows = Rows(
            store,
            targets,
            dataset.digest,
            dataset.rows,
            weights,
            pairing.n_sides,
            pairing.both_orders and dataset.pairs is not None,
        )
        return score_together(
            {one.name: one.model for one in chosen},
            rows,
            {one.name: one.labels.n_scores for one in chosen},
        )

    def chosen(self, names: str | None = None, *, alone: bool = False) -> list[LoadedTask]:
        """The tasks of `names`, commas between, or the only one. Raises RecipeError, also where
        they cannot be asked together, or not at all if `alone`.
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
        apart = [other.name for other in others if other.reading != first.reading]
        if apart:
            what = (
                f"{apart[0]} and {first.name} do not read the same columns in the same way "
                f"(length, pairs), so one file cannot serve both at once."
            )
            raise RecipeError(f"{self.folder}: {what} Ask for them one after the other.")

    def read(
        self,
        path: str | Path,
        *,
        task: str | None = None,
        with_labels: bool = False,
        keep: Sequence[str] = (),
        keep_all: bool = False,
        **reading: Any,
    ) -> Dataset:
        """A file read as this task's training file was. keep: further columns that `extra` is to
        hold, of labelled rows; keep_all: all of them, of unlabelled ones. reading: delimiter,
        encoding, on_bad_row.
        """
        chosen = self.task(task)
        if with_labels:
            return read_labelled(
                path, chosen.columns, normalise=chosen.normalise, keep=keep, **reading
            )
        return read_unlabelled(
            path, chosen.columns, normalise=chosen.normalise, keep_all=keep_all, **reading
        )


def named_predictions(scores: np.ndarray, labels: LabelSpace) -> list[Prediction]:
    """Scores (rows, n_scores) → predictions with the labels' own names."""
    predicted = predictions(scores, labels)
    if labels.kind == "regression":
        return [Prediction(float(value), {}) for value in predicted]
    chances = [
        dict(zip(labels.names, map(float, row), strict=True))
        for row in probabilities(scores, labels)
    ]
    if labels.kind == "multilabel":
        return [
            Prediction(tuple(name for name, on in zip(labels.names, row, strict=True) if on), found)
            for row, found in zip(predicted, chances, strict=True)
        ]
    return [
        Prediction(labels.names[number], found)
        for number, found in zip(predicted, chances, strict=True)
    ]


def load(run: str | Path) -> Model:
    """A run folder, complete or not, as long as it has a model. Raises DataError where it has none
    or where its files were changed.
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
            f"them, train it once more, to the same bits: {command}"
        )
    if not where.is_dir():
        raise DataError(
            f"{folder}: has no model yet. Give the command that started it once more; it resumes."
        )
    wrong = files.wrong_files(where)
    if wrong:
        raise DataError(
            f"{where / name}: missing, or not as the run wrote it. Remove the folder {folder} "
            f"and run it again."
            for name in wrong
        )
    try:
        return _built(folder, where)
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
    assembly, config = files.read_json(where / "model.json"), files.read_json(where / "config.json")
    parts, labels = {}, {}
    for name, spec in assembly["tasks"].items():
        labels[name] = LabelSpace(
            spec["labels"]["kind"], tuple(spec["labels"]["names"]), spec["labels"]["ordered"]
        )
        parts[name] = TaskSpec(
            labels[name],
            spec["pooling"],
            spec["head"],
            spec.get("pair", {"name": "cross"}),
            spec.get("same_as"),
        )
    models: dict[str, TaskModel] = {}
    # Where each task was kept at its own epoch, each has its own weights, also of what was shared
    # while it was trained.
    apart = not (where / "weights.safetensors").exists()
    for names in [[name] for name in parts] if apart else [list(parts)]:
        encoder = encoders.build_encoder(config)
        encoder.dtype = torch.bfloat16 if assembly["precision"] == "bf16" else torch.float32
        built = assemble(
            parts, assembly.get("sharing", "one"), encoder, encoder.shape, seed=assembly["seed"]
        )
        chosen = {name: built[name] for name in names}
        _fill(
            chosen, where / (f"weights-{names[0]}.safetensors" if apart else "weights.safetensors")
        )
        models |= chosen
    tasks = {}
    for name, spec in assembly["tasks"].items():
        if labels[name].kind == "unlabelled":  # it trained along, and there is nothing to ask it
            continue
        columns = Columns(
            **{
                **spec["columns"],
                "labels": tuple(spec["columns"]["labels"]),
                "notes": tuple(map(Note, spec["columns"]["notes"])),
            }
        )
        how = (
            columns,
            spec["normalise"],
            tuple(spec["metrics"]),
            spec["max_length"],
            spec["truncation"],
            parts[name].pair,
        )
        tasks[name] = LoadedTask(name, labels[name], *how, models[name].eval())
    return Model(folder, TextTokenizer(where), tasks, assembly["seed"])


def assemble_model(config: Mapping[str, Any], part: TaskSpec, sharing: Spec = "one") -> TaskModel:
    """The model of one task by itself, with weights still to be filled in. config: the encoder's;
    sharing: that of its run, where this has put several encoders side by side.
    """
    encoder = encoders.build_encoder(config)
    return assemble({"": part}, sharing, encoder, encoder.shape, seed=0)[""]


def _fill(models: Mapping[str, TaskModel], file: Path) -> None:
    """Copy weights in; those of a shared part stand in the file once. Raises DataError where
    anything is missing or left over.
    """
    weights, names = safetensors.torch.load_file(file), first_names(models)
    left = sorted(set(weights) - set(names.values()))
    if left:
        raise DataError(
            f"{display_path(file)}: tensor '{name}' has no place in this model." for name in left
        )
    for task, model in models.items():
        mine = {
            name.removeprefix(f"{task}."): first
            for name, first in names.items()
            if name.startswith(f"{task}.")
        }
        encoders.fill(
            model, {name: weights[first] for name, first in mine.items() if first in weights}, file
        )


def columns_of(scores: np.ndarray, labels: LabelSpace) -> dict[str, Any]:
    """Scores as the columns of a table: `prediction`, then `p(NAME)` for each label; multi-label
    predictions are lists of names.
    """
    import pyarrow as pa

    said = [one.label for one in named_predictions(scores, labels)]
    if labels.kind == "regression":
        return {"prediction": pa.array(said, pa.float64())}
    chances = probabilities(scores, labels)
    kind = pa.list_(pa.string()) if labels.kind == "multilabel" else pa.string()
    return {"prediction": pa.array(said, kind)} | {
        f"p({name})": chances[:, column] for column, name in enumerate(labels.names)
    }


def task_columns(scores: Mapping[str, np.ndarray], tasks: Sequence[LoadedTask]) -> dict[str, Any]:
    """The columns of one task, or of several with each one's name in front: `sts.prediction`."""
    if len(tasks) == 1:
        return columns_of(scores[tasks[0].name], tasks[0].labels)
    return {
        f"{task.name}.{name}": column
        for task in tasks
        for name, column in columns_of(scores[task.name], task.labels).items()
    }


def with_columns(dataset: Dataset, columns: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of the input (in `dataset.extra`), then those of the predictions. Raises
    DataError where both have one of the same name.
    """
    twice = [name for name in columns if name in dataset.extra]
    if twice:
        named = f"column{'s' if len(twice) > 1 else ''} {', '.join(twice)}"
        raise DataError(
            f"{display_path(dataset.path)}: has {named}, which --with-input would write a second "
            f"time. Rename them, or leave --with-input out."
        )
    return {**dataset.extra, **columns}

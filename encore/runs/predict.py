"""Loads a trained run and predicts: texts in, labels and probabilities out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from encore import files
from encore.data.columns import Columns
from encore.data.dataset import Dataset
from encore.data.tokenizer import TextTokenizer
from encore.encoder import load as encoders
from encore.errors import DataError, RecipeError
from encore.evaluation.decision import PLAIN
from encore.evaluation.predictions import check_scores
from encore.model.assembly import TaskSpec, assemble
from encore.model.task_model import TaskModel
from encore.runs.adapter_shares import with_adapter_shares
from encore.runs.contents import damaged_files
from encore.runs.decide import read_decisions
from encore.runs.explain import Explanation, explain
from encore.runs.explanation_output import method_note
from encore.runs.folder import explain_no_run
from encore.runs.gradients import explain_by_gradients
from encore.runs.loaded_task import LoadedTask
from encore.runs.model_folder import read_models, read_parts
from encore.runs.output import columns_of
from encore.runs.places import without_weights
from encore.runs.predictor import Predictor, ServedTask
from encore.runs.scoring_memory import require_memory_for_rows
from encore.training.scoring import score_together
from encore.training.streams import rows_to_score
from encore.types import Note, Spec

__all__ = ["Model", "assemble_model", "built_model", "load", "task_columns"]


@dataclass(frozen=True)
class Model(Predictor[LoadedTask]):
    """A run that is ready to predict. folder: the folder of the run. force: predict rows also where
    their attention takes more memory than is free.
    """

    folder: Path
    tokenizer: TextTokenizer
    tasks: Mapping[str, LoadedTask]
    seed: int
    force: bool = False

    @property
    def digest(self) -> str:
        return files.sha256(self.folder / "model" / files.MANIFEST)

    def origins(self, task: str) -> tuple[Path, ...]:
        return (self.folder,)

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

    def explanation_note(self, task: str) -> Note:
        return method_note(self.task(task), self.tokenizer)

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


def load(run: str | Path, *, force: bool = False) -> Model:
    """Load the model of a run folder, complete or not. force: predict rows also where memory may
    not suffice. Raises DataError where the folder has no model or where its files were changed.
    """
    folder = Path(run)
    where = folder / "model"
    if not where.is_dir() and not (folder / "resolved.json").is_file():
        raise DataError(explain_no_run(folder))
    if not where.is_dir() and (folder / files.MANIFEST).exists():
        raise without_weights(folder, "a comparison or a search keeps figures only")
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
        return replace(built_model(folder, where), force=force)
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


def built_model(
    folder: Path,
    where: Path,
    tokenizer: TextTokenizer | None = None,
    whole: Mapping[str, Callable[[], dict[str, Tensor]]] | None = None,
) -> Model:
    """The model of a run whose files are as they were written. tokenizer, whole: those of the run,
    if they are not in `where`; see `read_models`.
    """
    assembly, parts = read_parts(where)
    models = read_models(where, assembly, parts, whole)
    tasks, decisions = {}, read_decisions(folder)
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
            decision=decisions[name].decision if name in decisions else PLAIN,
        )
    own = TextTokenizer(where, vouched=True) if tokenizer is None else tokenizer
    return Model(folder, own, tasks, assembly["seed"])


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


def task_columns(scores: Mapping[str, np.ndarray], tasks: Sequence[ServedTask]) -> dict[str, Any]:
    """The columns of one task, or of several with each one's name in front: `sts.prediction`."""
    found = {
        task.name: columns_of(
            scores[task.name],
            task.labels,
            gives_probabilities=task.gives_probabilities,
            decision=task.decision,
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

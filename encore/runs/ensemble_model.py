"""An ensemble that is ready to predict: its members on texts that are read and tokenized once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from encore import catalogue, files
from encore.data.dataset import Dataset
from encore.data.tokenizer import TextTokenizer
from encore.errors import DataError, Problem, RecipeError
from encore.evaluation.decision import PLAIN
from encore.evaluation.ensembles import Mixture
from encore.evaluation.predictions import check_scores
from encore.model.task_model import TaskModel
from encore.recipe.load import load_recipe
from encore.runs.contents import ENSEMBLE, damaged_files, prediction_file
from encore.runs.decide import TaskScores, read_decisions
from encore.runs.ensemble_store import StoredWeights, member_folder
from encore.runs.explain import Explanation
from encore.runs.folder import read_prediction_file
from encore.runs.loaded_task import LoadedTask
from encore.runs.model_folder import read_parts
from encore.runs.predict import Model, built_model
from encore.runs.predictor import Predictor, ServedTask, chosen_task
from encore.runs.scoring_memory import require_memory_for_rows
from encore.training.scoring import score_members
from encore.training.streams import rows_to_score
from encore.types import Note

__all__ = ["Ensemble", "EnsembleTask", "ensemble_scores", "load_ensemble", "read_ensemble"]


@dataclass(frozen=True)
class EnsembleTask(ServedTask):
    """A task of an ensemble. mixture: its members, by their numbers from 0. served: the task as
    each of them reads it.
    """

    mixture: Mixture
    served: tuple[LoadedTask, ...]

    @property
    def gives_probabilities(self) -> bool:
        """True where softmax or sigmoid makes the ensemble's probabilities of its scores."""
        return self.mixture.how != "vote" and all(one.gives_probabilities for one in self.served)

    @property
    def models(self) -> tuple[TaskModel, ...]:
        """The models of its members."""
        return tuple(one.model for one in self.served)

    @property
    def input_key(self) -> str:
        """The columns that texts are read from. Members may cut and pair them each in its way."""
        return repr((self.columns.text, self.columns.text_pair, self.normalise))


@dataclass(frozen=True)
class Ensemble(Predictor[EnsembleTask]):
    """The members of an ensemble and what each task makes of them."""

    folder: Path
    members: tuple[Model, ...]
    tasks: Mapping[str, EnsembleTask]
    seed: int
    force: bool = False

    WHAT = "ensemble"

    @property
    def digest(self) -> str:
        return files.sha256(self.folder / files.MANIFEST)

    def origins(self, task: str) -> tuple[Path, ...]:
        return tuple(self.members[number].folder for number in self.tasks[task].mixture.members)

    def scores_of(self, tasks: Sequence[str], dataset: Dataset) -> dict[str, np.ndarray]:
        """As of `Predictor`. Members that tokenize alike read the texts once, batch by batch."""
        self.check_together(tasks)
        chosen = [self.task(name) for name in tasks]
        found: dict[tuple[int, str], np.ndarray] = {}
        for group in self._reading_alike(chosen):
            found |= self._scored(group, dataset)
        scores = {
            task.name: task.mixture.of(
                [found.get((number, task.name), _NOTHING) for number in range(len(self.members))],
                task.labels,
            )
            for task in chosen
        }
        check_scores(scores, dataset)
        return scores

    def _reading_alike(
        self, tasks: Sequence[EnsembleTask]
    ) -> list[dict[int, dict[str, LoadedTask]]]:
        """Member → task → the task as it reads it; a dict for those with one tokenizer, length and
        kind of pair.
        """
        groups: dict[Any, dict[int, dict[str, LoadedTask]]] = {}
        for task in tasks:
            for number, served in zip(task.mixture.members, task.served, strict=True):
                key = (id(self.members[number].tokenizer), served.input_key)
                groups.setdefault(key, {}).setdefault(number, {})[task.name] = served
        return list(groups.values())

    def _scored(
        self, group: Mapping[int, Mapping[str, LoadedTask]], dataset: Dataset
    ) -> dict[tuple[int, str], np.ndarray]:
        number, served = next(iter(group.items()))
        first = next(iter(served.values()))
        rows = rows_to_score(
            dataset,
            self.members[number].tokenizer,
            first.pair,
            max_length=first.max_length,
            truncation=first.truncation,
        )
        models = [{name: one.model for name, one in each.items()} for each in group.values()]
        if not self.force:
            every = (model for each in models for model in each.values())
            require_memory_for_rows(every, rows.store, dataset)
        n_scores = {
            name: one.labels.n_scores for each in group.values() for name, one in each.items()
        }
        scored = score_members(models, rows, n_scores)
        return {
            (number, name): scores
            for number, each in zip(group, scored, strict=True)
            for name, scores in each.items()
        }

    def explanations(self, dataset: Dataset, *, task: str | None = None) -> Iterator[Explanation]:
        self._refuse_explanations(self.task(task).name)

    def explanation_note(self, task: str) -> Note:
        self._refuse_explanations(task)

    def _refuse_explanations(self, task: str) -> NoReturn:
        raise RecipeError(
            f"{self.folder}: an ensemble, whose members weigh the words each in its own way. "
            f"Explain the run of one of them (`encore report {self.folder}` lists them)."
        )


_NOTHING = np.zeros((0, 0), np.float32)


def read_ensemble(folder: Path) -> dict[str, Any]:
    """The contents of ensemble.json. Raises DataError where files of the folder were changed."""
    wrong = damaged_files(folder, "ensemble")
    if wrong:
        raise DataError(
            f"{folder / name}: missing, or not as `encore ensemble` wrote it. Remove the folder "
            f"{folder}, and make the ensemble again of its runs."
            for name in wrong
        )
    found = files.read_json(folder / ENSEMBLE)
    assert isinstance(found, dict)
    return found


def load_ensemble(folder: Path, *, force: bool = False) -> Ensemble:
    """Load an ensemble. Raises DataError where its files were changed, or where this version of
    Encore cannot build a member.
    """
    about = read_ensemble(folder)
    tokenizers: dict[int, TextTokenizer] = {}
    members = []
    try:
        for number, one in enumerate(about.get("members", ()), 1):
            own = int(one.get("tokenizer"))
            if own not in tokenizers:
                place = folder / "tokenizers" / str(own)
                tokenizers[own] = TextTokenizer(place, vouched=True)
            place, stored = member_folder(folder, number), StoredWeights(folder, number)
            whole = {name: partial(stored.read, name) for name in stored.files()}
            members.append(built_model(place, place, tokenizers[own], whole))
        tasks = {
            name: _task(name, one, members) for name, one in dict(about.get("tasks", {})).items()
        }
    except (KeyError, TypeError, RecipeError) as error:
        why = (
            error.lines[0] if isinstance(error, RecipeError) else f"{type(error).__name__}: {error}"
        )
        raise DataError(
            f"{folder}: another version of Encore wrote this ensemble, which this one cannot build "
            f"({why.rstrip('.')}). Make it again of its runs."
        ) from error
    decisions = {name: one.decision for name, one in read_decisions(folder).items()}
    tasks = {
        name: replace(task, decision=decisions.get(name, PLAIN)) for name, task in tasks.items()
    }
    return Ensemble(folder, tuple(members), tasks, members[0].seed, force)


def _task(name: str, stored: Mapping[str, Any], members: Sequence[Model]) -> EnsembleTask:
    listed = {key: tuple(stored.get(key, ())) for key in ("members", "weights", "metrics")}
    metrics = listed.pop("metrics")
    rest = {key: stored.get(key) for key in ("how", "of_probabilities")}
    mixture = Mixture(**listed, **rest)  # type: ignore[arg-type]
    served = tuple(members[number].task(name) for number in mixture.members)
    first = served[0]
    return EnsembleTask(
        name, first.labels, first.columns, first.normalise, metrics, mixture, served
    )


def ensemble_scores(folder: Path, name: str | None = None) -> TaskScores:
    """The dev scores of a task of an ensemble, or of the only one, that a decision is fitted on:
    the cross-fitted ones, in which the half of the rows that chose the members does not score
    itself. Of the rows that it was chosen on an ensemble is too sure, and so would be a decision
    that is fitted there; the two ensembles of the halves are as sure of new rows as this one.
    Raises RecipeError where nothing can be fitted, DataError where there are no such scores.
    """
    about = read_ensemble(folder)
    tasks = dict(about.get("tasks", {}))
    task = chosen_task(folder, list(tasks), name, what="ensemble")
    stored = dict(tasks.get(task, {}))
    if stored.get("how") == "vote":
        message = f"{folder} counts votes, so there are no probabilities to calibrate."
        remedy = "Make an ensemble that averages them (--method simple)."
        raise RecipeError(Problem(setting="decision", message=message, remedy=remedy))
    places = [member_folder(folder, number + 1) for number in stored.get("members", ())]
    parts = [read_parts(place) for place in places]
    heads = (catalogue.find("heads", dict(of[task].head).get("name", "")) for _, of in parts)
    results = files.read_json(folder / "results.json")
    [split] = [one.get("dev_set") for one in results if one.get("task") == task]
    dev = folder / prediction_file(task, split, 0)
    if not dev.is_file():
        raise DataError(
            f"{folder}: an earlier Encore made this ensemble, and kept no dev scores that a "
            f"decision could be fitted on. Remove the folder, and make it again of its runs."
        )
    keeps = [load_recipe(place / "recipe.yaml").plan.keep for place in places]
    return TaskScores(
        task,
        parts[0][1][task].labels,
        tuple(stored.get("metrics", ())),
        all(head.gives_probabilities for head in heads),
        split,
        0,
        read_parts(member_folder(folder, 1))[0].get("seed", 0),
        read_prediction_file(dev),
        len(tasks) == 1,
        any(keep != "last" and not isinstance(keep, int) for keep in keeps),
    )

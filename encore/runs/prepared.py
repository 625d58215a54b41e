"""A prepared run: rows, tokens, settings and the name of the run; and the run that it starts
from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from encore import catalogue
from encore.data.dataset import TaskData
from encore.data.tokenizer import TextTokenizer
from encore.encoder import load
from encore.errors import DataError, Problem, RecipeError
from encore.model.assembly import TaskSpec
from encore.model.task_model import Branch
from encore.recipe.fields import KeptEpoch
from encore.recipe.references import Place
from encore.recipe.run_spec import RunSpec
from encore.recipe.schema import Recipe, TaskRecipe
from encore.recipe.technique import Technique
from encore.runs.adapter_folder import AdapterFolder
from encore.runs.compatibility import head_of, parts_of
from encore.runs.contents import damaged_files
from encore.runs.places import run_folder, without_weights
from encore.techniques.losses._default import LOSS_OF_KIND
from encore.training.loop import TrainSettings, steps_in
from encore.training.streams import Stream
from encore.types import Mixing, Note, Sharing

if TYPE_CHECKING:
    from encore.types import Phase

__all__ = ["Prepared", "Start"]


@dataclass(frozen=True)
class Prepared:
    """A run that can start. cut: task → split → (rows cut, rows) by the maximum length. untrained:
    tasks without a weight to train. without_dropout: task → losses that need some.
    """

    recipe: Recipe
    data: Mapping[str, TaskData]
    streams: Mapping[str, Stream]
    source: load.Source
    tokenizer: TextTokenizer
    precision: str
    threads: int  # of a process
    shares: int  # processes
    device: str
    plan: list[Phase]
    poolings: Mapping[str, Mapping[str, Any]]
    pairs: Mapping[str, Mapping[str, Any]]
    cut: Mapping[str, Mapping[str, tuple[int, int]]]
    spec: RunSpec
    starts: tuple[Start, ...] = ()  # parts that other runs made
    decided: tuple[str, ...] = ()  # settings chosen for these rows, to be shown to the user
    untrained: tuple[str, ...] = ()
    without_dropout: Mapping[str, Sequence[str]] = field(default_factory=dict)
    taught: tuple[Note, ...] = ()  # on what its teachers were trained

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return self.spec.name

    @property
    def n_cores(self) -> int:
        """The cores that it keeps busy."""
        return self.threads * self.shares

    @property
    def firsts(self) -> tuple[Prepared, ...]:
        """The runs that are to be complete before this one, in their order."""
        runs = [one.run for one in self.starts if one.run is not None]
        found = {one.name: one for run in runs for one in (*run.firsts, run)}
        return tuple(found.values())

    @property
    def fused(self) -> tuple[str, ...]:
        """The names of the adapters that it fuses: their tasks, with a number where one comes
        twice.
        """
        found = [one for one in self.starts if one.place.part == "adapter"]
        names = [one.task or one.name for one in found]
        return tuple(
            f"{name} {number}" if names.count(name) > 1 else name
            for number, name in enumerate(names, start=1)
        )

    @property
    def start(self) -> Start | None:
        """The run that trained its encoder."""
        return next((one for one in self.starts if one.place.part == "encoder"), None)

    @property
    def identity(self) -> Mapping[str, Any]:
        """The settings and digests that the run's name is the hash of."""
        return self.spec.identity

    @property
    def notes(self) -> tuple[Note, ...]:
        """The notes that qualify the run's figures; every table repeats those of its task."""
        caveats = (note for data in self.data.values() for note in data.caveats)
        untrained = (
            Note(
                "nothing of it is trained: its encoder is frozen, and its pooling and head have "
                "no weights",
                task=task,
            )
            for task in self.untrained
        )
        found = (*caveats, *self._cut_rows(), *untrained, *self._undropped())
        return (*found, *self._trained_on_elsewhere(), *self._averaged(), *self.taught)

    def _averaged(self) -> Iterator[Note]:
        """A note that the figures are those of averaged weights."""
        kept = {phase.average.every for phase in self.plan if phase.average is not None}
        if kept:
            when = " and ".join(f"after each {every}" for every in sorted(kept))
            yield Note(f"the weights that are evaluated and kept are an average, taken {when}")

    def _undropped(self) -> Iterator[Note]:
        for task, names in self.without_dropout.items():
            yield Note(
                f"{', '.join(names)}: both readings of a text are the same, since no dropout lies "
                "before what is compared; set hidden_dropout, or the head's dropout",
                task=task,
            )

    def _cut_rows(self) -> Iterator[Note]:
        for task, splits in self.cut.items():
            settings = self.recipe.tasks[task]
            for split, (n_cut, n_rows) in splits.items():
                if n_cut:
                    yield Note(
                        f"{n_cut:,} of {n_rows:,} rows cut to {settings.max_length} tokens "
                        f"({settings.truncation})",
                        task=task,
                        about=split,
                    )

    def _trained_on_elsewhere(self) -> Iterator[Note]:
        """Notes on dev rows that another task trains on. Where weights are shared, the model has
        seen their texts.
        """
        sharing: Sharing[Branch] = catalogue.build("sharing", self.recipe.sharing)
        if not sharing.shares_weights:
            return
        for task, stream in self.streams.items():
            for split, rows in stream.dev.items():
                for other, theirs in self.data.items():
                    n_seen = sum(
                        int(np.isin(rows.numbers, numbers).sum())
                        for _, digest, numbers in theirs.train.sources
                        if other != task and digest == rows.digest
                    )
                    if n_seen:
                        yield Note(
                            f"{n_seen:,} of {len(rows):,} rows are training rows of task "
                            f"'{other}'; name a dev file (data.dev)",
                            task=task,
                            about=split,
                        )

    def note_line(self, note: Note) -> str:
        """The note as it is printed, with its task where there are several."""
        return note.line(several_tasks=len(self.data) > 1)

    def notes_of(self, task: str) -> list[Note]:
        """The notes on this task and on the whole run."""
        return [note for note in self.notes if note.task in ("", task)]

    @property
    def parts(self) -> dict[str, TaskSpec]:
        """Task → the parts of its model."""
        return parts_of(
            self.recipe, {name: data.labels for name, data in self.data.items()}, self.poolings
        )

    @property
    def settings(self) -> TrainSettings:
        """The settings of training, for `train_loop`."""
        plan = self.recipe.plan
        return TrainSettings(
            seed=self.recipe.seed,
            mixing=self.mixing,
            micro_batch=plan.micro_batch,
            patience=plan.early_stopping,
            score_train=plan.score_train,
            shares=self.shares,
            combine=None if plan.combine is None else catalogue.build("combine", plan.combine),
        )

    @property
    def mixing(self) -> Mixing:
        """The order of the tasks' batches in an epoch."""
        return catalogue.build("mixing", self.recipe.plan.mixing)

    @property
    def steps(self) -> tuple[int, ...]:
        """Optimiser steps of one epoch of each phase."""
        return tuple(
            steps_in(phase, self.streams, self.mixing, self.recipe.seed) for phase in self.plan
        )

    def task_loss(self, task: str) -> str:
        """The loss of a term that names none: the default of the task's kind."""
        return LOSS_OF_KIND[self.data[task].labels.kind]


@dataclass(frozen=True)
class Start:
    """A part that another run made. Its identity is that of the run, and no digest of a file: so a
    run can be prepared and named before those that it starts from were trained. An adapter may also
    come from a folder of its own, whose digest is its identity.

    place: the part, and where it goes. name, task, at: the run, the task in it, the epoch. encoder:
    the digest of the run's. run: prepared, to be trained where it is not complete; None for a
    folder. folder: of a run that is there; None for one that lies, or will lie, beside the run that
    starts from it. forgetting: its task is measured again with the encoder as it becomes. adapter:
    that of a folder of its own, in place of a run; `recipe` is then the one that names it. models:
    the digest of a folder made of several runs: a teacher such as an ensemble, whose `recipe` is
    likewise, or a soup.
    """

    place: Place
    name: str
    task: str
    at: KeptEpoch
    encoder: str
    recipe: Recipe
    run: Prepared | None = None
    folder: Path | None = None
    forgetting: bool = False
    adapter: AdapterFolder | None = None
    models: str | None = None

    @property
    def identity(self) -> str:
        """The part in the specification of a run that starts from it."""
        if self.adapter is not None:
            return f"adapter {self.adapter.digest}"
        if self.models is not None:
            return f"models {self.models}, task {self.task}"
        measured = ", forgetting" if self.forgetting else ""
        return f"run {self.name}, task {self.task}, epoch {self.at}{measured}"

    def head(self, recipe: Recipe, task: str) -> Technique:
        """The head of the task that is meant. Raises RecipeError where `recipe` names another."""
        own, theirs = recipe.tasks[task].head, head_of(self.recipe, self.task)
        usual = TaskRecipe.model_fields["head"].default
        if own != usual and catalogue.specify("heads", own) != catalogue.specify("heads", theirs):
            message = f"the head of '{self.task}' in that run is '{theirs.name}'. Remove head."
            raise RecipeError(recipe.problem(("tasks", task, "head"), message))
        return theirs

    def trained_adapter(self, recipe: Recipe) -> Technique:
        """The adapter that is meant. Raises RecipeError where `recipe` names another."""
        theirs = self.recipe.adapter if self.adapter is None else self.adapter.spec
        assert theirs is not None
        found, own = catalogue.specify("adapters", theirs), recipe.adapter
        if own is not None and catalogue.specify("adapters", own) != found:
            message = f"the adapter to begin with is {found.changed}. Remove adapter."
            raise RecipeError(recipe.problem(("adapter",), message))
        settings = {key: each for key, each in found.changed.items() if key != "name"}
        return Technique(found.name, settings)

    def model_folder(self, runs: Path) -> Path:
        """The folder of its weights. Raises DataError where they are missing or damaged."""
        run = self.folder or run_folder(runs, self.name)
        folder = run / "model"
        wrong = (
            [folder / name for name in damaged_files(folder, "model")] if folder.exists() else []
        )
        if wrong:
            message = f"{wrong[0]}: missing, or not as the run wrote it."
            remedy = f"Train it again: encore train {run / 'recipe.yaml'} --runs {run.parent}"
            raise DataError(Problem(message=message, remedy=remedy))
        if not folder.is_dir():
            raise without_weights(run, "a comparison or a search keeps figures only")
        return folder

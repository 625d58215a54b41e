"""From a recipe to everything that `fit` needs: rows, tokens, models, and the name of the run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch
from torch import nn

from encore import catalogue
from encore.data.dataset import Dataset, TaskData
from encore.data.load import load_task
from encore.data.settings import DataSettings
from encore.data.tokenizer import TextTokenizer
from encore.encoder import load
from encore.errors import Complaints, DataError, EncoreError, Problem, RecipeError
from encore.evaluation.estimates import metrics_named
from encore.files import canonical
from encore.model.assembly import TaskSpec, assemble, with_location
from encore.model.feature_cache import cache_bytes, check_memory
from encore.model.task_model import Branch, TaskModel
from encore.recipe.run_spec import RunSpec
from encore.recipe.schema import Recipe, data_settings
from encore.techniques.losses._default import LOSS_OF_KIND
from encore.training.loop import TrainSettings, steps_in
from encore.training.state import freeze
from encore.training.streams import Rows, Stream
from encore.types import Mixing, Note, Pairing, Sharing

if TYPE_CHECKING:
    from encore.types import Phase

from encore.runs.compatibility import (
    NotApplicable,
    build_skeletons,
    check_losses,
    check_pair,
    check_shapes,
    check_unlabelled,
    losses_of,
    pair_of,
    parts_of,
    pooling_of,
    shape_of,
)
from encore.runs.hardware import cores, precision_of
from encore.runs.identity import run_spec
from encore.training.streams import class_weights, sampling_weights, tokenize_set

__all__ = ["Cache", "Prepared", "build_models", "find_conflicts", "prepare"]

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Prepared:
    """A run that could start now. `cut`: task → split → (rows cut, rows) by the maximum length.
    `untrained`: tasks without anything to train.
    """

    recipe: Recipe
    data: Mapping[str, TaskData]
    streams: Mapping[str, Stream]
    source: load.Source
    tokenizer: TextTokenizer
    precision: str
    threads: int
    device: str
    plan: list[Phase]
    poolings: Mapping[str, Mapping[str, Any]]
    pairs: Mapping[str, Mapping[str, Any]]
    cut: Mapping[str, Mapping[str, tuple[int, int]]]
    spec: RunSpec
    decided: tuple[str, ...] = ()  # settings that were chosen for these rows, to be announced
    untrained: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return self.spec.name

    @property
    def identity(self) -> Mapping[str, Any]:
        """What the run's name is a hash of."""
        return self.spec.identity

    @property
    def notes(self) -> tuple[Note, ...]:
        """All notes that qualify the run's figures; every table repeats its task's."""
        caveats = (note for data in self.data.values() for note in data.caveats)
        untrained = (
            Note(
                "nothing of it is trained: its encoder is frozen, and its pooling and head have "
                "no weights",
                task=task,
            )
            for task in self.untrained
        )
        return (*caveats, *self._cut_rows(), *untrained, *self._trained_on_elsewhere())

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
        """Notes on dev rows that another task trains on: where weights are shared, the model has
        seen their texts.
        """
        sharing: Sharing[Branch] = catalogue.build("sharing", self.recipe.sharing)
        if not sharing.shares_weights:
            return
        for task, stream in self.streams.items():
            for split, rows in stream.dev.items():
                for other, theirs in self.streams.items():
                    if other == task or rows.digest != theirs.train.digest:
                        continue
                    n_seen = int(np.isin(rows.numbers, theirs.train.numbers).sum())
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
        """What each task's model is made of."""
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
            combine=None if plan.combine is None else catalogue.build("combine", plan.combine),
        )

    @property
    def mixing(self) -> Mixing:
        return catalogue.build("mixing", self.recipe.plan.mixing)

    @property
    def steps(self) -> tuple[int, ...]:
        """Optimiser steps of one epoch of each phase."""
        return tuple(
            steps_in(phase, self.streams, self.mixing, self.recipe.seed) for phase in self.plan
        )

    def task_loss(self, task: str) -> str:
        """The loss of a term that names none: the kind of the task decides."""
        return LOSS_OF_KIND[self.data[task].labels.kind]


@dataclass
class Cache:
    """What several runs have in common, read once: encoders, rows and tokens by what determines
    them. A comparison hands one to every `prepare`.
    """

    found: dict[Any, Any] = field(default_factory=dict)

    def get_or_make(self, key: tuple[Any, ...], make: Callable[[], _Found]) -> _Found:
        """What lies under the key, made if there is nothing. What `make` raises is raised each
        time.
        """
        if key not in self.found:
            self.found[key] = make()
        return self.found[key]


def prepare(recipe: Recipe, cache: Cache | None = None) -> Prepared:
    """Read, check and tokenize; no weights are loaded. Raises RecipeError or DataError with all
    problems that were found; NotApplicable where all of them are that its parts do not go together.
    """
    cache = cache or Cache()
    complaints, unfit = Complaints(), Complaints()
    data, source = _found(recipe, cache, complaints, unfit)
    if (
        recipe.plan.keep != "last"
        and len(data) == len(recipe.tasks)
        and not any(each.metrics for each in data.values())
    ):
        said = (
            f"'{recipe.plan.keep}' chooses an epoch by a metric, and no task has one. Write "
            f"keep: last, or name metrics."
        )
        complaints.errors.append(RecipeError(recipe.problem(("plan", "keep"), said)))
    if (
        not complaints.errors
        and unfit.errors
        and all(isinstance(error, RecipeError) for error in unfit.errors)
    ):
        raise NotApplicable(unfit.problems)
    complaints.errors += unfit.errors
    complaints.raise_any()
    assert source is not None

    tokenizer = cache.get_or_make(
        ("tokenizer", source.folder), lambda: TextTokenizer(source.folder)
    )
    pairs = {name: pair_of(recipe, name) for name in recipe.tasks}
    shape = cache.get_or_make(("shape", source.folder), lambda: shape_of(recipe, source))
    given = (tokenizer, source, shape.n_words, cache)
    streams = {
        name: stream
        for name in recipe.tasks
        if (stream := complaints.of(_stream, recipe, data[name], pairs[name], *given))
    }
    complaints.raise_any()
    cut = {
        name: {
            split: (rows.n_cut, len(rows))
            for split, rows in {"train": each.train, **each.dev}.items()
        }
        for name, each in streams.items()
    }
    poolings = {name: pooling_of(task, source) for name, task in recipe.tasks.items()}
    precision, threads, device = (
        precision_of(recipe.precision),
        recipe.threads or cores(),
        "cuda" if torch.cuda.is_available() else "cpu",
    )
    plan = catalogue.build("plans", recipe.plan.spec)(tuple(recipe.tasks))
    untrained: tuple[str, ...] = ()
    if any(phase.trainable == "heads" for phase in plan):
        stores = {
            name: [rows.store for rows in (each.train, *each.dev.values())]
            for name, each in streams.items()
        }
        models = build_skeletons(
            parts_of(recipe, {name: each.labels for name, each in data.items()}, poolings),
            recipe,
            source,
        )
        check_memory(
            {
                name: cache_bytes(
                    [branch.pooling for branch in models[name].branches], stores[name]
                )
                for name in streams
            }
        )
        if all(phase.trainable == "heads" for phase in plan):
            freeze(models, plan[0])
            untrained = tuple(name for name in streams if not _learns(models[name]))
    spec = run_spec(
        recipe.model_copy(update={"precision": precision, "threads": threads}),
        data,
        poolings,
        encoder=source.digest,
        tokenizer=tokenizer.digest,
        device=device,
    )
    return Prepared(
        recipe,
        data,
        streams,
        source,
        tokenizer,
        precision,
        threads,
        device,
        plan,
        poolings,
        pairs,
        cut,
        spec,
        untrained=untrained,
    )


def _learns(model: TaskModel) -> bool:
    """Whether anything behind its encoders has weights to train."""
    for part in (model.head, *(branch.pooling for branch in model.branches)):
        if any(parameter.requires_grad for parameter in cast(nn.Module, part).parameters()):
            return True
    return False


def find_conflicts(recipe: Recipe, cache: Cache | None = None) -> tuple[Problem, ...]:
    """The conflicts of a recipe, or of what is left of one with mistakes, with its files and its
    encoder. Nothing is tokenized.
    """
    complaints = Complaints()
    _found(recipe, cache or Cache(), complaints, complaints)
    return complaints.problems


def _found(
    recipe: Recipe, cache: Cache, complaints: Complaints, unfit: Complaints
) -> tuple[dict[str, TaskData], load.Source | None]:
    """The rows and the encoder that a recipe names, with everything checked that needs no tokens.
    `unfit` takes what does not go together.
    """
    source = complaints.of(
        cache.get_or_make,
        ("encoder", recipe.base, recipe.encoder),
        lambda: load.locate(recipe.encoder, base=recipe.base),
    )
    shape = None
    if source is not None:
        shape = complaints.of(
            cache.get_or_make, ("shape", source.folder), lambda: shape_of(recipe, source)
        )
        if shape is not None:
            unfit.of(check_shapes, recipe, source, shape)
    complaints.of(
        with_location,
        recipe.problem,
        ("plan", "mixing"),
        catalogue.build,
        "mixing",
        recipe.plan.mixing,
    )
    data = {}
    for name, task in recipe.tasks.items():
        settings = data_settings(recipe, name)
        read = partial(_read, name, settings, several=len(recipe.tasks) > 1)
        found = complaints.of(cache.get_or_make, ("rows", name, repr(settings)), read)
        if found is not None and found.labels.kind == "unlabelled":
            complaints.of(check_unlabelled, recipe, name)
        elif found is not None:
            unfit.of(
                with_location,
                recipe.problem,
                ("tasks", name, "metrics"),
                metrics_named,
                found.metrics,
                found.labels.kind,
            )
            for key, check in (("class_weights", class_weights), ("sampling", sampling_weights)):
                unfit.of(with_location, recipe.problem, ("tasks", name, key), check, found, task)
        if found is not None:
            data[name] = found
            unfit.of(losses_of, recipe, name, found.labels)
            unfit.of(check_pair, recipe, name, found)
    headless = any(
        each.labels.kind == "unlabelled" and recipe.tasks[name].same_as is None
        for name, each in data.items()
    )
    if source is not None and shape is not None and len(data) == len(recipe.tasks) and not headless:
        labels = {name: each.labels for name, each in data.items()}
        poolings = {name: pooling_of(task, source) for name, task in recipe.tasks.items()}
        models = unfit.of(build_skeletons, parts_of(recipe, labels, poolings), recipe, source)
        if models is not None:
            unfit.of(check_losses, recipe, labels, models)
    return data, source


def _read(name: str, settings: DataSettings, *, several: bool) -> TaskData:
    """The task's rows. Where there are several tasks, problems name the one that they are about."""
    try:
        return load_task(name, settings)
    except EncoreError as error:
        if not several:
            raise
        raise type(error)(replace(problem, task=name) for problem in error.problems) from None


def build_models(prepared: Prepared) -> dict[str, TaskModel]:
    """Load the encoder and build the tasks' models around it. New weights are drawn from the
    recipe's seed.
    """
    pretrained = load.load_encoder(prepared.source)
    pretrained.encoder.dtype = torch.bfloat16 if prepared.precision == "bf16" else torch.float32
    models = assemble(
        prepared.parts,
        prepared.recipe.sharing,
        pretrained.encoder,
        pretrained.shape,
        seed=prepared.recipe.seed,
    )
    return {name: model.to(prepared.device) for name, model in models.items()}


def _stream(
    recipe: Recipe,
    data: TaskData,
    pair: Mapping[str, Any],
    tokenizer: TextTokenizer,
    source: load.Source,
    n_words: int | None,
    cache: Cache,
) -> Stream:
    task = recipe.tasks[data.name]
    pairing: Pairing = catalogue.build("pairs", pair)
    pairs = data.train.pairs is not None

    def rows(dataset: Dataset, weights: np.ndarray | None = None) -> Rows:
        # By what the texts are, not by where they were read: with another seed the same rows are
        # read once more, and need not be tokenized once more.
        texts = hashlib.sha256(
            canonical(
                [
                    None if side is None else side.to_pylist()
                    for side in (dataset.texts, dataset.pairs)
                ]
            )
        ).digest()
        kept = (
            "tokens",
            texts,
            tokenizer.digest,
            task.max_length,
            task.truncation,
            repr(sorted(pair.items())),
        )
        store = cache.get_or_make(
            kept,
            lambda: tokenize_set(
                dataset, tokenizer, pair, max_length=task.max_length, truncation=task.truncation
            ),
        )
        if n_words is not None and store.ids.max(initial=0) >= n_words:
            raise DataError(
                f"encoder '{source.name}': its tokenizer gives token {store.ids.max()}, its "
                f"config.json says vocab_size {n_words}. "
                "The two belong to different encoders; save the right tokenizer into that folder."
            )
        targets = np.zeros(len(dataset), np.float32) if dataset.targets is None else dataset.targets
        ones = np.ones(len(dataset), np.float32)
        return Rows(
            store,
            targets,
            dataset.digest,
            dataset.rows,
            ones if weights is None else weights,
            pairing.n_sides,
            pairs and pairing.both_orders,
        )

    per_class = class_weights(data, task)
    targets = data.train.targets
    weights = (
        None if per_class is None or targets is None else per_class[targets].astype(np.float32)
    )
    train, dev = rows(data.train, weights), {name: rows(part) for name, part in data.dev.items()}
    losses, batch_size = losses_of(recipe, data.name, data.labels), task.batch_size
    return Stream(
        data.name,
        data.labels,
        train,
        dev,
        data.metrics,
        losses,
        sampling_weights(data, task),
        batch_size,
        pairs and pairing.random_order,
    )

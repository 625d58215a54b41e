"""From a recipe to everything that `fit` needs: rows, tokens, models, and the name of the run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from encore import catalogue
from encore.data.dataset import Dataset, TaskData, load_task
from encore.data.tokenise import Tokeniser, TokenStore, tokenise
from encore.encoder import load
from encore.errors import Complaints, DataError, RecipeError
from encore.evaluate import metrics_named
from encore.files import canonical
from encore.kept import check_room, n_bytes
from encore.model import Branch, TaskModel, seeded
from encore.recipe import PROSE, PlanRecipe, Recipe, TaskRecipe, reading, resolved
from encore.train import Rows, Stream
from encore.types import LabelSpace, Loss

if TYPE_CHECKING:
    from encore.types import Phase

__all__ = [
    "RESULTS_VERSION", "NotApplicable", "Prepared", "Shelf", "build_models", "cores", "losses_of", "objections", "precision_of", "prepare", "tokenise_set",
]

Found = TypeVar("Found")

RESULTS_VERSION = 3                                     # raised by hand when the same recipe gives other bits

_TASK_LOSS = {"binary": "cross_entropy", "multiclass": "cross_entropy", "multilabel": "binary_cross_entropy", "regression": "mse"}


@dataclass(frozen=True)
class Prepared:
    """A run that could start now. `cut`: task → split → (rows cut, rows) by the maximum length."""

    recipe: Recipe
    data: Mapping[str, TaskData]
    streams: Mapping[str, Stream]
    source: load.Source
    tokeniser: Tokeniser
    precision: str
    threads: int
    device: str
    plan: list[Phase]
    poolings: Mapping[str, Mapping[str, Any]]
    cut: Mapping[str, Mapping[str, tuple[int, int]]]
    identity: Mapping[str, Any]
    decided: tuple[str, ...] = ()                       # settings that were chosen for these rows, to be announced

    @property
    def name(self) -> str:
        """The run folder's name: the task's name for people, and a hash of all that determines the run's bits."""
        return f"{'+'.join(self.data)}-{hashlib.sha256(canonical(self.identity)).hexdigest()[:10]}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What every table must say: all that qualifies its figures."""
        said = [note for data in self.data.values() for note in data.caveats]
        for task, splits in self.cut.items():
            length = self.recipe.tasks[task].max_length
            said += [f"{split}: {n:,} of {of:,} rows cut to {length} tokens ({self.recipe.tasks[task].truncation})" for split, (n, of) in splits.items() if n]
        return tuple(said)

    def task_loss(self, task: str) -> str:
        """The loss of a term that names none: the kind of the task decides."""
        return _TASK_LOSS[self.data[task].labels.kind]


class NotApplicable(RecipeError):
    """Nothing is wrong with the recipe by itself, but its parts do not go together: more layers than the encoder has, a metric of another kind of task."""


@dataclass
class Shelf:
    """What several runs have in common, read once: encoders, rows and tokens by what determines them. A comparison hands one to every `prepare`."""

    found: dict[Any, Any] = field(default_factory=dict)

    def of(self, key: tuple[Any, ...], make: Callable[[], Found]) -> Found:
        """What lies under the key, made if there is nothing. What `make` raises is raised each time."""
        if key not in self.found:
            self.found[key] = make()
        return self.found[key]


def prepare(recipe: Recipe, shelf: Shelf | None = None) -> Prepared:
    """Read, check and tokenise; no weights are loaded. Raises RecipeError or DataError with all problems that were found; NotApplicable where all of them
    are that its parts do not go together."""
    shelf = shelf or Shelf()
    complaints, unfit = Complaints(), Complaints()
    data, source = _found(recipe, shelf, complaints, unfit)
    if not complaints.errors and unfit.errors and all(isinstance(error, RecipeError) for error in unfit.errors):
        raise NotApplicable(unfit.lines)
    complaints.errors += unfit.errors
    complaints.raise_any()
    assert source is not None

    tokeniser = shelf.of(("tokeniser", source.folder), lambda: Tokeniser(source.folder))
    shape = shelf.of(("shape", source.folder), lambda: _shape(recipe, source))
    given = (tokeniser, source, shape.n_words, shelf)
    streams = {name: stream for name, task in recipe.tasks.items() if (stream := complaints.of(_stream, data[name], task, *given))}
    complaints.raise_any()
    cut = {name: {split: (rows.store.n_cut, len(rows)) for split, rows in {"train": each.train, **each.dev}.items()} for name, each in streams.items()}
    poolings = {name: _pooling(task, source) for name, task in recipe.tasks.items()}
    precision, threads, device = precision_of(recipe.precision), recipe.threads or cores(), "cuda" if torch.cuda.is_available() else "cpu"
    plan = catalogue.build("plans", recipe.plan.spec, tuple(recipe.tasks))
    if any(phase.trainable == "heads" for phase in plan):
        stores = {name: [rows.store for rows in (each.train, *each.dev.values())] for name, each in streams.items()}
        check_room({name: n_bytes([catalogue.build("pooling", poolings[name], shape)], stores[name]) for name in streams})
    identity = _identity(recipe, data, source, poolings) | {
        "tokeniser": tokeniser.digest,
        "precision": precision,
        "threads": threads,
        "device": device,
        "results_version": RESULTS_VERSION,
    }
    return Prepared(recipe, data, streams, source, tokeniser, precision, threads, device, plan, poolings, cut, identity)


def objections(recipe: Recipe, shelf: Shelf | None = None) -> tuple[str, ...]:
    """What files and encoder hold against a recipe, or against what is left of one with mistakes. Nothing is tokenised."""
    complaints = Complaints()
    _found(recipe, shelf or Shelf(), complaints, complaints)
    return complaints.lines


def _found(recipe: Recipe, shelf: Shelf, complaints: Complaints, unfit: Complaints) -> tuple[dict[str, TaskData], load.Source | None]:
    """The rows and the encoder that a recipe names, with everything checked that needs no tokens. `unfit` takes what does not go together."""
    source = complaints.of(shelf.of, ("encoder", recipe.base, recipe.encoder), lambda: load.locate(recipe.encoder, base=recipe.base))
    if source is not None:
        shape = complaints.of(shelf.of, ("shape", source.folder), lambda: _shape(recipe, source))
        if shape is not None:
            unfit.of(_check_shapes, recipe, source, shape)
    data = {}
    for name, task in recipe.tasks.items():
        how = reading(recipe, name)
        found = complaints.of(shelf.of, ("rows", name, repr(sorted(how.items(), key=str))), lambda name=name, how=how: load_task(name, **how))
        if found is not None:
            data[name] = found
            unfit.of(metrics_named, found.metrics, found.labels.kind)
            for check in (_class_weights, _chances):
                unfit.of(check, found, task)
            unfit.of(losses_of, task, found.labels)
    return data, source


def _shape(recipe: Recipe, source: load.Source) -> Any:
    try:
        return load.build(source.config).shape
    except DataError as error:
        raise DataError(f"encoder '{recipe.encoder}': {problem}" for problem in error.problems) from None


def _check_shapes(recipe: Recipe, source: load.Source, shape: Any) -> None:
    complaints = Complaints()
    longest = shape.n_positions
    for task in recipe.tasks.values():
        complaints.of(catalogue.build, "pooling", _pooling(task, source), shape)
        if longest is not None and task.max_length > longest:
            too_long = f"encoder '{recipe.encoder}' has {longest} positions, got {task.max_length}. Set max_length={longest} or less."
            complaints.errors.append(RecipeError(f"max_length: {too_long}"))
    complaints.raise_any()


def _pooling(task: TaskRecipe, source: load.Source) -> dict[str, Any]:
    return dict(task.pooling) if task.pooling is not None else {"name": source.default_pooling}


def build_models(prepared: Prepared) -> dict[str, TaskModel]:
    """Load the encoder and build each task's model around it. New weights are drawn from the recipe's seed."""
    models = {}
    for name, data in prepared.data.items():
        pretrained = load.load(prepared.source)
        pretrained.encoder.dtype = torch.bfloat16 if prepared.precision == "bf16" else torch.float32
        with seeded(prepared.recipe.seed, "initialisation", name, "pooling"):
            pooling = catalogue.build("pooling", prepared.poolings[name], pretrained.shape)
        with seeded(prepared.recipe.seed, "initialisation", name, "head"):
            head = catalogue.build("heads", prepared.recipe.tasks[name].head, pooling.width, data.labels.n_scores)
        models[name] = TaskModel([Branch(pretrained.encoder, pooling)], head).to(prepared.device)
    return models


def tokenise_set(dataset: Dataset, tokeniser: Tokeniser, *, max_length: int, truncation: str) -> TokenStore:
    return tokenise(tokeniser, dataset.texts, dataset.pairs, max_length=max_length, truncation=truncation)    # type: ignore[arg-type]


def losses_of(task: TaskRecipe, labels: LabelSpace) -> dict[str, tuple[float, Loss]]:
    """The loss terms by name. A term without a loss gets the one of the task's kind; raises RecipeError where a chosen one does not fit it."""
    terms = {}
    for name, term in task.losses.items():
        spec = term.loss if term.loss is not None else _TASK_LOSS[labels.kind]
        loss = catalogue.build("losses", spec, labels)
        if labels.kind not in loss.kinds:
            chosen, fitting = term.loss.name if term.loss else spec, _TASK_LOSS[labels.kind]
            raise RecipeError(f"losses.{name}: '{chosen}' does not fit a {labels.kind} task, which needs '{fitting}'.")
        terms[name] = (term.weight, loss)
    return terms


def precision_of(asked: str) -> str:
    """bf16 where the processor or GPU multiplies bf16 matrices itself, fp32 elsewhere; or what was asked for."""
    if asked != "auto":
        return asked
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    capability = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bf16" if capability.get("avx512_bf16") or capability.get("amx_bf16") or capability.get("bf16") else "fp32"


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _stream(data: TaskData, task: TaskRecipe, tokeniser: Tokeniser, source: load.Source, n_words: int | None, shelf: Shelf) -> Stream:
    def rows(dataset: Dataset, weights: np.ndarray | None = None) -> Rows:
        # The shelf keeps the rows too, so no other rows can come to have their identity.
        kept = ("tokens", id(dataset), tokeniser.digest, task.max_length, task.truncation)
        _, store = shelf.of(kept, lambda: (dataset, tokenise_set(dataset, tokeniser, max_length=task.max_length, truncation=task.truncation)))
        if n_words is not None and store.ids.max(initial=0) >= n_words:
            raise DataError(
                f"encoder '{source.name}': its tokenizer gives token {store.ids.max()}, its config.json says vocab_size {n_words}. "
                "The two belong to different encoders; save the right tokenizer into that folder."
            )
        assert dataset.targets is not None
        return Rows(store, dataset.targets, dataset.digest, dataset.rows, np.ones(len(dataset), np.float32) if weights is None else weights)

    per_class = _class_weights(data, task)
    targets = data.train.targets
    weights = None if per_class is None or targets is None else per_class[targets].astype(np.float32)
    train, dev = rows(data.train, weights), {name: rows(part) for name, part in data.dev.items()}
    return Stream(data.name, data.labels, train, dev, data.metrics, losses_of(task, data.labels), _chances(data, task))


def _chances(data: TaskData, task: TaskRecipe) -> np.ndarray | None:
    """(rows,) probabilities with which training rows are drawn, every class as often as any other; None: each row once per epoch."""
    if task.sampling != "balanced":
        return None
    targets = data.train.targets
    if targets is None or data.labels.kind not in ("binary", "multiclass"):
        raise RecipeError(f"sampling: balanced sampling needs one class per row; this is a {data.labels.kind} task. Remove it.")
    counts = np.bincount(targets, minlength=data.labels.n_scores)
    return 1 / counts[targets] / np.count_nonzero(counts)


def _class_weights(data: TaskData, task: TaskRecipe) -> np.ndarray | None:
    """(classes,) by the labels' order, with mean 1 over the training rows where balanced."""
    if task.class_weights is None:
        return None
    where = "class_weights"
    if data.labels.kind not in ("binary", "multiclass"):
        raise RecipeError(f"{where}: class weights need one class per row; this is a {data.labels.kind} task. Remove them.")
    if task.class_weights == "balanced":
        counts = np.bincount(data.train.targets, minlength=data.labels.n_scores)                  # type: ignore[arg-type]
        return len(data.train) / np.maximum(counts, 1) / np.count_nonzero(counts)
    unknown = [name for name in task.class_weights if name not in data.labels.names]
    if unknown:
        raise RecipeError(f"{where}: no label called '{name}'. Known: {', '.join(data.labels.names)}." for name in unknown)
    return np.array([task.class_weights.get(name, 1.0) for name in data.labels.names])


def _identity(recipe: Recipe, data: Mapping[str, TaskData], source: load.Source, poolings: Mapping[str, Any]) -> dict[str, Any]:
    """What the recipe says that determines a run's bits. Files count by their content and not by their path; what the recipe says about itself does not.

    Of plans' and poolings' own settings a default counts as not set, so that a setting which is added later leaves the names of the runs there are.
    """
    settings = {key: value for key, value in resolved(recipe).items() if key not in PROSE}
    own = catalogue.settings("plans", recipe.plan.name)
    settings["plan"] = {key: value for key, value in settings["plan"].items() if key in PlanRecipe.model_fields or value != own[key].default}
    for name, task in settings["tasks"].items():
        if task["data"]["seed"] is None:                # the recipe's own, which is in here already
            del task["data"]["seed"]
        task["data"] |= {"train": data[name].train.digest, "dev": {split: part.digest for split, part in data[name].dev.items()}, "test": None}
        accepted = catalogue.settings("pooling", poolings[name]["name"])
        task["pooling"] = {key: value for key, value in poolings[name].items() if key == "name" or value != accepted[key].default}
        task["labels"] = list(data[name].labels.names)
    return settings | {"encoder": source.digest}

"""From a recipe to everything that `fit` needs: rows, tokens, models, and the name of the run."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from encore import catalogue
from encore.assemble import Part, assemble, placed
from encore.data.dataset import Dataset, TaskData, load_task
from encore.data.tokenise import Tokeniser, TokenStore
from encore.encoder import load
from encore.errors import Complaints, DataError, EncoreError, RecipeError
from encore.evaluate import metrics_named
from encore.files import canonical
from encore.kept import check_room, n_bytes
from encore.losses._default import LOSS_OF_KIND
from encore.model import TaskModel
from encore.recipe import PROSE, PlanRecipe, Recipe, TaskRecipe, Technique, reading, resolved
from encore.train import Rows, Stream, steps_in
from encore.types import LabelSpace, Loss, Mixing, Pairing, Spec

if TYPE_CHECKING:
    from encore.types import Phase

__all__ = [
    "RESULTS_VERSION", "NotApplicable", "Prepared", "Shelf", "build_models", "cores", "head_of", "losses_of", "notes_about", "objections", "on_paper",
    "pair_of", "parts_of", "precision_of", "prepare", "tokenise_set",
]

Found = TypeVar("Found")

RESULTS_VERSION = 4                                     # raised by hand when the same recipe gives other bits


@dataclass(frozen=True)
class Prepared:
    """A run that could start now. `cut`: task → split → (rows cut, rows) by the maximum length. `untrained`: tasks without anything to train."""

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
    pairs: Mapping[str, Mapping[str, Any]]
    cut: Mapping[str, Mapping[str, tuple[int, int]]]
    identity: Mapping[str, Any]
    decided: tuple[str, ...] = ()                       # settings that were chosen for these rows, to be announced
    untrained: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The run folder's name: the task's name for people, and a hash of all that determines the run's bits."""
        return f"{'+'.join(self.data)}-{hashlib.sha256(canonical(self.identity)).hexdigest()[:10]}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What every table must say: all that qualifies its figures."""
        return tuple(self.about(task, note) for task, data in self.data.items() for note in data.caveats) + tuple(
            self.about(task, f"{split}: {n:,} of {of:,} rows cut to {self.recipe.tasks[task].max_length} tokens ({self.recipe.tasks[task].truncation})")
            for task, splits in self.cut.items()
            for split, (n, of) in splits.items()
            if n
        ) + tuple(
            self.about(task, "nothing of it is trained: its encoder is frozen, and its pooling and head have no weights") for task in self.untrained
        ) + tuple(self._met_elsewhere())

    def _met_elsewhere(self) -> Iterator[str]:
        """Dev rows that another task trains on: where weights are shared, the model has seen their texts."""
        if self.recipe.sharing.name == "separate":
            return
        for task, stream in self.streams.items():
            for split, rows in stream.dev.items():
                for other, theirs in self.streams.items():
                    n = int(np.isin(rows.numbers, theirs.train.numbers).sum()) if other != task and rows.digest == theirs.train.digest else 0
                    if n:
                        yield self.about(task, f"{split}: {n:,} of {len(rows):,} rows are training rows of task '{other}'; name a dev file (data.dev)")

    def about(self, task: str, note: str) -> str:
        """The note with the task that it is about, where there are several."""
        return f"{task}: {note}" if len(self.data) > 1 else note

    def notes_of(self, task: str) -> list[str]:
        """What every table of this task must say."""
        return notes_about(task, self.notes, several=len(self.data) > 1)

    @property
    def parts(self) -> dict[str, Part]:
        """What each task's model is made of."""
        return parts_of(self.recipe, {name: data.labels for name, data in self.data.items()}, self.poolings)

    @property
    def how(self) -> dict[str, Any]:
        """The rest of what `fit` wants to know: `fit(models, plan, streams, **how)`."""
        plan = self.recipe.plan
        combine = None if plan.combine is None else catalogue.build("combine", plan.combine)
        return {"seed": self.recipe.seed, "micro_batch": plan.micro_batch, "patience": plan.early_stopping, "mixing": self.mixing, "combine": combine}

    @property
    def mixing(self) -> Mixing:
        return catalogue.build("mixing", self.recipe.plan.mixing)

    @property
    def steps(self) -> tuple[int, ...]:
        """Optimiser steps of one epoch of each phase."""
        return tuple(steps_in(phase, self.streams, self.mixing, self.recipe.seed) for phase in self.plan)

    def task_loss(self, task: str) -> str:
        """The loss of a term that names none: the kind of the task decides."""
        return LOSS_OF_KIND[self.data[task].labels.kind]


def notes_about(task: str, notes: Sequence[str], *, several: bool) -> list[str]:
    """Those that are about this task, without its name, which `Prepared.about` has put before them where there are several tasks."""
    return [note.removeprefix(f"{task}: ") for note in notes if note.startswith(f"{task}: ")] if several else list(notes)


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
    if recipe.plan.keep != "last" and len(data) == len(recipe.tasks) and not any(each.metrics for each in data.values()):
        said = f"'{recipe.plan.keep}' chooses an epoch by a metric, and no task has one. Write keep: last, or name metrics."
        complaints.errors.append(RecipeError(recipe.problem(("plan", "keep"), said)))
    if not complaints.errors and unfit.errors and all(isinstance(error, RecipeError) for error in unfit.errors):
        raise NotApplicable(unfit.lines)
    complaints.errors += unfit.errors
    complaints.raise_any()
    assert source is not None

    tokeniser = shelf.of(("tokeniser", source.folder), lambda: Tokeniser(source.folder))
    pairs = {name: pair_of(recipe, name) for name in recipe.tasks}
    shape = shelf.of(("shape", source.folder), lambda: _shape(recipe, source))
    given = (tokeniser, source, shape.n_words, shelf)
    streams = {name: stream for name in recipe.tasks if (stream := complaints.of(_stream, recipe, data[name], pairs[name], *given))}
    complaints.raise_any()
    cut = {name: {split: (rows.n_cut, len(rows)) for split, rows in {"train": each.train, **each.dev}.items()} for name, each in streams.items()}
    poolings = {name: _pooling(task, source) for name, task in recipe.tasks.items()}
    precision, threads, device = precision_of(recipe.precision), recipe.threads or cores(), "cuda" if torch.cuda.is_available() else "cpu"
    plan = catalogue.build("plans", recipe.plan.spec, tuple(recipe.tasks))
    untrained: tuple[str, ...] = ()
    if any(phase.trainable == "heads" for phase in plan):
        stores = {name: [rows.store for rows in (each.train, *each.dev.values())] for name, each in streams.items()}
        models = on_paper(parts_of(recipe, {name: each.labels for name, each in data.items()}, poolings), recipe, source)
        check_room({name: n_bytes([branch.pooling for branch in models[name].branches], stores[name]) for name in streams})
        if all(phase.trainable == "heads" for phase in plan):
            untrained = tuple(name for name in streams if not _learns(models[name]))
    identity = _identity(recipe, data, source, poolings) | {
        "tokeniser": tokeniser.digest,
        "precision": precision,
        "threads": threads,
        "device": device,
        "results_version": RESULTS_VERSION,
    }
    return Prepared(recipe, data, streams, source, tokeniser, precision, threads, device, plan, poolings, pairs, cut, identity, untrained=untrained)


def _learns(model: TaskModel) -> bool:
    """Whether anything behind its encoders has weights to train."""
    branches: list[Any] = list(model.branches)
    return any(parameter.requires_grad for part in (model.head, *(branch.pooling for branch in branches)) for parameter in part.parameters())


def objections(recipe: Recipe, shelf: Shelf | None = None) -> tuple[str, ...]:
    """What files and encoder hold against a recipe, or against what is left of one with mistakes. Nothing is tokenised."""
    complaints = Complaints()
    _found(recipe, shelf or Shelf(), complaints, complaints)
    return complaints.lines


def _found(recipe: Recipe, shelf: Shelf, complaints: Complaints, unfit: Complaints) -> tuple[dict[str, TaskData], load.Source | None]:
    """The rows and the encoder that a recipe names, with everything checked that needs no tokens. `unfit` takes what does not go together."""
    source = complaints.of(shelf.of, ("encoder", recipe.base, recipe.encoder), lambda: load.locate(recipe.encoder, base=recipe.base))
    shape = None
    if source is not None:
        shape = complaints.of(shelf.of, ("shape", source.folder), lambda: _shape(recipe, source))
        if shape is not None:
            unfit.of(_check_shapes, recipe, source, shape)
    complaints.of(placed, recipe.problem, ("plan", "mixing"), catalogue.build, "mixing", recipe.plan.mixing)
    data = {}
    for name, task in recipe.tasks.items():
        how = reading(recipe, name)
        read = partial(_read, name, how, several=len(recipe.tasks) > 1)
        found = complaints.of(shelf.of, ("rows", name, repr(sorted(how.items(), key=str))), read)
        if found is not None and found.labels.kind == "unlabelled":
            complaints.of(_check_unlabelled, recipe, name)
        elif found is not None:
            unfit.of(placed, recipe.problem, ("tasks", name, "metrics"), metrics_named, found.metrics, found.labels.kind)
            for key, check in (("class_weights", _class_weights), ("sampling", _chances)):
                unfit.of(placed, recipe.problem, ("tasks", name, key), check, found, task)
        if found is not None:
            data[name] = found
            unfit.of(losses_of, recipe, name, found.labels)
            unfit.of(_check_pair, recipe, name, found)
    headless = any(each.labels.kind == "unlabelled" and recipe.tasks[name].same_as is None for name, each in data.items())
    if source is not None and shape is not None and len(data) == len(recipe.tasks) and not headless:
        labels = {name: each.labels for name, each in data.items()}
        poolings = {name: _pooling(task, source) for name, task in recipe.tasks.items()}
        models = unfit.of(on_paper, parts_of(recipe, labels, poolings), recipe, source)
        if models is not None:
            unfit.of(_check_losses, recipe, labels, models)
    return data, source


def _read(name: str, how: Mapping[str, Any], *, several: bool) -> TaskData:
    """The task's rows. Where there are several tasks, complaints name the one that they are about, and a setting of it in the place of an option, which would
    hold for all of them."""
    def setting(option: re.Match[str]) -> str:
        return f"tasks.{name}.data.{option[1].replace('-', '_')}{f'={option[2]}' if option[2] else ''}"

    try:
        return load_task(name, **how)
    except EncoreError as error:
        if not several:
            raise
        own = (re.sub(r"--(text-pair|text|label|on-bad-row|encoding|delimiter)\b(?: (NAME|skip))?", setting, problem) for problem in error.problems)
        raise type(error)(f"task '{name}': {problem}" for problem in own) from None


def pair_of(recipe: Recipe, name: str) -> dict[str, Any]:
    """How the task's pairs are read: as it says, or as its head wants them."""
    task = recipe.tasks[name]
    if task.pair is not None:
        return dict(task.pair)
    return {"name": "siamese" if getattr(catalogue.find("heads", head_of(recipe, name).name), "n_sides", 1) == 2 else "cross"}


def head_of(recipe: Recipe, name: str) -> Technique:
    """The head that a task has: its own, or that of another."""
    task = recipe.tasks[name]
    return recipe.tasks[task.same_as].head if task.same_as is not None else task.head


def _check_unlabelled(recipe: Recipe, name: str) -> None:
    """A task without labels trains the head of another, and nothing of it is measured."""
    task = recipe.tasks[name]
    asked = {
        "same_as": task.same_as is None and "a task without labels has no head of its own. Name the task whose head it trains: same_as: TASK.",
        "metrics": task.metrics and "there are no labels to measure by. Remove them.",
        "class_weights": task.class_weights is not None and "there are no classes to weight. Remove them.",
        "sampling": task.sampling is not None and "there are no classes to balance. Remove it.",
    }
    wrong = [recipe.problem(("tasks", name, key), problem) for key, problem in asked.items() if problem]
    if wrong:
        raise RecipeError(wrong)


def _check_pair(recipe: Recipe, name: str, data: TaskData) -> None:
    if data.columns.text_pair is not None:
        return
    task = recipe.tasks[name]
    if task.pair is not None and task.pair.name != "cross":
        said = f"'{name}' has single texts and no pairs. Remove it, or name the second text: data.text_pair."
        raise NotApplicable(recipe.problem(("tasks", name, "pair"), said))
    if pair_of(recipe, name)["name"] != "cross":
        where, what = ("same_as", task.same_as) if task.same_as is not None else ("head", task.head.name)
        said = f"'{what}' reads two texts, and '{name}' has single texts. Choose another head, or name the second text: data.text_pair."
        raise NotApplicable(recipe.problem(("tasks", name, where), said))


def _check_losses(recipe: Recipe, labels: Mapping[str, LabelSpace], models: Mapping[str, TaskModel]) -> None:
    """Losses that read two texts need a model that reads them apart; those that compare the rows of a batch need all of it at once."""
    wrong = []
    for name in recipe.tasks:
        for term, (_, loss) in losses_of(recipe, name, labels[name]).items():
            if getattr(loss, "n_sides", 1) > models[name].n_sides:
                said = "this loss compares two texts that are read apart. Take a head for two texts (siamese_cosine, …)."
                wrong.append(recipe.problem(("tasks", name, "losses", term), said))
            if loss.couples_rows and recipe.plan.micro_batch is not None:
                said = f"the loss '{term}' of task '{name}' compares the rows of a batch with each other, so a batch cannot be split. Remove it."
                wrong.append(recipe.problem(("plan", "micro_batch"), said))
    if wrong:
        raise NotApplicable(wrong)


def parts_of(recipe: Recipe, labels: Mapping[str, LabelSpace], poolings: Mapping[str, Mapping[str, Any]]) -> dict[str, Part]:
    """What each task's model is made of."""
    return {
        name: Part(each, poolings[name], dict(head_of(recipe, name)), pair_of(recipe, name), recipe.tasks[name].same_as) for name, each in labels.items()
    }


def on_paper(parts: Mapping[str, Part], recipe: Recipe, source: load.Source) -> dict[str, TaskModel]:
    """The tasks' models without their weights, which takes no memory. Raises NotApplicable where the parts do not go together."""
    encoder = load.build_on_paper(source.config)
    try:
        with load.on_paper():
            return assemble(parts, recipe.sharing, encoder, encoder.shape, seed=recipe.seed, told=recipe.problem)
    except RecipeError as error:
        raise NotApplicable(error.problems) from None


def _shape(recipe: Recipe, source: load.Source) -> Any:
    try:
        return load.build(source.config).shape
    except DataError as error:
        raise DataError(f"encoder '{recipe.encoder}': {problem}" for problem in error.problems) from None


def _check_shapes(recipe: Recipe, source: load.Source, shape: Any) -> None:
    complaints = Complaints()
    longest = shape.n_positions
    for name, task in recipe.tasks.items():
        pooling, steps = _pooling(task, source), ("tasks", name, "pooling")
        complaints.of(placed, recipe.problem, steps, catalogue.build, "pooling", pooling, shape)
        still = "frozen: true" if pooling.get("frozen") else "sharing: static" if recipe.sharing.name == "static" else None
        if pooling["name"] == "pooler" and still and not source.has_pooler:
            why = f"encoder '{recipe.encoder}' has no pretrained pooler, and {still} would keep a random one as it is. Take another pooling (cls, mean, …)."
            complaints.errors.append(RecipeError(recipe.problem(steps, why)))
        if longest is not None and task.max_length > longest:
            too_long = f"encoder '{recipe.encoder}' has {longest} positions, got {task.max_length}. Set max_length={longest} or less."
            complaints.errors.append(RecipeError(recipe.problem(("tasks", name, "max_length"), too_long)))
    complaints.raise_any()


def _pooling(task: TaskRecipe, source: load.Source) -> dict[str, Any]:
    return dict(task.pooling) if task.pooling is not None else {"name": source.default_pooling}


def build_models(prepared: Prepared) -> dict[str, TaskModel]:
    """Load the encoder and build the tasks' models around it. New weights are drawn from the recipe's seed."""
    pretrained = load.load(prepared.source)
    pretrained.encoder.dtype = torch.bfloat16 if prepared.precision == "bf16" else torch.float32
    models = assemble(prepared.parts, prepared.recipe.sharing, pretrained.encoder, pretrained.shape, seed=prepared.recipe.seed)
    return {name: model.to(prepared.device) for name, model in models.items()}


def tokenise_set(dataset: Dataset, tokeniser: Tokeniser, pair: Spec, *, max_length: int, truncation: str) -> TokenStore:
    pairing: Pairing = catalogue.build("pairs", pair)
    return pairing.tokenise(tokeniser, dataset.texts, dataset.pairs, max_length=max_length, truncation=truncation)


def losses_of(recipe: Recipe, task: str, labels: LabelSpace) -> dict[str, tuple[float, Loss]]:
    """A task's loss terms by name. A term without a loss gets the one of the task's kind; raises RecipeError where a chosen one does not fit it, or where there
    is none because there are no labels."""
    terms = {}
    for name, term in recipe.tasks[task].losses.items():
        steps, spec = ("tasks", task, "losses", name), term.loss if term.loss is not None else LOSS_OF_KIND.get(labels.kind)
        if spec is None:
            said = f"a task without labels needs a loss that reads none. Write losses: {{{name}: simcse}}, or mnr for pairs."
            raise RecipeError(recipe.problem(steps, said))
        loss = placed(recipe.problem, steps, catalogue.build, "losses", spec, labels)
        if labels.kind not in loss.kinds:
            chosen = term.loss.name if term.loss else spec
            fitting = f"a {labels.kind} task, which needs '{LOSS_OF_KIND[labels.kind]}'" if labels.kind in LOSS_OF_KIND else "a task without labels"
            raise RecipeError(recipe.problem(steps, f"'{chosen}' does not fit {fitting}."))
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


def _stream(
    recipe: Recipe, data: TaskData, pair: Mapping[str, Any], tokeniser: Tokeniser, source: load.Source, n_words: int | None, shelf: Shelf
) -> Stream:
    task = recipe.tasks[data.name]
    pairing: Pairing = catalogue.build("pairs", pair)
    pairs = data.train.pairs is not None

    def rows(dataset: Dataset, weights: np.ndarray | None = None) -> Rows:
        # By what the texts are, not by where they were read: with another seed the same rows are read once more, and need not be tokenised once more.
        texts = hashlib.sha256(canonical([None if side is None else side.to_pylist() for side in (dataset.texts, dataset.pairs)])).digest()
        kept = ("tokens", texts, tokeniser.digest, task.max_length, task.truncation, repr(sorted(pair.items())))
        store = shelf.of(kept, lambda: tokenise_set(dataset, tokeniser, pair, max_length=task.max_length, truncation=task.truncation))
        if n_words is not None and store.ids.max(initial=0) >= n_words:
            raise DataError(
                f"encoder '{source.name}': its tokenizer gives token {store.ids.max()}, its config.json says vocab_size {n_words}. "
                "The two belong to different encoders; save the right tokenizer into that folder."
            )
        targets = np.zeros(len(dataset), np.float32) if dataset.targets is None else dataset.targets
        ones = np.ones(len(dataset), np.float32)
        return Rows(store, targets, dataset.digest, dataset.rows, ones if weights is None else weights, pairing.n_sides, pairs and pairing.both_orders)

    per_class = _class_weights(data, task)
    targets = data.train.targets
    weights = None if per_class is None or targets is None else per_class[targets].astype(np.float32)
    train, dev = rows(data.train, weights), {name: rows(part) for name, part in data.dev.items()}
    losses, batch_size = losses_of(recipe, data.name, data.labels), task.batch_size
    return Stream(data.name, data.labels, train, dev, data.metrics, losses, _chances(data, task), batch_size, pairs and pairing.random_order)


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


_ADDED = {"": ("sharing",), "plan": ("mixing", "combine"), "task": ("pair", "same_as", "batch_size")}      # settings that came after the first runs


def _forget(settings: dict[str, Any], plain: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    """Take out what is as it would be if nobody had set it."""
    for key in keys:
        if settings[key] == plain[key]:
            del settings[key]


def _identity(recipe: Recipe, data: Mapping[str, TaskData], source: load.Source, poolings: Mapping[str, Any]) -> dict[str, Any]:
    """What the recipe says that determines a run's bits. Files count by their content and not by their path; what the recipe says about itself does not.

    Of plans' and poolings' own settings a default counts as not set, and so does everything in `_ADDED`, so that a setting which is added later leaves the
    names of the runs there are.
    """
    settings = {key: value for key, value in resolved(recipe).items() if key not in PROSE}
    own = catalogue.settings("plans", recipe.plan.name)
    plain = resolved(Recipe(tasks={"": TaskRecipe()}))
    settings["plan"] = {key: value for key, value in settings["plan"].items() if key in PlanRecipe.model_fields or value != own[key].default}
    _forget(settings, plain, _ADDED[""])
    _forget(settings["plan"], plain["plan"], _ADDED["plan"])
    for name, task in settings["tasks"].items():
        _forget(task, plain["tasks"][""], _ADDED["task"])
        head = task.get("head", {})
        if head.get("name") == "linear" and not head["one_logit"]:
            del head["one_logit"]
        if task["data"]["seed"] is None:                # the recipe's own, which is in here already
            del task["data"]["seed"]
        task["data"] |= {"train": data[name].train.digest, "dev": {split: part.digest for split, part in data[name].dev.items()}, "test": None}
        accepted = catalogue.settings("pooling", poolings[name]["name"])
        task["pooling"] = {key: value for key, value in poolings[name].items() if key == "name" or value != accepted[key].default}
        task["labels"] = list(data[name].labels.names)
    return settings | {"encoder": source.digest}

"""Training is a generator: it yields a report for every step and every epoch, and calls nobody back.

Consumers log, prune and save; leaving the generator stops training. `FitState` holds all that is needed to go on, bit for bit.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from encore import catalogue, optim, rng, step
from encore.data.batches import batch_places, collate, epoch_order, evaluation_batches
from encore.data.tokenise import TokenStore
from encore.encoder.encoder import Frozen
from encore.errors import RecipeError
from encore.kept import Kept, fits, frozen, keep
from encore.mixing.even import Even
from encore.model import Memo, TaskModel, unique_parameters, word_tables
from encore.statistics import MetricWarning
from encore.types import Batch, Combine, Draw, EvalReport, Extent, LabelSpace, Loss, Mixing, Phase, StepReport, Tokens

__all__ = ["FitState", "Rows", "Stream", "fit", "higher_is_better", "own_losses", "score_rows", "score_together", "steps_in"]

TRAIN = "train"


@dataclass(frozen=True)
class Rows:
    """Tokenised examples with what training or evaluation needs of them, line by line. (`digest`, `numbers[i]`) names example i.

    An example is one row of the store, or several: `n_sides` texts that are read apart, or two orders of a pair, of which one is read at a time. The store has
    all first ones, then all second ones. `both_orders`: what is said of an example is the mean over its two.
    """

    store: TokenStore
    targets: np.ndarray
    digest: str
    numbers: np.ndarray
    weights: np.ndarray                         # (rows,) float32
    n_sides: int = 1
    both_orders: bool = False

    def __len__(self) -> int:
        return len(self.numbers)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(examples,) int64: the tokens that each brings to a batch."""
        return sum((self.store.lengths[side * len(self) : (side + 1) * len(self)] for side in range(self.n_sides)), np.zeros(len(self), np.int64))

    @property
    def n_cut(self) -> int:
        """Examples that lost tokens to the maximum length."""
        return int(np.count_nonzero(self.store.cut.reshape(-1, len(self)).any(axis=0))) if len(self) else 0

    @property
    def orders(self) -> list[np.ndarray | None]:
        """What `swapped` is to be, one after the other, when all examples are scored."""
        return [None, np.ones(len(self), dtype=bool)] if self.both_orders else [None]

    def at(self, examples: np.ndarray, swapped: np.ndarray | None = None) -> np.ndarray:
        """Rows of the store, in the order of a batch: the sides of an example one after the other. `swapped`: (examples,) bool, pairs to be turned round."""
        if self.n_sides > 1:
            return (examples[:, None] + len(self) * np.arange(self.n_sides)).ravel()
        return examples if swapped is None else examples + len(self) * swapped


@dataclass(frozen=True)
class Stream:
    """One task as `fit` sees it. `chances`: (rows,) probabilities for sampling with replacement, or None for each row once per epoch. `batch_size`: None for
    that of the phase. `random_order`: each time a pair is met its order is drawn."""

    name: str
    labels: LabelSpace
    train: Rows
    dev: Mapping[str, Rows]
    metrics: Sequence[str]
    losses: Mapping[str, tuple[float, Loss]]
    chances: np.ndarray | None = None
    batch_size: int | None = None
    random_order: bool = False


def own_losses(streams: Mapping[str, Stream]) -> dict[str, dict[str, nn.Module]]:
    """Task → term → a fresh copy of the loss, of those that have parameters of their own."""
    found: dict[str, dict[str, nn.Module]] = {}
    for task, stream in streams.items():
        own: dict[str, nn.Module] = {name: copy.deepcopy(loss) for name, (_, loss) in stream.losses.items() if isinstance(loss, nn.Module)}
        if own:
            found[task] = own
    return found


@dataclass
class FitState:
    """Where a run stands. Everything random is a function of (seed, step, purpose), so nothing random is in here. `losses`: what `own_losses` gives."""

    models: Mapping[str, TaskModel]
    losses: Mapping[str, Mapping[str, nn.Module]] = field(default_factory=dict)
    optimiser: torch.optim.AdamW | None = None
    phase: int = 0
    epoch: int = 0                              # epochs finished, over all phases
    batch: int = 0                              # batches finished in the epoch under way
    step: int = 0                               # optimiser steps finished, over all phases
    phase_step: int = 0
    best: float | None = None
    bests: dict[str, float] = field(default_factory=dict)                # task → the best value of its own metric so far, higher is better
    waited: int = 0                             # epochs since the best one
    finished: bool = False
    sums: dict[str, list[float]] = field(default_factory=dict)          # task → [loss · weight, weight] of the epoch under way
    seen: dict[str, list[np.ndarray]] = field(default_factory=dict)     # task → scores of the epoch's batches, in order

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """Everything that is trained, once: the models' and the losses' own."""
        return unique_parameters({**self.models, **{f"{task}.losses.{name}": loss for task, own in self.losses.items() for name, loss in own.items()}})

    def numbers(self) -> dict[str, Any]:
        """All that is not a tensor, ready for JSON. Floats survive JSON exactly."""
        plain = ("phase", "epoch", "batch", "step", "phase_step", "best", "bests", "waited", "finished", "sums")
        return {name: getattr(self, name) for name in plain} | {"decays": [table.decay for table in word_tables(self.models.values())]}

    def tensors(self) -> dict[str, Tensor]:
        """Parameters, optimiser state and the epoch's scores so far, by name. Aliases, not copies."""
        found: dict[str, Tensor] = {f"model/{name}": p.detach() for name, p in self.parameters.items()}
        if self.optimiser is not None:
            for name, parameter in _named(self.optimiser):
                found |= {f"optimiser/{name}/{key}": value for key, value in self.optimiser.state.get(parameter, {}).items()}
        for task, parts in self.seen.items():
            if parts:
                found[f"seen/{task}"] = torch.from_numpy(np.concatenate(parts))
        return found

    def narrow(self, streams: Mapping[str, Stream]) -> None:
        """Make only those words trainable that occur in the training texts. To be called once, before the first step or `restore`."""
        for table in word_tables(self.models.values()):
            met = [np.unique(stream.train.store.ids) for task, stream in streams.items() if table in word_tables([self.models[task]])]
            table.narrow(torch.from_numpy(np.unique(np.concatenate(met)).astype(np.int64)).to(table.weight.device))

    def restore(self, numbers: Mapping[str, Any], tensors: Mapping[str, Tensor], plan: Sequence[Phase]) -> None:
        """The way back from `numbers` and `tensors`."""
        for name, value in numbers.items():
            if name != "decays":
                setattr(self, name, value)
        for table, decay in zip(word_tables(self.models.values()), numbers["decays"], strict=True):
            table.decay = decay
        parameters = self.parameters
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(tensors[f"model/{name}"])
        self.optimiser = None
        if any(name.startswith("optimiser/") for name in tensors) and self.phase < len(plan):
            _freeze(self.models, plan[self.phase])
            self.optimiser = optim.adamw(parameters, plan[self.phase])
            for name, parameter in _named(self.optimiser):
                state = {key: tensors[f"optimiser/{name}/{key}"].clone() for key in ("step", "exp_avg", "exp_avg_sq") if f"optimiser/{name}/{key}" in tensors}
                if state:
                    self.optimiser.state[parameter] = state
        self.seen = {task: [tensors[f"seen/{task}"].numpy()] if f"seen/{task}" in tensors else [] for task in self.sums}


def fit(
    models: Mapping[str, TaskModel],
    plan: Sequence[Phase],
    streams: Mapping[str, Stream],
    *,
    seed: int,
    micro_batch: int | None = None,
    patience: int | None = None,
    mixing: Mixing | None = None,
    combine: Combine | None = None,
    state: FitState | None = None,
) -> Iterator[StepReport | EvalReport]:
    """Train `models` on `streams` by `plan`, from `state` on.

    `micro_batch`: rows computed at once (the result does not depend on it but for rounding). `patience`: stop after this many epochs without a better
    dev score, the mean over the tasks of their first metric on their first dev set. `mixing`: whose turn it is, `Even()` if None. `combine`: what becomes of
    the gradients of a step of several tasks, their sum if None. Raises TrainingError where the loss is not finite.
    """
    if state is None:
        state = FitState(models, own_losses(streams))
        state.narrow(streams)
    for losses in (stream.losses for stream in streams.values()):
        coupled = [name for name, (_, loss) in losses.items() if loss.couples_rows]
        if coupled and micro_batch is not None:
            raise RecipeError(f"plan.micro_batch: the loss '{coupled[0]}' compares the rows of a batch with each other; leave plan.micro_batch out.")
    device = next(next(iter(models.values())).parameters()).device
    for module in (*models.values(), *(loss.to(device) for own in state.losses.values() for loss in own.values())):
        module.train()
    epochs = sum(phase.epochs for phase in plan)
    while state.phase < len(plan) and not state.finished:
        phase = plan[state.phase]
        _freeze(models, phase)
        kept = _kept(models, streams, phase)
        if state.optimiser is None:
            state.optimiser = optim.adamw(state.parameters, phase)
        epochs_before = sum(earlier.epochs for earlier in plan[: state.phase])
        epoch = _Epoch(models, phase, streams, kept, mixing or Even(), combine, seed, epochs)
        total = len(epoch.steps(state.epoch)) * phase.epochs
        while state.epoch - epochs_before < phase.epochs and not state.finished:
            steps = epoch.steps(state.epoch)
            yield from _train(epoch, steps, state, micro_batch=micro_batch, total=total)
            yield _evaluate(epoch, steps, state, patience=patience)
        state.phase, state.phase_step = state.phase + 1, 0
        if state.phase < len(plan):
            following = plan[state.phase]
            _freeze(models, following)
            state.optimiser = None if following.fresh_optimiser else optim.carried(state.optimiser, state.parameters, following)


def steps_in(phase: Phase, streams: Mapping[str, Stream], mixing: Mixing, seed: int) -> int:
    """Optimiser steps of one epoch."""
    return len(mixing(_extents(phase, streams), seed=seed, epoch=0, epochs=phase.epochs))


@dataclass(frozen=True)
class _Epoch:
    """What the epochs of a phase have in common."""

    models: Mapping[str, TaskModel]
    phase: Phase
    streams: Mapping[str, Stream]
    kept: Mapping[tuple[str, str], Kept]
    mixing: Mixing
    combine: Combine | None
    seed: int
    epochs: int                                 # of the whole run

    def steps(self, epoch: int) -> list[tuple[Draw, ...]]:
        return self.mixing(_extents(self.phase, self.streams), seed=self.seed, epoch=epoch, epochs=self.epochs)


def _extents(phase: Phase, streams: Mapping[str, Stream]) -> dict[str, Extent]:
    return {task: Extent(n := len(streams[task].train), -(-n // _batch_size(phase, streams[task]))) for task in phase.tasks}


def _batch_size(phase: Phase, stream: Stream) -> int:
    return stream.batch_size or phase.batch_size


class _Orders:
    """The rows of one batch after the other. An order is kept until the task's next one is asked for."""

    def __init__(self, epoch: _Epoch) -> None:
        self.epoch = epoch
        self.latest: dict[str, tuple[int, np.ndarray, np.ndarray | None]] = {}

    def rows(self, draw: Draw) -> tuple[np.ndarray, np.ndarray | None]:
        """(examples,) of the draw, by length; and which pairs are turned round."""
        stream, seed = self.epoch.streams[draw.task], self.epoch.seed
        n_rows, size = len(stream.train), _batch_size(self.epoch.phase, stream)
        if draw.task not in self.latest or self.latest[draw.task][0] != draw.order:
            order = epoch_order(n_rows, seed, draw.task, draw.order, stream.chances)
            swapped = rng.generator(seed, "pair order", draw.task, draw.order).random(n_rows) < 0.5 if stream.random_order else None
            self.latest[draw.task] = (draw.order, order, swapped)
        _, order, swapped = self.latest[draw.task]
        places = batch_places(order, draw.number, size, stream.train.lengths)
        return order[places], None if swapped is None else swapped[places]


def _train(epoch: _Epoch, steps: Sequence[tuple[Draw, ...]], state: FitState, *, micro_batch: int | None, total: int) -> Iterator[StepReport]:
    """What is left of the epoch under way."""
    phase, orders = epoch.phase, _Orders(epoch)
    if state.batch == 0:
        state.sums = {task: [0.0, 0.0] for task in phase.tasks}
        state.seen = {task: [] for task in phase.tasks}
    assert state.optimiser is not None
    while state.batch < len(steps):
        parts = [_part(epoch, draw, orders, state, micro_batch) for draw in steps[state.batch]]
        lr = phase.lr * phase.curve(state.phase_step, total)
        how: dict[str, Any] = {"seed": epoch.seed, "step": state.step + 1, "lr": lr, "clip_norm": phase.clip_norm, "combine": epoch.combine}
        outcome = step.take(parts, state.optimiser, **how)
        state.step, state.phase_step, state.batch = state.step + 1, state.phase_step + 1, state.batch + 1
        for part in outcome.parts:
            state.sums[part.task][0] += part.loss * part.weight
            state.sums[part.task][1] += part.weight
            state.seen[part.task].append(part.scores)
        batches = [batch for part in parts for batch in part.micro_batches]
        yield StepReport(
            step=state.step,
            epoch=state.epoch + 1,
            steps_in_epoch=len(steps),
            task="+".join(part.task for part in outcome.parts),
            loss=outcome.loss,
            terms=step.terms_of(outcome.parts),
            lr=lr,
            grad_norm=outcome.grad_norm,
            n_tokens=sum(batch.tokens.n_tokens for batch in batches),
            n_rows=sum(len(batch.rows) for batch in batches),
        )


def _part(epoch: _Epoch, draw: Draw, orders: _Orders, state: FitState, micro_batch: int | None) -> step.Part:
    """One task's share of a step."""
    stream, own = epoch.streams[draw.task], state.losses.get(draw.task, {})
    examples, swapped = orders.rows(draw)
    size = micro_batch or len(examples)
    device = next(epoch.models[draw.task].parameters()).device
    kept = epoch.kept.get((draw.task, TRAIN))
    micro_batches = []
    for start in range(0, len(examples), size):
        some = slice(start, start + size)
        micro_batches.append(_batch(stream, examples[some], None if swapped is None else swapped[some], device, kept))
    share = len(examples) / _batch_size(epoch.phase, stream) if epoch.mixing.nominal else 1.0
    losses: dict[str, tuple[float, Any]] = {name: (weight * share, own.get(name, loss)) for name, (weight, loss) in stream.losses.items()}
    return step.Part(epoch.models[draw.task], micro_batches, losses)


def _evaluate(epoch: _Epoch, steps: Sequence[tuple[Draw, ...]], state: FitState, *, patience: int | None) -> EvalReport:
    """Close the epoch: score every dev set, and decide whether this is the best one and whether it is the last."""
    models, streams = epoch.models, epoch.streams
    train: dict[str, dict[str, float]] = {}
    orders = _Orders(epoch)
    met: dict[str, list[np.ndarray]] = {task: [] for task in epoch.phase.tasks}
    for draw in (draw for draws in steps for draw in draws):
        met[draw.task].append(orders.rows(draw)[0])
    for task, (loss, weight) in state.sums.items():
        if weight:                                                  # a task that is drawn by chance may have had no turn
            targets = streams[task].train.targets[np.concatenate(met[task])]
            train[task] = {"loss": loss / weight, **_metrics(streams[task], np.concatenate(state.seen[task]), targets)}
    scores = {
        task: {name: score_rows(models[task], rows, stream.labels, epoch.kept.get((task, name))) for name, rows in stream.dev.items()}
        for task, stream in streams.items()
    }
    dev = {task: {name: _metrics(streams[task], found, streams[task].dev[name].targets) for name, found in sets.items()} for task, sets in scores.items()}
    signed = {task: _deciding(streams[task], sets) for task, sets in dev.items() if sets and streams[task].metrics}
    selected = sum(signed.values()) / len(signed) if signed else None
    is_best = selected is None or state.best is None or selected > state.best
    if is_best:
        state.best, state.waited = selected, 0
    else:
        state.waited += 1
    best = tuple(task for task, value in signed.items() if task not in state.bests or value > state.bests[task])
    state.bests = state.bests | {task: signed[task] for task in best}
    state.epoch, state.batch = state.epoch + 1, 0
    state.finished = state.epoch == epoch.epochs or (patience is not None and state.waited >= patience)
    state.sums, state.seen = {}, {}
    return EvalReport(state.epoch, state.step, train, dev, scores, selected, is_best, state.finished, best)


def score_rows(model: TaskModel, rows: Rows, labels: LabelSpace, kept: Kept | None = None) -> np.ndarray:
    """(rows, n_scores) float32, in the order of `rows`. `kept`: what the model's frozen encoder gives to these rows."""
    return score_together({"": model}, rows, {"": labels.n_scores}, kept)[""]


def score_together(models: Mapping[str, TaskModel], rows: Rows, n_scores: Mapping[str, int], kept: Kept | None = None) -> dict[str, np.ndarray]:
    """(rows, n_scores) float32 of several tasks on the same rows, in their order. What the tasks share of their encoders is computed once for each text; texts
    that are read apart, and whose sides do not see each other before the head, are computed once however often they occur."""
    device = next(next(iter(models.values())).parameters()).device
    found = {task: np.zeros((len(rows), n), dtype=np.float32) for task, n in n_scores.items()}
    apart = rows.n_sides > 1 and not any(getattr(branch.pooling, "couples_sides", False) for model in models.values() for branch in model.branches)
    with _evaluating(models.values()):
        if apart:
            _score_apart(models, rows, found, kept, device)
            return found
        for swapped in rows.orders:
            for numbers in evaluation_batches(rows.lengths):
                tokens = _tokens(rows.store, rows.at(numbers, None if swapped is None else swapped[numbers]), device, kept)
                memo: Memo | None = {} if len(models) > 1 else None
                for task, model in models.items():
                    found[task][numbers] += model(tokens, memo=memo).scores.float().cpu().numpy() / np.float32(len(rows.orders))
    return found


_PAIRS = 4096                                            # scored at once


def _score_apart(models: Mapping[str, TaskModel], rows: Rows, found: Mapping[str, np.ndarray], kept: Kept | None, device: torch.device) -> None:
    """Fill `found`: embed each distinct text, then score all pairs of embeddings."""
    firsts, which = _distinct(rows.store)
    tables: dict[str, Tensor] = {}
    for numbers in evaluation_batches(rows.store.lengths[firsts]):
        tokens = _tokens(rows.store, firsts[numbers], device, kept)
        memo: Memo | None = {} if len(models) > 1 else None
        for task, model in models.items():
            lines = model.head.embed(model.vectors(tokens, memo=memo)[0])
            if task not in tables:
                tables[task] = lines.new_empty(len(firsts), lines.shape[1])
            tables[task][torch.from_numpy(numbers).to(device)] = lines
    for start in range(0, len(rows), _PAIRS):
        some = np.arange(start, min(start + _PAIRS, len(rows)))
        sides = [torch.from_numpy(which[some + side * len(rows)]).to(device) for side in range(rows.n_sides)]
        for task, model in models.items():
            found[task][some] = model.head.score(*(tables[task][side] for side in sides)).float().cpu().numpy()


def _distinct(store: TokenStore) -> tuple[np.ndarray, np.ndarray]:
    """(distinct rows,) the first row of each, and (rows,) which of these each row is."""
    seen: dict[bytes, int] = {}
    firsts: list[int] = []
    which = np.empty(len(store), dtype=np.int64)
    for row, (start, end) in enumerate(zip(store.offsets[:-1].tolist(), store.offsets[1:].tolist(), strict=True)):
        text = store.ids[start:end].tobytes()
        if text not in seen:
            seen[text] = len(firsts)
            firsts.append(row)
        which[row] = seen[text]
    return np.asarray(firsts, dtype=np.int64), which


@contextlib.contextmanager
def _evaluating(models: Iterable[TaskModel]) -> Iterator[None]:
    before = [(model, model.training) for model in models]
    try:
        with torch.inference_mode():
            for model, _ in before:
                model.eval()
            yield
    finally:
        for model, was_training in before:
            model.train(was_training)


def higher_is_better(metric: str) -> bool:
    return getattr(catalogue.find("metrics", metric), "higher_is_better", True)


def _metrics(stream: Stream, scores: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetricWarning)              # a constant output early on is no news; the final figures say so
        return {name: float(catalogue.find("metrics", name)(scores, targets, stream.labels)) for name in stream.metrics}


def _deciding(stream: Stream, sets: Mapping[str, Mapping[str, float]]) -> float:
    """The first metric on the first dev set, with its sign turned where lower is better."""
    value = next(iter(sets.values()))[stream.metrics[0]]
    return value if higher_is_better(stream.metrics[0]) else -value


def _kept(models: Mapping[str, TaskModel], streams: Mapping[str, Stream], phase: Phase) -> dict[tuple[str, str], Kept]:
    """(task, set) → what the encoders that do not change give to its rows; a training set is called "train", which no dev set is."""
    sets = {task: {TRAIN: stream.train.store, **{name: rows.store for name, rows in stream.dev.items()}} for task, stream in streams.items()}
    heads_only = phase.trainable == "heads"
    if not heads_only and not fits(models, {task: list(stores.values()) for task, stores in sets.items()}):
        return {}
    which = {task: frozen(models[task], all_of_them=heads_only) for task in sets}
    return {(task, name): keep(models[task], store, which[task]) for task, stores in sets.items() for name, store in stores.items() if any(which[task])}


def _tokens(store: TokenStore, at: np.ndarray, device: torch.device, kept: Kept | None) -> Tokens:
    tokens = collate(store, at, device)
    return tokens if kept is None else kept.with_lines(tokens, at)


def _batch(stream: Stream, examples: np.ndarray, swapped: np.ndarray | None, device: torch.device, kept: Kept | None) -> Batch:
    train = stream.train
    return Batch(
        task=stream.name,
        digest=train.digest,
        rows=train.numbers[examples],
        tokens=_tokens(train.store, train.at(examples, swapped), device, kept),
        targets=torch.from_numpy(train.targets[examples]).to(device),
        weights=torch.from_numpy(train.weights[examples]).to(device),
    )


def _freeze(models: Mapping[str, TaskModel], phase: Phase) -> None:
    """Gradients for what the phase trains: everything, or all but the encoders. A `Frozen` encoder stays frozen."""
    for model in models.values():
        for branch in model.branches:
            if not isinstance(branch.encoder, Frozen):
                branch.encoder.requires_grad_(phase.trainable == "all")


def _named(optimiser: torch.optim.AdamW) -> Iterator[tuple[str, torch.nn.Parameter]]:
    for group in optimiser.param_groups:
        yield from zip(group["names"], group["params"], strict=True)

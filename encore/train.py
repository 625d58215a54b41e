"""Training is a generator: it yields a report for every step and every epoch, and calls nobody back.

Consumers log, prune and save; leaving the generator stops training. `FitState` holds all that is needed to go on, bit for bit.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from encore import catalogue, optim, rng, step
from encore.data.batches import batches_of, collate, epoch_order, evaluation_batches
from encore.data.tokenise import TokenStore
from encore.encoder.encoder import Frozen
from encore.errors import RecipeError
from encore.kept import Kept, keep
from encore.model import TaskModel, predict_scores, unique_parameters, word_tables
from encore.statistics import MetricWarning
from encore.types import Batch, EvalReport, LabelSpace, Loss, Phase, StepReport, Tokens

__all__ = ["FitState", "Rows", "Stream", "fit", "higher_is_better", "score_rows"]

TRAIN = "train"


@dataclass(frozen=True)
class Rows:
    """Tokenised examples with what training or evaluation needs of them, line by line. (`digest`, `numbers[i]`) names example i."""

    store: TokenStore
    targets: np.ndarray
    digest: str
    numbers: np.ndarray
    weights: np.ndarray                         # (rows,) float32

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class Stream:
    """One task as `fit` sees it. `chances`: (rows,) probabilities for sampling with replacement, or None for each row once per epoch."""

    name: str
    labels: LabelSpace
    train: Rows
    dev: Mapping[str, Rows]
    metrics: Sequence[str]
    losses: Mapping[str, tuple[float, Loss]]
    chances: np.ndarray | None = None


@dataclass
class FitState:
    """Where a run stands. Everything random is a function of (seed, step, purpose), so nothing random is in here."""

    models: Mapping[str, TaskModel]
    optimiser: torch.optim.AdamW | None = None
    phase: int = 0
    epoch: int = 0                              # epochs finished, over all phases
    batch: int = 0                              # batches finished in the epoch under way
    step: int = 0                               # optimiser steps finished, over all phases
    phase_step: int = 0
    best: float | None = None
    waited: int = 0                             # epochs since the best one
    finished: bool = False
    sums: dict[str, list[float]] = field(default_factory=dict)          # task → [loss · weight, weight] of the epoch under way
    seen: dict[str, list[np.ndarray]] = field(default_factory=dict)     # task → scores of the epoch's batches, in order

    def numbers(self) -> dict[str, Any]:
        """All that is not a tensor, ready for JSON. Floats survive JSON exactly."""
        plain = ("phase", "epoch", "batch", "step", "phase_step", "best", "waited", "finished", "sums")
        return {name: getattr(self, name) for name in plain} | {"decays": [table.decay for table in word_tables(self.models.values())]}

    def tensors(self) -> dict[str, Tensor]:
        """Parameters, optimiser state and the epoch's scores so far, by name. Aliases, not copies."""
        found: dict[str, Tensor] = {f"model/{name}": p.detach() for name, p in unique_parameters(self.models).items()}
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
        parameters = unique_parameters(self.models)
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
    state: FitState | None = None,
) -> Iterator[StepReport | EvalReport]:
    """Train `models` on `streams` by `plan`, from `state` on.

    `micro_batch`: rows computed at once (the result does not depend on it but for rounding). `patience`: stop after this many epochs without a better
    dev score, the mean over the tasks of their first metric on their first dev set. Raises TrainingError where the loss is not finite.
    """
    if state is None:
        state = FitState(models)
        state.narrow(streams)
    for losses in (stream.losses for stream in streams.values()):
        coupled = [name for name, (_, loss) in losses.items() if loss.couples_rows]
        if coupled and micro_batch is not None:
            raise RecipeError(f"plan.micro_batch: the loss '{coupled[0]}' compares the rows of a batch with each other; leave plan.micro_batch out.")
    for model in models.values():
        model.train()
    while state.phase < len(plan) and not state.finished:
        phase = plan[state.phase]
        _freeze(models, phase)
        kept = _kept(models, streams) if phase.trainable == "heads" else {}
        if state.optimiser is None:
            state.optimiser = optim.adamw(unique_parameters(models), phase)
        epochs_before = sum(earlier.epochs for earlier in plan[: state.phase])
        per_epoch = sum(-(-len(streams[task].train) // phase.batch_size) for task in phase.tasks)
        total = per_epoch * phase.epochs
        while state.epoch - epochs_before < phase.epochs and not state.finished:
            yield from _epoch(models, phase, streams, state, kept, seed=seed, micro_batch=micro_batch, total=total)
            yield _evaluate(models, phase, streams, state, kept, seed=seed, patience=patience, epochs=sum(each.epochs for each in plan))
        state.phase, state.phase_step = state.phase + 1, 0
        if state.phase < len(plan):
            following = plan[state.phase]
            _freeze(models, following)
            state.optimiser = None if following.fresh_optimiser else optim.carried(state.optimiser, unique_parameters(models), following)


def _epoch(
    models: Mapping[str, TaskModel],
    phase: Phase,
    streams: Mapping[str, Stream],
    state: FitState,
    kept: Mapping[tuple[str, str], Kept],
    *,
    seed: int,
    micro_batch: int | None,
    total: int,
) -> Iterator[StepReport]:
    batches = _schedule(phase, streams, seed, state.epoch)
    if state.batch == 0:
        state.sums = {task: [0.0, 0.0] for task in phase.tasks}
        state.seen = {task: [] for task in phase.tasks}
    assert state.optimiser is not None
    while state.batch < len(batches):
        task, rows = batches[state.batch]
        stream = streams[task]
        size = micro_batch or len(rows)
        device = next(models[task].parameters()).device
        parts = [_batch(stream, rows[start : start + size], device, kept.get((task, TRAIN))) for start in range(0, len(rows), size)]
        lr = phase.lr * phase.curve(state.phase_step, total)
        outcome = step.take(models[task], parts, stream.losses, state.optimiser, seed=seed, step=state.step + 1, lr=lr, clip_norm=phase.clip_norm)
        state.step, state.phase_step, state.batch = state.step + 1, state.phase_step + 1, state.batch + 1
        state.sums[task][0] += outcome.loss * outcome.weight
        state.sums[task][1] += outcome.weight
        state.seen[task].append(outcome.scores)
        yield StepReport(
            step=state.step,
            epoch=state.epoch + 1,
            steps_in_epoch=len(batches),
            task=task,
            loss=outcome.loss,
            terms=outcome.terms,
            lr=lr,
            grad_norm=outcome.grad_norm,
            n_tokens=sum(part.tokens.n_tokens for part in parts),
            n_rows=len(rows),
        )


def _evaluate(
    models: Mapping[str, TaskModel],
    phase: Phase,
    streams: Mapping[str, Stream],
    state: FitState,
    kept: Mapping[tuple[str, str], Kept],
    *,
    seed: int,
    patience: int | None,
    epochs: int,
) -> EvalReport:
    """Close the epoch: score every dev set, and decide whether this is the best one and whether it is the last."""
    batches = _schedule(phase, streams, seed, state.epoch)
    train: dict[str, dict[str, float]] = {}
    for task in phase.tasks:
        stream = streams[task]
        order = np.concatenate([rows for name, rows in batches if name == task])
        loss, weight = state.sums[task]
        train[task] = {"loss": loss / weight, **_metrics(stream, np.concatenate(state.seen[task]), stream.train.targets[order])}
    scores = {
        task: {name: score_rows(models[task], rows, stream.labels, kept.get((task, name))) for name, rows in stream.dev.items()}
        for task, stream in streams.items()
    }
    dev = {task: {name: _metrics(streams[task], found, streams[task].dev[name].targets) for name, found in sets.items()} for task, sets in scores.items()}
    signed = [_deciding(streams[task], sets) for task, sets in dev.items() if sets and streams[task].metrics]
    selected = sum(signed) / len(signed) if signed else None
    is_best = selected is None or state.best is None or selected > state.best
    if is_best:
        state.best, state.waited = selected, 0
    else:
        state.waited += 1
    state.epoch, state.batch = state.epoch + 1, 0
    state.finished = state.epoch == epochs or (patience is not None and state.waited >= patience)
    state.sums, state.seen = {}, {}
    return EvalReport(state.epoch, state.step, train, dev, scores, selected, is_best, state.finished)


def score_rows(model: TaskModel, rows: Rows, labels: LabelSpace, kept: Kept | None = None) -> np.ndarray:
    """(rows, n_scores) float32, in the order of `rows`. `kept`: what the model's frozen encoder gives to these rows."""
    device = next(model.parameters()).device
    batches = ((numbers, _tokens(rows, numbers, device, kept)) for numbers in evaluation_batches(rows.store.lengths))
    return predict_scores(model, batches, len(rows), labels.n_scores)


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


def _schedule(phase: Phase, streams: Mapping[str, Stream], seed: int, epoch: int) -> list[tuple[str, np.ndarray]]:
    """The batches of one epoch: an exact partition of every task's rows, the tasks' batches shuffled together. A function of its arguments alone."""
    batches = []
    for task in phase.tasks:
        train = streams[task].train
        order = epoch_order(len(train), seed, task, epoch, streams[task].chances)
        batches += [(task, rows) for rows in batches_of(order, phase.batch_size, train.store.lengths)]
    if len(phase.tasks) > 1:
        batches = [batches[number] for number in rng.generator(seed, "mixing", epoch).permutation(len(batches))]
    return batches


def _kept(models: Mapping[str, TaskModel], streams: Mapping[str, Stream]) -> dict[tuple[str, str], Kept]:
    """(task, set) → what the encoder gives to its rows; a training set is called "train", which no dev set is."""
    sets = {(task, name): rows for task, stream in streams.items() for name, rows in {TRAIN: stream.train, **stream.dev}.items()}
    return {(task, name): keep(models[task], rows.store) for (task, name), rows in sets.items()}


def _tokens(rows: Rows, numbers: np.ndarray, device: torch.device, kept: Kept | None) -> Tokens:
    tokens = collate(rows.store, numbers, device)
    return tokens if kept is None else kept.with_lines(tokens, numbers)


def _batch(stream: Stream, rows: np.ndarray, device: torch.device, kept: Kept | None) -> Batch:
    train = stream.train
    return Batch(
        task=stream.name,
        digest=train.digest,
        rows=train.numbers[rows],
        tokens=_tokens(train, rows, device, kept),
        targets=torch.from_numpy(train.targets[rows]).to(device),
        weights=torch.from_numpy(train.weights[rows]).to(device),
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

"""Training is a generator: it yields a report for every step and every epoch, and calls nobody
back.

Consumers log, prune and save; leaving the generator stops training. `FitState` holds all that is
needed to go on, bit for bit.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from encore import catalogue, rng
from encore.data.batches import batch_places, epoch_order
from encore.errors import RecipeError
from encore.evaluation.metric import MetricWarning
from encore.model.feature_cache import FeatureCache, cache_features, fits_in_memory, frozen_branches
from encore.model.task_model import TaskModel
from encore.techniques.mixing.even import Even
from encore.training import optimiser, step
from encore.training.reports import EvalReport, StepReport
from encore.training.scoring import collate_cached, score_rows
from encore.training.state import FitState, freeze, own_losses
from encore.training.streams import TRAIN, Stream
from encore.types import Batch, BatchIndex, Combine, Mixing, Phase, TaskSize

__all__ = ["higher_is_better", "steps_in", "train_loop"]


def train_loop(
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

    `micro_batch`: rows computed at once (the result does not depend on it but for rounding).
    `patience`: stop after this many epochs without a better dev score, the mean over the tasks of
    their first metric on their first dev set. `mixing`: whose turn it is, `Even()` if None.
    `combine`: what becomes of the gradients of a step of several tasks, their sum if None. Raises
    TrainingError where the loss is not finite.
    """
    if state is None:
        state = FitState(models, own_losses(streams))
        state.narrow(streams)
    for losses in (stream.losses for stream in streams.values()):
        coupled = [name for name, (_, loss) in losses.items() if loss.couples_rows]
        if coupled and micro_batch is not None:
            raise RecipeError(
                f"plan.micro_batch: the loss '{coupled[0]}' compares the rows of a batch with "
                f"each other; leave plan.micro_batch out."
            )
    device = next(next(iter(models.values())).parameters()).device
    for module in (
        *models.values(),
        *(loss.to(device) for own in state.losses.values() for loss in own.values()),
    ):
        module.train()
    epochs = sum(phase.epochs for phase in plan)
    while state.phase < len(plan) and not state.finished:
        phase = plan[state.phase]
        freeze(models, phase)
        kept = _kept(models, streams, phase)
        if state.optimiser is None:
            state.optimiser = optimiser.adamw(state.parameters, phase)
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
            freeze(models, following)
            state.optimiser = (
                None
                if following.fresh_optimiser
                else optimiser.carried(state.optimiser, state.parameters, following)
            )


def steps_in(phase: Phase, streams: Mapping[str, Stream], mixing: Mixing, seed: int) -> int:
    """Optimiser steps of one epoch."""
    return len(mixing(_extents(phase, streams), seed=seed, epoch=0, epochs=phase.epochs))


@dataclass(frozen=True)
class _Epoch:
    """What the epochs of a phase have in common."""

    models: Mapping[str, TaskModel]
    phase: Phase
    streams: Mapping[str, Stream]
    kept: Mapping[tuple[str, str], FeatureCache]
    mixing: Mixing
    combine: Combine | None
    seed: int
    epochs: int  # of the whole run

    def steps(self, epoch: int) -> list[tuple[BatchIndex, ...]]:
        return self.mixing(
            _extents(self.phase, self.streams), seed=self.seed, epoch=epoch, epochs=self.epochs
        )


def _extents(phase: Phase, streams: Mapping[str, Stream]) -> dict[str, TaskSize]:
    return {
        task: TaskSize(n := len(streams[task].train), -(-n // _batch_size(phase, streams[task])))
        for task in phase.tasks
    }


def _batch_size(phase: Phase, stream: Stream) -> int:
    return stream.batch_size or phase.batch_size


class _Orders:
    """The rows of one batch after the other. An order is kept until the task's next one is asked
    for.
    """

    def __init__(self, epoch: _Epoch) -> None:
        self.epoch = epoch
        self.latest: dict[str, tuple[int, np.ndarray, np.ndarray | None]] = {}

    def rows(self, draw: BatchIndex) -> tuple[np.ndarray, np.ndarray | None]:
        """(examples,) of the draw, by length; and which pairs are turned round."""
        stream, seed = self.epoch.streams[draw.task], self.epoch.seed
        n_rows, size = len(stream.train), _batch_size(self.epoch.phase, stream)
        if draw.task not in self.latest or self.latest[draw.task][0] != draw.order:
            order = epoch_order(n_rows, seed, draw.task, draw.order, stream.chances)
            swapped = (
                rng.generator(seed, "pair order", draw.task, draw.order).random(n_rows) < 0.5
                if stream.random_order
                else None
            )
            self.latest[draw.task] = (draw.order, order, swapped)
        _, order, swapped = self.latest[draw.task]
        places = batch_places(order, draw.number, size, stream.train.lengths)
        return order[places], None if swapped is None else swapped[places]


def _train(
    epoch: _Epoch,
    steps: Sequence[tuple[BatchIndex, ...]],
    state: FitState,
    *,
    micro_batch: int | None,
    total: int,
) -> Iterator[StepReport]:
    """What is left of the epoch under way."""
    phase, orders = epoch.phase, _Orders(epoch)
    if state.batch == 0:
        state.sums = {task: [0.0, 0.0] for task in phase.tasks}
        state.seen = {task: [] for task in phase.tasks}
    assert state.optimiser is not None
    while state.batch < len(steps):
        parts = [_part(epoch, draw, orders, state, micro_batch) for draw in steps[state.batch]]
        factor = 1.0 if phase.curve is None else phase.curve(state.phase_step, total)
        lr = phase.lr * factor
        how: dict[str, Any] = {
            "seed": epoch.seed,
            "step": state.step + 1,
            "lr": lr,
            "clip_norm": phase.clip_norm,
            "combine": epoch.combine,
        }
        outcome = step.take_step(parts, state.optimiser, **how)
        state.step, state.phase_step, state.batch = (
            state.step + 1,
            state.phase_step + 1,
            state.batch + 1,
        )
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


def _part(
    epoch: _Epoch, draw: BatchIndex, orders: _Orders, state: FitState, micro_batch: int | None
) -> step.StepInput:
    """One task's share of a step."""
    stream, own = epoch.streams[draw.task], state.losses.get(draw.task, {})
    examples, swapped = orders.rows(draw)
    size = micro_batch or len(examples)
    device = next(epoch.models[draw.task].parameters()).device
    kept = epoch.kept.get((draw.task, TRAIN))
    micro_batches = []
    for start in range(0, len(examples), size):
        some = slice(start, start + size)
        micro_batches.append(
            _batch(stream, examples[some], None if swapped is None else swapped[some], device, kept)
        )
    share = len(examples) / _batch_size(epoch.phase, stream) if epoch.mixing.nominal else 1.0
    losses: dict[str, tuple[float, Any]] = {
        name: (weight * share, own.get(name, loss))
        for name, (weight, loss) in stream.losses.items()
    }
    return step.StepInput(epoch.models[draw.task], micro_batches, losses)


def _evaluate(
    epoch: _Epoch, steps: Sequence[tuple[BatchIndex, ...]], state: FitState, *, patience: int | None
) -> EvalReport:
    """Close the epoch: score every dev set, and decide whether this is the best one and whether it
    is the last.
    """
    models, streams = epoch.models, epoch.streams
    train: dict[str, dict[str, float]] = {}
    orders = _Orders(epoch)
    met: dict[str, list[np.ndarray]] = {task: [] for task in epoch.phase.tasks}
    for draw in (draw for draws in steps for draw in draws):
        met[draw.task].append(orders.rows(draw)[0])
    for task, (loss, weight) in state.sums.items():
        if weight:  # a task that is drawn by chance may have had no turn
            targets = streams[task].train.targets[np.concatenate(met[task])]
            train[task] = {
                "loss": loss / weight,
                **_metrics(streams[task], np.concatenate(state.seen[task]), targets),
            }
    scores = {
        task: {
            name: score_rows(models[task], rows, stream.labels, epoch.kept.get((task, name)))
            for name, rows in stream.dev.items()
        }
        for task, stream in streams.items()
    }
    dev = {
        task: {
            name: _metrics(streams[task], found, streams[task].dev[name].targets)
            for name, found in sets.items()
        }
        for task, sets in scores.items()
    }
    signed = {
        task: _deciding(streams[task], sets)
        for task, sets in dev.items()
        if sets and streams[task].metrics
    }
    selected = sum(signed.values()) / len(signed) if signed else None
    is_best = selected is None or state.best is None or selected > state.best
    if is_best:
        state.best, state.waited = selected, 0
    else:
        state.waited += 1
    best = tuple(
        task
        for task, value in signed.items()
        if task not in state.bests or value > state.bests[task]
    )
    state.bests = state.bests | {task: signed[task] for task in best}
    state.epoch, state.batch = state.epoch + 1, 0
    state.finished = state.epoch == epoch.epochs or (
        patience is not None and state.waited >= patience
    )
    state.sums, state.seen = {}, {}
    return EvalReport(
        state.epoch, state.step, train, dev, scores, selected, is_best, state.finished, best
    )


def higher_is_better(metric: str) -> bool:
    """Whether greater values of the named metric are better."""
    return catalogue.find("metrics", metric).higher_is_better


def _metrics(stream: Stream, scores: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", MetricWarning
        )  # a constant output early on is no news; the final figures say so
        return {
            name: float(catalogue.find("metrics", name)(scores, targets, stream.labels))
            for name in stream.metrics
        }


def _deciding(stream: Stream, sets: Mapping[str, Mapping[str, float]]) -> float:
    """The first metric on the first dev set, with its sign turned where lower is better."""
    value = next(iter(sets.values()))[stream.metrics[0]]
    return value if higher_is_better(stream.metrics[0]) else -value


def _kept(
    models: Mapping[str, TaskModel], streams: Mapping[str, Stream], phase: Phase
) -> dict[tuple[str, str], FeatureCache]:
    """(task, set) → what the encoders that do not change give to its rows; a training set is called
    "train", which no dev set is.
    """
    sets = {
        task: {TRAIN: stream.train.store, **{name: rows.store for name, rows in stream.dev.items()}}
        for task, stream in streams.items()
    }
    heads_only = phase.trainable == "heads"
    if not heads_only and not fits_in_memory(
        models, {task: list(stores.values()) for task, stores in sets.items()}
    ):
        return {}
    which = {task: frozen_branches(models[task], all_of_them=heads_only) for task in sets}
    return {
        (task, name): cache_features(models[task], store, which[task])
        for task, stores in sets.items()
        for name, store in stores.items()
        if any(which[task])
    }


def _batch(
    stream: Stream,
    examples: np.ndarray,
    swapped: np.ndarray | None,
    device: torch.device,
    kept: FeatureCache | None,
) -> Batch:
    train = stream.train
    return Batch(
        task=stream.name,
        digest=train.digest,
        rows=train.numbers[examples],
        tokens=collate_cached(train.store, train.at(examples, swapped), device, kept),
        targets=torch.from_numpy(train.targets[examples]).to(device),
        weights=torch.from_numpy(train.weights[examples]).to(device),
    )

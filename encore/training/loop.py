"""The training loop, a generator: it yields a report for every step and every epoch, and has no
callbacks.

Consumers log, prune and save; leaving the generator stops training. `FitState` holds all that is
needed to resume bit for bit.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from encore import catalogue
from encore.evaluation.metric import MetricWarning
from encore.evaluation.predictions import row_losses
from encore.model.feature_cache import (
    FeatureCache,
    cache_features,
    fits_in_memory,
    frozen_branches,
    partly_fixed,
)
from encore.model.parameters import word_tables
from encore.model.selection import freezes_encoder
from encore.model.task_model import TaskModel
from encore.training import optimiser, phases, step
from encore.training.epoch_scores import EpochScores
from encore.training.forked_ranks import forked
from encore.training.groups import PhaseStart, groups_of
from encore.training.ranks import Alone, Ranks
from encore.training.reports import EvalReport, StepReport
from encore.training.row_orders import RowOrders, batch_size_of
from encore.training.scoring import score_rows
from encore.training.state import FitState, freeze, own_losses
from encore.training.step_inputs import StepInputs
from encore.training.streams import TRAIN, Rows, Stream
from encore.types import BatchIndex, Combine, Mixing, Phase, Progress, TaskSize

__all__ = ["TrainSettings", "higher_is_better", "steps_in", "train_loop"]
_DIAGNOSED_ONCE_IN = 50  # steps


@dataclass(frozen=True)
class TrainSettings:
    """Settings of training that hold for all phases and tasks.

    mixing: whose turn it is. micro_batch: rows computed at once, None for whole batches (the result
    does not depend on it but for rounding). patience: epochs without a better dev score after which
    a phase ends, None for never. combine: how the gradients of a step of several tasks become one,
    None for their sum. score_train: the metrics on training rows are of eval mode, after the epoch.
    shares: the processes that compute the run together, each a share of every batch; one, in phases
    whose encoders are frozen, where a step is too short for it to pay.
    """

    seed: int
    mixing: Mixing
    micro_batch: int | None = None
    patience: int | None = None
    combine: Combine | None = None
    score_train: bool = False
    shares: int = 1


def train_loop(
    models: Mapping[str, TaskModel],
    plan: Sequence[Phase],
    streams: Mapping[str, Stream],
    settings: TrainSettings,
    *,
    state: FitState | None = None,
) -> Generator[StepReport | EvalReport, None, None]:
    """Train `models` on `streams` by `plan`, from `state` on.

    The dev score is the mean over the tasks of their first metric on their first dev set. Raises
    TrainingError where the loss is not finite.
    """
    if state is None:
        state = FitState(models, own_losses(streams))
        state.narrow(streams)
    device = next(next(iter(models.values())).parameters()).device
    for module in (
        *models.values(),
        *(loss.to(device) for own in state.losses.values() for loss in own.values()),
    ):
        module.train()
    while state.phase < len(plan) and not state.finished:
        phase = plan[state.phase]
        freeze(models, phase, state.infos)
        state.begin_average(phase)
        if state.optimiser is None:
            state.optimiser = optimiser.adamw(state.parameters, phase, state.infos)
        caches = _feature_caches(models, streams, phase)
        training = _PhaseTraining(models, state.phase, plan, streams, caches, settings)
        shares = 1 if freezes_encoder(phase) else settings.shares
        run, tables = partial(_run, training, state), word_tables(models.values())
        with forked(shares, settings.shares, state.optimiser, tables, run) as ranks:
            yield from replace(training, ranks=ranks).run(state)
        phases.advance(state, plan, settings.patience)
        if state.phase < len(plan):
            following = plan[state.phase]
            freeze(models, following, state.infos)
            state.average = None if following.fresh_optimiser else state.average
            state.optimiser = (
                None
                if following.fresh_optimiser
                else optimiser.carried(state.optimiser, state.parameters, following, state.infos)
            )


def _run(training: _PhaseTraining, state: FitState, ranks: Ranks) -> None:
    """The whole phase on a rank that nobody asks for reports."""
    for _ in replace(training, ranks=ranks).run(state):
        pass


def steps_in(phase: Phase, streams: Mapping[str, Stream], mixing: Mixing, seed: int) -> int:
    """Optimiser steps of one epoch."""
    return len(mixing(_task_sizes(phase, streams), seed=seed, epoch=0, epochs=phase.epochs))


def _task_sizes(phase: Phase, streams: Mapping[str, Stream]) -> dict[str, TaskSize]:
    return {
        task: TaskSize(n := len(streams[task].train), -(-n // batch_size_of(phase, streams[task])))
        for task in phase.tasks
    }


@dataclass(frozen=True)
class _PhaseTraining:
    """A phase of the plan: its epochs, each trained and evaluated. number: its place in the plan.
    caches: (task, set) → features of encoders that do not change.
    """

    models: Mapping[str, TaskModel]
    number: int
    plan: Sequence[Phase]
    streams: Mapping[str, Stream]
    caches: Mapping[tuple[str, str], FeatureCache]
    settings: TrainSettings
    ranks: Ranks = field(default_factory=Alone)

    def run(self, state: FitState) -> Iterator[StepReport | EvalReport]:
        """The rest of the phase."""
        assert state.optimiser is not None
        found = groups_of(state.optimiser, state.infos, self.phase.lr)
        start: PhaseStart | None = PhaseStart(
            self.number + 1, len(self.plan), self.phase.epochs, found
        )
        while not phases.is_over(state, self.plan, self.settings.patience):
            yield from self.train(state, start)
            yield self.evaluate(state)
            start = None

    @property
    def phase(self) -> Phase:
        return self.plan[self.number]

    @property
    def epochs(self) -> int:
        """Epochs of the whole plan."""
        return sum(phase.epochs for phase in self.plan)

    def steps(self, epoch: int) -> list[tuple[BatchIndex, ...]]:
        return self.settings.mixing(
            _task_sizes(self.phase, self.streams),
            seed=self.settings.seed,
            epoch=epoch,
            epochs=self.epochs,
        )

    def train(self, state: FitState, start: PhaseStart | None) -> Iterator[StepReport]:
        """Train the rest of the current epoch, step by step. start: for the first report."""
        phase, settings = self.phase, self.settings
        steps, inputs = self.steps(state.epoch), self._inputs()
        if state.batch == 0:
            state.sums = {task: [0.0, 0.0] for task in phase.tasks}
            state.seen = {task: EpochScores() for task in phase.tasks}
        assert state.optimiser is not None
        while state.batch < len(steps):
            draws, diagnosed = steps[state.batch], _diagnosed(steps, state.batch)
            parts = [
                inputs.of(draw, state.losses.get(draw.task, {}), diagnosed=draw.task in diagnosed)
                for draw in draws
            ]
            lr = phase.lr * self._curve_factor(state, len(steps))
            optimiser.set_rate(state.optimiser, lr)
            outcome = step.take_step(
                parts,
                state.optimiser,
                seed=settings.seed,
                step=state.step + 1,
                clip_norm=phase.clip_norm,
                combine=settings.combine,
                ranks=self.ranks,
            )
            state.count_step(outcome)
            self._average(state, "step")
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
                phase=start,
                diagnostics=step.diagnostics_of(outcome.parts),
            )
            start = None

    def _inputs(self) -> StepInputs:
        settings = self.settings
        orders = RowOrders(self.streams, self.phase, settings.seed)
        return StepInputs(
            self.models,
            self.streams,
            self.phase,
            orders,
            self.caches,
            self.ranks.size,
            settings.micro_batch,
            settings.mixing.nominal,
        )

    def _average(self, state: FitState, after: str) -> None:
        """Take the weights into the average of the phase, if it adds them after this."""
        average = self.phase.average
        if average is not None and average.every == after and state.average is not None:
            state.average.add(average)

    def _curve_factor(self, state: FitState, steps_in_epoch: int) -> float:
        """The curve's factor at the step that comes next."""
        phase = self.phase
        if phase.curve is None:
            return 1.0
        if phase.curve_spans == "plan":
            mixing, seed = self.settings.mixing, self.settings.seed
            steps = sum(steps_in(one, self.streams, mixing, seed) * one.epochs for one in self.plan)
            place = Progress(state.step, steps, state.epoch, self.epochs, phase.lr)
        else:
            place = Progress(
                state.phase_step,
                steps_in_epoch * phase.epochs,
                state.phase_epoch,
                phase.epochs,
                phase.lr,
            )
        return phase.curve(place)

    def evaluate(self, state: FitState) -> EvalReport:
        """Close the epoch: score every dev set, and decide if this epoch is the best so far, and
        if it is the last.
        """
        self._average(state, "epoch")
        with state.averaged():
            train = self._train_metrics(state)
            state.seen = {}
            begun = time.monotonic()
            scores = {
                task: {name: self._scores(task, name, rows) for name, rows in stream.dev.items()}
                for task, stream in self.streams.items()
            }
            dev_seconds = time.monotonic() - begun
        dev = {
            task: {
                name: measure(self.streams[task], found, self.streams[task].dev[name].targets)
                for name, found in sets.items()
            }
            for task, sets in scores.items()
        }
        deciding = {
            task: _deciding(self.streams[task], sets)
            for task, sets in dev.items()
            if sets and self.streams[task].metrics
        }
        selected = sum(deciding.values()) / len(deciding) if deciding else None
        is_best, best = state.close_epoch(selected, deciding, selects=self.phase.selects)
        state.finished = phases.is_last(state, self.plan, self.settings.patience)
        return EvalReport(
            epoch=state.epoch,
            step=state.step,
            train=train,
            dev=dev,
            scores=scores,
            selected=selected,
            is_best=is_best,
            is_last=state.finished,
            best=best,
            dev_loss=self._dev_loss(scores),
            dev_seconds=dev_seconds,
        )

    def _scores(self, task: str, name: str, rows: Rows) -> np.ndarray:
        features, labels = self.caches.get((task, name)), self.streams[task].labels
        return score_rows(self.models[task], rows, labels, features, self.ranks)

    def _dev_loss(
        self, scores: Mapping[str, Mapping[str, np.ndarray]]
    ) -> dict[str, dict[str, float]]:
        """The `dev_loss` of EvalReport."""
        found = {}
        for task, sets in scores.items():
            stream = self.streams[task]
            labelled = stream.labels.kind != "unlabelled"
            if sets and labelled and self.models[task].head.gives_probabilities:
                found[task] = {
                    name: float(row_losses(each, stream.dev[name].targets, stream.labels).mean())
                    for name, each in sets.items()
                }
        return found

    def _train_metrics(self, state: FitState) -> dict[str, dict[str, float]]:
        """Task → "loss" and each metric on the rows of this epoch, as they were trained on, or with
        `score_train` on all training rows in eval mode. A task that is drawn by chance may have had
        no turn.
        """
        orders = RowOrders(self.streams, self.phase, self.settings.seed)
        met: dict[str, list[np.ndarray]] = {task: [] for task in self.phase.tasks}
        for draw in (draw for draws in self.steps(state.epoch) for draw in draws):
            met[draw.task].append(orders.rows(draw)[0])
        found = {}
        for task, (loss, weight) in state.sums.items():
            if not weight:
                continue
            stream = self.streams[task]
            if self.settings.score_train:
                scores = self._scores(task, TRAIN, stream.train)
                targets = stream.train.targets
            else:
                scores = state.seen[task].added
                targets = stream.train.targets[np.concatenate(met[task])]
            found[task] = {"loss": loss / weight, **measure(stream, scores, targets)}
        return found


def higher_is_better(metric: str) -> bool:
    """True where greater values of the named metric are better."""
    return catalogue.find("metrics", metric).higher_is_better


def _diagnosed(steps: Sequence[Sequence[BatchIndex]], number: int) -> set[str]:
    """The tasks whose losses give figures about themselves at a step of an epoch: once in 50."""
    before = steps[number - number % _DIAGNOSED_ONCE_IN : number]
    earlier = {draw.task for draws in before for draw in draws}
    return {draw.task for draw in steps[number]} - earlier


def measure(stream: Stream, scores: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Each metric of a task, (rows, n_scores) scores against targets."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", MetricWarning
        )  # a constant output is common early on; the final figures have a note on it
        return {
            name: float(catalogue.find("metrics", name)(scores, targets, stream.labels))
            for name in stream.metrics
        }


def _deciding(stream: Stream, sets: Mapping[str, Mapping[str, float]]) -> float:
    """The first metric on the first dev set, with its sign turned where lower is better."""
    value = next(iter(sets.values()))[stream.metrics[0]]
    return value if higher_is_better(stream.metrics[0]) else -value


def _feature_caches(
    models: Mapping[str, TaskModel], streams: Mapping[str, Stream], phase: Phase
) -> dict[tuple[str, str], FeatureCache]:
    """(task, set) → the features of its rows from encoders that do not change; a training set is
    called "train", which no dev set is.
    """
    sets = {
        task: {TRAIN: stream.train.store, **{name: rows.store for name, rows in stream.dev.items()}}
        for task, stream in streams.items()
    }
    heads_only = freezes_encoder(phase)
    if not heads_only and not fits_in_memory(
        models, {task: list(stores.values()) for task, stores in sets.items()}
    ):
        return {}
    which = {task: frozen_branches(models[task], all_of_them=heads_only) for task in sets}
    return {
        (task, name): cache_features(models[task], store, which[task])
        for task, stores in sets.items()
        for name, store in stores.items()
        if any(which[task]) or partly_fixed(models[task])
    }

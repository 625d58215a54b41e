"""The state of a run: all that is needed to resume it, bit for bit."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from encore.model.parameters import unique_parameters, word_tables
from encore.model.selection import ParameterInfo, Selector, base_names, parameter_infos
from encore.model.task_model import TaskModel
from encore.training import optimiser as optimiser_module
from encore.training.average import RunningAverage
from encore.training.epoch_scores import EpochScores
from encore.training.step import StepResult
from encore.training.streams import Stream
from encore.types import Loss, Phase

__all__ = ["FitState", "Snapshot", "freeze", "own_losses"]


def own_losses(streams: Mapping[str, Stream]) -> dict[str, dict[str, nn.Module]]:
    """Task → term → a fresh copy of the loss, of those that are modules."""
    found: dict[str, dict[str, nn.Module]] = {}
    for task, stream in streams.items():
        own: dict[str, nn.Module] = {
            name: copy.deepcopy(loss)
            for name, (_, loss) in stream.losses.items()
            if isinstance(loss, nn.Module)
        }
        if own:
            found[task] = own
    return found


@dataclass
class FitState:
    """The state of a run, which `train_loop` changes with every step: others read a `snapshot`.
    Everything random is a function of (seed, step, purpose), so nothing random is in here.
    `losses`: those of `own_losses`.
    """

    models: Mapping[str, TaskModel]
    losses: Mapping[str, Mapping[str, nn.Module]] = field(default_factory=dict)
    optimiser: torch.optim.AdamW | None = None
    average: RunningAverage | None = None  # of the phase, where it has one
    phase: int = 0
    epoch: int = 0  # epochs finished, over all phases
    batch: int = 0  # batches finished in the epoch under way
    step: int = 0  # optimiser steps finished, over all phases
    phase_step: int = 0
    phase_epoch: int = 0  # epochs finished in this phase
    best: float | None = None
    bests: dict[str, float] = field(
        default_factory=dict
    )  # task → the best value of its own metric so far, higher is better
    waited: int = 0  # epochs since the best one
    finished: bool = False
    sums: dict[str, list[float]] = field(
        default_factory=dict
    )  # task → [loss · weight, weight] of the epoch under way
    seen: dict[str, EpochScores] = field(default_factory=dict)  # task → those of the epoch
    infos: Mapping[int, ParameterInfo] = field(init=False)  # id of a parameter → what it is

    def __post_init__(self) -> None:
        self.infos = parameter_infos(self.models)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """Everything that is trained, once: the models' and the losses' own."""
        every = unique_parameters(
            {
                **self.models,
                **{
                    f"{task}.losses.{name}": loss
                    for task, own in self.losses.items()
                    for name, loss in own.items()
                },
            }
        )
        fixed = base_names(self.models)
        return {name: each for name, each in every.items() if name not in fixed}

    @property
    def buffers(self) -> dict[str, Tensor]:
        """The tensors that losses keep beside their parameters."""
        return {
            f"{task}.losses.{term}.{name}": value
            for task, own in self.losses.items()
            for term, loss in own.items()
            for name, value in loss.named_buffers()
        }

    def count_step(self, outcome: StepResult) -> None:
        """Take an optimiser step into account."""
        for part in outcome.parts:
            for loss in self.losses.get(part.task, {}).values():
                cast(Loss, loss).after_step(self.models[part.task])
        self.step, self.phase_step, self.batch = (
            self.step + 1,
            self.phase_step + 1,
            self.batch + 1,
        )
        for part in outcome.parts:
            self.sums[part.task][0] += part.loss * part.weight
            self.sums[part.task][1] += part.weight
            self.seen[part.task].add(part.scores)

    def begin_average(self, phase: Phase) -> None:
        """The average of a phase, gone on with where it is of the phase before or restored."""
        if phase.average is None:
            self.average = None
            return
        self.average = self.average or RunningAverage(self.models)
        self.average.begin_phase()

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Inside, the models have the weights that are evaluated and kept: their average, where
        the phase has one.
        """
        return contextlib.nullcontext() if self.average is None else self.average.in_place()

    def close_epoch(
        self, selected: float | None, deciding: Mapping[str, float], *, selects: bool = True
    ) -> tuple[bool, tuple[str, ...]]:
        """Close the epoch. Returns True if it is the best so far, and the tasks for which it is.

        selected: the dev score, None where no task has a metric: then the latest is the best.
        deciding: task → its own; higher is better for both. selects: False in a phase whose epochs
        are not for keeping.
        """
        self.epoch, self.phase_epoch, self.batch = self.epoch + 1, self.phase_epoch + 1, 0
        self.sums, self.seen = {}, {}
        if not selects:
            return False, ()
        is_best = selected is None or self.best is None or selected > self.best
        if is_best:
            self.best, self.waited = selected, 0
        else:
            self.waited += 1
        best = tuple(
            task
            for task, value in deciding.items()
            if task not in self.bests or value > self.bests[task]
        )
        self.bests = self.bests | {task: deciding[task] for task in best}
        return is_best, best

    def snapshot(self) -> Snapshot:
        """The run as it is now, between two steps, for a checkpoint."""
        numbers = {
            "phase": self.phase,
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "phase_step": self.phase_step,
            "phase_epoch": self.phase_epoch,
            "best": self.best,
            "bests": dict(self.bests),
            "waited": self.waited,
            "finished": self.finished,
            "sums": copy.deepcopy(self.sums),
            "decays": [table.decay for table in word_tables(self.models.values())],
        }
        if self.average is not None:
            numbers["average"] = self.average.numbers
        return Snapshot(numbers, self)

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and their average, buffers of losses, optimiser state and the epoch's scores
        so far, by name. Aliases, not copies.
        """
        found: dict[str, Tensor] = {
            f"model/{name}": p.detach() for name, p in self.parameters.items()
        } | {f"buffers/{name}": value for name, value in self.buffers.items()}
        if self.optimiser is not None:
            found |= optimiser_module.state_tensors(self.optimiser)
        if self.average is not None:
            found |= {f"average/{name}": each for name, each in self.average.tensors.items()}
        for task, scores in self.seen.items():
            if len(scores.added):
                found[f"seen/{task}"] = torch.from_numpy(scores.added)
        return found

    def narrow(self, streams: Mapping[str, Stream]) -> None:
        """Make only those words trainable that occur in the training texts, and let losses begin.
        To be called once, before the first step or `restore`.
        """
        for table in word_tables(self.models.values()):
            met = [
                np.unique(stream.train.store.ids)
                for task, stream in streams.items()
                if table in word_tables([self.models[task]])
            ]
            table.narrow(
                torch.from_numpy(np.unique(np.concatenate(met)).astype(np.int64)).to(
                    table.weight.device
                )
            )
        self.infos = parameter_infos(self.models)  # the tables' parameters are new ones
        for task, own in self.losses.items():
            for loss in own.values():
                cast(Loss, loss).begin(self.models[task])

    def restore(
        self, numbers: Mapping[str, Any], tensors: Mapping[str, Tensor], plan: Sequence[Phase]
    ) -> None:
        """Resume from the numbers and tensors of a snapshot."""
        self.phase, self.epoch, self.batch = numbers["phase"], numbers["epoch"], numbers["batch"]
        self.step, self.phase_step = numbers["step"], numbers["phase_step"]
        self.phase_epoch = numbers["phase_epoch"]
        self.best, self.bests = numbers["best"], numbers["bests"]
        self.waited, self.finished = numbers["waited"], numbers["finished"]
        self.sums = numbers["sums"]
        for table, decay in zip(word_tables(self.models.values()), numbers["decays"], strict=True):
            table.decay = decay
        parameters = self.parameters
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(tensors[f"model/{name}"])
            for name, value in self.buffers.items():
                value.copy_(tensors[f"buffers/{name}"])
        self.optimiser = None
        if any(name.startswith("optimiser/") for name in tensors) and self.phase < len(plan):
            freeze(self.models, plan[self.phase], self.infos)
            self.optimiser = optimiser_module.adamw(parameters, plan[self.phase], self.infos)
            optimiser_module.restore_tensors(self.optimiser, tensors)
        if (kept := numbers.get("average")) is not None:
            own = {n.removeprefix("average/"): t for n, t in tensors.items() if n[:8] == "average/"}
            self.average = RunningAverage(self.models)
            self.average.restore(own, **kept)
        self.seen = {
            task: EpochScores(
                tensors[name].numpy() if (name := f"seen/{task}") in tensors else None
            )
            for task in self.sums
        }


@dataclass(frozen=True)
class Snapshot:
    """A run between two steps. `numbers`: all that is not a tensor, ready for JSON, in which floats
    survive exactly.
    """

    numbers: Mapping[str, Any]
    state: FitState

    def tensors(self) -> dict[str, Tensor]:
        """Parameters, optimiser state and the epoch's scores so far, by name: the tensors that
        train, and no copies. Raises RuntimeError where training has continued since.
        """
        place = (self.numbers["step"], self.numbers["epoch"])
        if place != (self.state.step, self.state.epoch):
            raise RuntimeError("training has continued since this snapshot was taken")
        return self.state.tensors()


def freeze(
    models: Mapping[str, TaskModel],
    phase: Phase,
    infos: Mapping[int, ParameterInfo] | None = None,
) -> None:
    """Gradients for what the phase trains. infos: of `parameter_infos`, before anything was frozen;
    None for models that nobody has frozen.
    """
    selector = Selector.parse(phase.trainable)
    known = parameter_infos(models) if infos is None else infos
    for parameter in unique_parameters(models).values():
        if (info := known.get(id(parameter))) is not None:
            fixed = info.role == "tables" and phase.rates.embedding_lr == 0
            parameter.requires_grad_(selector.selects(info) and not fixed)

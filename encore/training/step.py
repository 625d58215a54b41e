"""One optimiser step: forward, terms, backward, combine, clip, update."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from encore import rng
from encore.encoder import dropout
from encore.encoder.word_table import WordTable
from encore.errors import TrainingError
from encore.model.parameters import word_tables
from encore.model.task_model import TaskModel
from encore.training import optimiser as optimiser_module
from encore.training.ranks import Alone, Ranks, exchange_tensors
from encore.training.terms import ReadTerm, SharedReading, cache_gradients, places_of
from encore.types import Batch, Combine, Loss

# fmt: off
__all__ = [
    "StepInput", "StepResult", "TaskStepResult", "diagnostics_of", "remedy_for", "take_step",
    "terms_of", "update",
]
# fmt: on

T = TypeVar("T")


@dataclass(frozen=True)
class StepInput:
    """One task's part of a step: a batch, whole or as micro-batches in order, and the terms of its
    loss with their weights. diagnoses: its terms give figures about themselves. owners: the rank
    that computes each micro-batch, ascending; none: the only one.
    """

    model: TaskModel
    micro_batches: Sequence[Batch]
    losses: Mapping[str, tuple[float, Loss]]
    diagnoses: bool = False
    owners: Sequence[int] = ()

    def own(self, ranks: Ranks) -> list[int]:
        """The numbers of the micro-batches that this rank computes."""
        every = range(len(self.micro_batches))
        return [at for at in every if not self.owners or self.owners[at] == ranks.rank]


@dataclass(frozen=True)
class TaskStepResult:
    """The result of a step for one task. `terms`: each loss term before its weight. `scores`:
    (rows, n_scores), with dropout, as the loss had them. diagnostics: term → figure → value.
    """

    task: str
    loss: float
    terms: Mapping[str, float]
    scores: np.ndarray
    weight: float
    diagnostics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class StepResult:
    """The result of a step. `loss`: the sum over its tasks."""

    parts: tuple[TaskStepResult, ...]
    loss: float
    grad_norm: float


def take_step(
    parts: Sequence[StepInput],
    optimiser: torch.optim.AdamW,
    *,
    seed: int,
    step: int,
    clip_norm: float | None,
    combine: Combine | None = None,
    ranks: Ranks | None = None,
) -> StepResult:
    """Train on one batch of one task or of each of several, whose gradients are added unless
    `combine` makes something else of them.

    Micro-batches change nothing but the rounding: every term is a sum divided by the weight of the
    whole batch, and dropout draws for each row what the whole batch would have drawn. Nor do
    `ranks`, each of which computes its micro-batches; all of them get the same result. Raises
    TrainingError where the loss is not finite.
    """
    ranks = ranks or Alone()
    computed, gradients = [], []
    for number, part in enumerate(parts):
        computed.append(_backward(part, seed, step, number, ranks))
        if combine is not None and len(parts) > 1:
            gradients.append(_taken(optimiser, ranks))
    # Before the ranks wait for one another, which they do where they exchange results.
    ranks.publish(optimiser_module.parameters_of(optimiser))
    done = [_of_all_ranks(each, ranks) for each in computed]
    value = sum(outcome.loss for outcome in done)
    if not math.isfinite(value):
        broken = ", ".join(
            f"{name} = {term}" for name, term in terms_of(done).items() if not math.isfinite(term)
        )
        raise TrainingError(
            f"step {step}: the loss is not finite ({broken}). {remedy_for(optimiser)}"
        )
    if combine is not None and gradients:
        draw = rng.generator(seed, "combine", step)
        for parameter, gradient in combine(
            gradients, [draw.permutation(len(parts)).tolist() for _ in parts]
        ).items():
            # Each rank has combined the same gradients of the whole batch; they count once.
            parameter.grad = None if ranks.rank else gradient
        ranks.publish(optimiser_module.parameters_of(optimiser))
        ranks.wait()
    tables = word_tables([part.model for part in parts])
    norm = update(optimiser, tables, step=step, loss=value, clip_norm=clip_norm, ranks=ranks)
    return StepResult(tuple(done), value, norm)


def update(
    optimiser: torch.optim.AdamW,
    tables: Sequence[WordTable],
    *,
    step: int,
    loss: float,
    clip_norm: float | None,
    ranks: Ranks | None = None,
) -> float:
    """Clip the gradients and update; returns their norm before. tables: as of
    `optimiser.step`. Raises TrainingError where the norm is not finite.
    """
    norm = float(optimiser_module.step(optimiser, tables, clip_norm, ranks))
    if not math.isfinite(norm):
        raise TrainingError(
            f"step {step}: the gradient is not finite (loss {loss:.4g}). {remedy_for(optimiser)}"
        )
    return norm


def remedy_for(optimiser: torch.optim.AdamW) -> str:
    """A rate of 0, as at the first step of a warm-up, has changed nothing."""
    highest = max(group["lr"] for group in optimiser.param_groups)
    if highest == 0:
        return "Check the weights of the encoder: they may not be finite. Or try precision=fp32."
    return f"Lower plan.lr (now {highest:.2g} at this step), or try precision=fp32."


def terms_of(parts: Sequence[TaskStepResult]) -> dict[str, float]:
    """The loss terms by name, with the task's name in front where there are several tasks."""
    return _by_term({part.task: part.terms for part in parts})


def diagnostics_of(parts: Sequence[TaskStepResult]) -> dict[str, Mapping[str, float]]:
    """The figures about the loss terms, named as by `terms_of`."""
    return _by_term({part.task: part.diagnostics for part in parts})


def _by_term(found: Mapping[str, Mapping[str, T]]) -> dict[str, T]:
    prefixed = len(found) > 1
    return {
        f"{task}.{name}" if prefixed else name: value
        for task, terms in found.items()
        for name, value in terms.items()
    }


@dataclass(frozen=True)
class _Computed:
    """A task's part of a step as one rank has computed it. values, scores, figures of diagnoses: of
    its micro-batches. known: the terms that each rank knows for the whole batch.
    """

    part: StepInput
    values: Mapping[str, float]
    known: Mapping[str, float]
    scores: Sequence[Tensor]
    figures: Mapping[str, Sequence[Mapping[str, float]]]


def _backward(part: StepInput, seed: int, step: int, number: int, ranks: Ranks) -> _Computed:
    """Add the gradients of one task, which are none where its encoder is frozen and its head has no
    weights. `number`: its place in the step, so that no two tasks of a step draw the same masks.
    """
    drawing = partial(dropout.drawing, seed, step, task_index=number)
    read = _read_terms(part)
    values = dict.fromkeys(part.losses, 0.0)
    is_split = len(part.micro_batches) > 1
    coupled = [term for term in read if is_split and term.loss.couples_rows]
    own = part.own(ranks)
    sharing = SharedReading(ranks, part.owners or [0] * len(part.micro_batches))
    cached = cache_gradients(part.model, part.micro_batches, coupled, drawing, sharing)
    scores = []
    places = places_of((batch.tokens, len(batch.rows)) for batch in part.micro_batches)
    figures: dict[str, list[Mapping[str, float]]] = {term.name: [] for term in read}
    for at in own:
        batch = part.micro_batches[at]
        with drawing(places[at]):
            output = part.model(batch.tokens)
            total: Tensor | float = 0.0
            for term in read:
                if term.name in cached:
                    total = total + cached[term.name].pull(at, part.model, batch, output)
                    continue
                value = term.value(part.model, batch, output)
                values[term.name] += float(value.detach())
                total = total + term.weight * value
            if isinstance(total, Tensor) and total.requires_grad:
                total.backward()
            if part.diagnoses:
                for term in read:
                    figures[term.name].append(term.diagnose(part.model, batch, output))
        scores.append(output.scores.detach().cpu())
    known = {name: each.value for name, each in cached.items()}
    return _Computed(part, values, known, scores, figures)


def _of_all_ranks(computed: _Computed, ranks: Ranks) -> TaskStepResult:
    """The result of the whole batch."""
    part, figures = computed.part, computed.figures
    own = {"scores": torch.cat(list(computed.scores))} if computed.scores else {}
    every = exchange_tensors(ranks, own, [computed.values, figures])
    values: dict[str, float] = {
        name: sum(about[0][name] for _, about in every) for name in computed.values
    }
    values |= computed.known
    found = torch.cat([each for tensors, _ in every for each in tensors.values()]).numpy()
    sizes = [len(batch.rows) for batch in part.micro_batches]
    about: dict[str, Mapping[str, float]] = {
        name: mean
        for name in figures
        if (mean := _mean([one for _, each in every for one in each[1][name]], sizes))
    }
    loss = sum(weight * values[name] for name, (weight, _) in part.losses.items())
    weight = float(sum(batch.weights.sum() for batch in part.micro_batches))
    return TaskStepResult(part.micro_batches[0].task, loss, values, found, weight, about)


def _mean(found: Sequence[Mapping[str, float]], sizes: Sequence[int]) -> dict[str, float]:
    """The mean of each figure over the rows of those micro-batches that have it."""
    names = dict.fromkeys(name for figures in found for name in figures)
    having = {
        name: [
            (figures[name], n) for figures, n in zip(found, sizes, strict=True) if name in figures
        ]
        for name in names
    }
    return {
        name: sum(value * n for value, n in each) / sum(n for _, n in each)
        for name, each in having.items()
    }


def _read_terms(part: StepInput) -> list[ReadTerm]:
    """The terms without those for which no row of the batch counts, so that there is nothing to
    divide by.
    """
    found = []
    for name, (weight, loss) in part.losses.items():
        whole = sum((loss.weight(batch) for batch in part.micro_batches), torch.zeros(()))
        if whole:
            found.append(ReadTerm(name, weight, loss, 1.0 if loss.summed else whole))
    return found


def _taken(optimiser: torch.optim.AdamW, ranks: Ranks) -> dict[nn.Parameter, Tensor]:
    """Take the gradients of the whole batch away from their parameters."""
    parameters = optimiser_module.parameters_of(optimiser)
    own = {
        str(number): each.grad for number, each in enumerate(parameters) if each.grad is not None
    }
    found: dict[nn.Parameter, Tensor] = {}
    for given, _ in exchange_tensors(ranks, own):
        for number, gradient in given.items():
            parameter = parameters[int(number)]
            found[parameter] = found[parameter] + gradient if parameter in found else gradient
    for parameter in parameters:
        parameter.grad = None
    return {each: found[each] for each in parameters if each in found}

"""One optimiser step: forward, terms, backward, combine, clip, update."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from encore import rng
from encore.encoder import dropout
from encore.encoder.attention import n_pairs
from encore.errors import TrainingError
from encore.model.parameters import word_tables
from encore.model.task_model import TaskModel
from encore.training import optimiser as optimiser_module
from encore.types import Batch, Combine, Loss

__all__ = ["StepInput", "StepResult", "TaskStepResult", "take_step", "terms_of"]


@dataclass(frozen=True)
class StepInput:
    """One task's part of a step: a batch, whole or as micro-batches in order, and the terms of its
    loss with their weights.
    """

    model: TaskModel
    micro_batches: Sequence[Batch]
    losses: Mapping[str, tuple[float, Loss]]


@dataclass(frozen=True)
class TaskStepResult:
    """The result of a step for one task. `terms`: each loss term before its weight. `scores`:
    (rows, n_scores), with dropout, as the loss had them.
    """

    task: str
    loss: float
    terms: Mapping[str, float]
    scores: np.ndarray
    weight: float


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
) -> StepResult:
    """Train on one batch of one task or of each of several, whose gradients are added unless
    `combine` makes something else of them.

    Micro-batches change nothing but the rounding: every term is a sum divided by the weight of the
    whole batch, and dropout draws for each row what the whole batch would have drawn. Raises
    TrainingError where the loss is not finite.
    """
    done, gradients = [], []
    for number, part in enumerate(parts):
        done.append(_backward(part, seed, step, number))
        if combine is not None and len(parts) > 1:
            gradients.append(_taken(optimiser))
    value = sum(outcome.loss for outcome in done)
    if not math.isfinite(value):
        broken = ", ".join(
            f"{name} = {term}" for name, term in terms_of(done).items() if not math.isfinite(term)
        )
        raise TrainingError(f"step {step}: the loss is not finite ({broken}). {_remedy(optimiser)}")
    if combine is not None and gradients:
        draw = rng.generator(seed, "combine", step)
        for parameter, gradient in combine(
            gradients, [draw.permutation(len(parts)).tolist() for _ in parts]
        ).items():
            parameter.grad = gradient
    norm = float(
        optimiser_module.step(optimiser, word_tables([part.model for part in parts]), clip_norm)
    )
    if not math.isfinite(norm):
        raise TrainingError(
            f"step {step}: the gradient is not finite (loss {value:.4g}). {_remedy(optimiser)}"
        )
    return StepResult(tuple(done), value, norm)


def _remedy(optimiser: torch.optim.AdamW) -> str:
    """A rate of 0, as at the first step of a warm-up, has changed nothing."""
    highest = max(group["lr"] for group in optimiser.param_groups)
    if highest == 0:
        return "Check the weights of the encoder: they may not be finite. Or try precision=fp32."
    return f"Lower plan.lr (now {highest:.2g} at this step), or try precision=fp32."


def terms_of(parts: Sequence[TaskStepResult]) -> dict[str, float]:
    """The loss terms by name, with the task's name in front where there are several tasks."""
    prefixed = len(parts) > 1
    return {
        f"{part.task}.{name}" if prefixed else name: value
        for part in parts
        for name, value in part.terms.items()
    }


def _backward(part: StepInput, seed: int, step: int, number: int) -> TaskStepResult:
    """Add the gradients of one task, which are none where its encoder is frozen and its head has no
    weights. `number`: its place in the step, so that no two tasks of a step draw the same masks.
    """
    losses = part.losses
    whole = {
        name: sum(loss.weight(batch) for batch in part.micro_batches)
        for name, (_, loss) in losses.items()
    }
    terms = dict.fromkeys(losses, 0.0)
    scores = []
    place = dropout.BatchOffset()
    for batch in part.micro_batches:
        with dropout.drawing(seed, step, place, number):
            output = part.model(batch.tokens)
            total: Tensor | float = 0.0
            for name, (weight, loss) in losses.items():
                if not whole[name]:  # no row of the batch counts, so there is nothing to divide
                    continue
                term = loss(part.model, batch, output)[0]
                term = term if loss.summed else term / whole[name]
                terms[name] += float(term.detach())
                total = total + weight * term
        if isinstance(total, Tensor) and total.requires_grad:
            total.backward()
        scores.append(output.scores.detach().cpu().numpy())
        lengths = batch.tokens.lengths
        place = dropout.BatchOffset(
            place.rows + len(lengths),
            place.tokens + sum(lengths),
            place.pairs + n_pairs(lengths),
            place.examples + len(batch.rows),
        )
    value = sum(weight * terms[name] for name, (weight, _) in losses.items())
    weight = float(sum(batch.weights.sum() for batch in part.micro_batches))
    return TaskStepResult(part.micro_batches[0].task, value, terms, np.concatenate(scores), weight)


def _taken(optimiser: torch.optim.AdamW) -> dict[nn.Parameter, Tensor]:
    """Take the gradients away from their parameters."""
    found = {}
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                found[parameter] = parameter.grad
                parameter.grad = None
    return found

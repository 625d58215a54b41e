"""One optimiser step: forward, terms, backward, clip, update."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from encore import dropout, optim
from encore.encoder.attention import n_pairs
from encore.errors import TrainingError
from encore.model import TaskModel, word_tables
from encore.types import Batch, Loss

__all__ = ["Outcome", "take"]


@dataclass(frozen=True)
class Outcome:
    """What a step did. `terms`: each loss term before its weight; `scores`: (rows, n_scores), as they were trained on."""

    loss: float
    terms: Mapping[str, float]
    scores: np.ndarray
    weight: float
    grad_norm: float


def take(
    model: TaskModel,
    micro_batches: Sequence[Batch],
    losses: Mapping[str, tuple[float, Loss]],
    optimiser: torch.optim.AdamW,
    *,
    seed: int,
    step: int,
    lr: float,
    clip_norm: float | None,
) -> Outcome:
    """Train on one batch, given whole or as micro-batches in order. The result is the same but for rounding: every term is a sum divided by the
    weight of the whole batch, and dropout draws for each row what the whole batch would have drawn. Raises TrainingError where the loss is not finite."""
    whole = {name: sum(loss.weight(batch) for batch in micro_batches) for name, (_, loss) in losses.items()}
    terms = dict.fromkeys(losses, 0.0)
    scores = []
    place = dropout.Place()
    for batch in micro_batches:
        with dropout.drawing(seed, step, place):
            output = model(batch.tokens)
            total: Tensor | float = 0.0
            for name, (weight, loss) in losses.items():
                term = loss(model, batch, output)[0] / whole[name]
                terms[name] += float(term.detach())
                total = total + weight * term
        total.backward()                                                # type: ignore[union-attr]
        scores.append(output.scores.detach().cpu().numpy())
        lengths = batch.tokens.lengths
        place = dropout.Place(place.rows + len(lengths), place.tokens + sum(lengths), place.pairs + n_pairs(lengths))
    value = sum(weight * terms[name] for name, (weight, _) in losses.items())
    if not math.isfinite(value):
        broken = ", ".join(f"{name} = {term}" for name, term in terms.items() if not math.isfinite(term))
        raise TrainingError(f"step {step}: the loss is not finite ({broken}). Lower plan.lr (now {lr:.2g} at this step), or try precision=fp32.")
    norm = float(optim.step(optimiser, word_tables([model]), lr=lr, clip_norm=clip_norm))
    if not math.isfinite(norm):
        raise TrainingError(f"step {step}: the gradient is not finite (loss {value:.4g}). Lower plan.lr (now {lr:.2g} at this step), or try precision=fp32.")
    return Outcome(value, terms, np.concatenate(scores), float(sum(batch.weights.sum() for batch in micro_batches)), norm)

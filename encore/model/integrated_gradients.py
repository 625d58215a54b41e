"""Integrated gradients: what each token of a row adds to a score.

Source: Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks", eq. 1.
Differs: the path begins at embeddings of other ids in the same places, and the integral is a
Gauss–Legendre sum, as in captum's LayerIntegratedGradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from encore.encoder.encoder import computing_in
from encore.model.task_model import TaskModel, encoder_of, encoders_of
from encore.types import Tokens

__all__ = ["N_STEPS", "Integrated", "integrate"]

N_STEPS = 32


@dataclass(frozen=True)
class Integrated:
    """attributions: (tokens,) float64; those of an example add up to about its `change`. change:
    (examples,) float64, its score less that of its baseline.
    """

    attributions: Tensor
    change: Tensor


def integrate(
    model: TaskModel,
    tokens: Tokens,
    baseline_ids: Tensor,
    score: Callable[[Tensor], Tensor],
    *,
    n_steps: int = N_STEPS,
) -> Integrated:
    """The gradients of `score`, float32, summed along the straight line from the embeddings of
    `baseline_ids` (tokens,) to those of `tokens`, of all branches at once. The model is in eval
    mode.

    score: (lines, n_scores) raw scores → (examples,), each of its own lines alone. Memory is that
    of one backward pass.
    """
    nodes, weights = np.polynomial.legendre.leggauss(n_steps)
    encoders = [encoder_of(branch) for branch in model.branches]
    with computing_in(torch.float32, encoders_of(model)):
        with torch.no_grad():
            start = [each.embedded(replace(tokens, ids=baseline_ids)) for each in encoders]
            ends = [each.embedded(tokens) for each in encoders]
            way = [end - begin for begin, end in zip(start, ends, strict=True)]
            change = score(_scores(model, tokens, ends)) - score(_scores(model, tokens, start))
        total = [torch.zeros_like(each) for each in way]
        for node, weight in zip(nodes.tolist(), weights.tolist(), strict=True):
            at = [
                (begin + (1 + node) / 2 * step).requires_grad_()
                for begin, step in zip(start, way, strict=True)
            ]
            with torch.enable_grad():
                summed = score(_scores(model, tokens, at)).sum()
            for so_far, gradient in zip(total, torch.autograd.grad(summed, at), strict=True):
                so_far.add_(gradient, alpha=weight / 2)
    found = [(step * each).double().sum(dim=1) for step, each in zip(way, total, strict=True)]
    return Integrated(torch.stack(found).sum(dim=0), change.double())


def _scores(model: TaskModel, tokens: Tokens, embedded: list[Tensor]) -> Tensor:
    """The model's scores from its embeddings on. A frozen branch is entered behind the wall that
    keeps gradients out of it.
    """
    vectors = [
        branch.pooling(
            encoder_of(branch).run(
                start,
                tokens,
                layers=branch.pooling.layers,
                first_only=branch.pooling.first_only,
            )
        )
        for branch, start in zip(model.branches, embedded, strict=True)
    ]
    return model(tokens, vectors=torch.cat(vectors, dim=1)).scores

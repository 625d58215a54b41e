"""SMART: the distance between the scores with and without noise at the embeddings, which a step of
gradient ascent has turned towards where the scores change most.

Source: Jiang et al. 2020; SerBERTus §3, minBERT generalization §4.4 (METHODS 5.1).
Differs: the papers project the noise onto a ball of radius ε. Both public codes only scale it to a
largest coordinate of about 1; `mode: reference` does the same and is the default, `mode: paper`
clips it to ±ε. The inner distance is summed over the batch, as the first authors do.
Cost: two more forward passes, one more backward pass to the noise and one to the weights.
Needs: the task's loss beside it; it adds nothing while a frozen encoder's features are cached.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from encore.encoder import dropout, ragged
from encore.techniques.losses._divergence import divergence, symmetric_divergence
from encore.types import LABELLED, Batch, LabelSpace, Loss, LossTerm, Output

__all__ = ["Smart"]

_Positive = Annotated[float, Field(gt=0)]


class Smart(Loss):
    """at: the noise is added to the embeddings, or to the vectors behind the pooling. sigma: the
    standard deviation of the first noise; step_size, steps: of the ascent; epsilon: the guard of
    the division (reference) or the radius (paper). reduction: over the rows of the batch.
    """

    kinds = ()
    joins = LABELLED
    extra_passes = 2

    def __init__(
        self,
        labels: LabelSpace,
        *,
        mode: Literal["reference", "paper"] = "reference",
        at: Literal["embeddings", "cls"] = "embeddings",
        sigma: Annotated[float, Field(ge=0)] = 1e-5,
        step_size: _Positive = 1e-3,
        steps: Annotated[int, Field(ge=0)] = 1,
        epsilon: _Positive = 1e-6,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        self.kind, self.mode, self.at = labels.kind, mode, at
        self.sigma, self.step_size, self.steps, self.epsilon = sigma, step_size, steps, epsilon
        self.summed = reduction == "sum"

    def __call__(self, model: Callable[..., Output], batch: Batch, output: Output) -> LossTerm:
        places = output.embedded if self.at == "embeddings" else (output.vectors,)
        clean = output.scores
        if all(place is None for place in places):  # cached features: there is no way back in
            return LossTerm(clean.sum() * 0, self.weight(batch))

        def scores(noise: Sequence[Tensor | None], *, exact: bool) -> Tensor:
            moved = [
                None if place is None or n is None else _added(place, n, exact)
                for place, n in zip(places, noise, strict=True)
            ]
            how: dict[str, Any] = {"embedded": moved}
            if self.at == "cls":
                how = {"vectors": moved[0]}
            return model(batch.tokens, **how).scores

        noise: list[Tensor | None] = [
            None if place is None else self._drawn(place) for place in places
        ]
        for _ in range(self.steps):
            risen = self._risen(noise, scores, clean, batch)
            if risen is None:  # the ascent left the numbers: nothing is added for this batch
                return LossTerm(clean.sum() * 0, self.weight(batch))
            noise = risen
        moved = scores(noise, exact=self.mode == "paper")
        per_row = symmetric_divergence(clean, moved, self.kind)
        return LossTerm((per_row * batch.weights).sum(), self.weight(batch))

    def _drawn(self, place: Tensor) -> Tensor:
        unit: dropout.Unit = "tokens" if self.at == "embeddings" else "rows"
        return (dropout.normal((len(place), place.shape[1]), unit) * self.sigma).to(place.device)

    def _risen(
        self,
        noise: Sequence[Tensor | None],
        scores: Callable[..., Tensor],
        clean: Tensor,
        batch: Batch,
    ) -> list[Tensor | None] | None:
        """The noise after a step of ascent, None where its gradient is not finite."""
        leaves = [None if n is None else n.detach().requires_grad_() for n in noise]
        moved = scores(leaves, exact=True)
        inner = divergence(clean.detach(), moved, self.kind).sum()
        known = [leaf for leaf in leaves if leaf is not None]
        gradients = iter(torch.autograd.grad(inner, known))
        found: list[Tensor | None] = []
        for leaf in leaves:
            if leaf is None:
                found.append(None)
                continue
            gradient = next(gradients)
            if not torch.isfinite(gradient).all():
                return None
            found.append(self._scaled(leaf.detach(), gradient, batch))
        return found

    def _scaled(self, noise: Tensor, gradient: Tensor, batch: Batch) -> Tensor:
        if self.mode == "reference":
            risen = noise + self.step_size * gradient
            return risen / (risen.abs().amax(dim=1, keepdim=True) + self.epsilon)
        largest = gradient.abs().amax(dim=1, keepdim=True)
        if self.at == "embeddings":
            largest = ragged.max(largest, batch.tokens)[ragged.numbers(batch.tokens)]
        direction = gradient / largest.clamp(min=torch.finfo(gradient.dtype).tiny)
        return (noise + self.step_size * direction).clamp(-self.epsilon, self.epsilon)


def _added(place: Tensor, noise: Tensor, exact: bool) -> Tensor:
    """The sum, in float32 where the noise would vanish in a shorter format."""
    return place.float() + noise if exact else place + noise.to(place.dtype)

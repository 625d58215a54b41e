"""R-Drop: a text is read twice with other dropout, and both readings have to give the same scores.

Source: Liang et al. 2021.
Differs: the paper trains on the mean of both readings' losses and adds α/4 times the symmetric
distance; here it is a term of its own, half the symmetric distance, and the first reading alone has
the task's loss. Values and several labels have the distances of SMART.
Cost: one more forward and backward pass.
Needs: dropout in encoder or head, without which both readings are the same
"""

from __future__ import annotations

from collections.abc import Callable

from encore.techniques.losses._divergence import divergence
from encore.types import LABELLED, Batch, LabelSpace, Loss, LossTerm, Output

__all__ = ["RDrop"]


class RDrop(Loss):
    kinds = ()
    joins = LABELLED
    extra_passes = 1
    rereads = "scores"

    def __init__(self, labels: LabelSpace) -> None:
        self.kind = labels.kind

    def __call__(self, model: Callable[..., Output], batch: Batch, output: Output) -> LossTerm:
        once, again = output.scores, model(batch.tokens).scores
        both = divergence(once, again, self.kind) + divergence(again, once, self.kind)
        return LossTerm((both / 2 * batch.weights).sum(), self.weight(batch))

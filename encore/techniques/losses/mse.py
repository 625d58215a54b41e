"""Squared error on the labels' own scale.

Source: SerBERTus §3 (METHODS §1, 4.1).
Differs: none.
"""

from __future__ import annotations

from collections.abc import Callable

from encore.types import Batch, LabelSpace, Loss, LossTerm, Output

__all__ = ["Mse"]


class Mse(Loss):
    kinds = ("regression",)

    def __init__(self, labels: LabelSpace) -> None:
        pass

    def __call__(self, model: Callable[..., Output], batch: Batch, output: Output) -> LossTerm:
        per_row = (output.scores.squeeze(1) - batch.targets).square()
        return LossTerm((per_row * batch.weights).sum(), self.weight(batch))

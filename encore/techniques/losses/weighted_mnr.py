"""Multiple negatives ranking of pairs with a degree of similarity, which count by e to the power of
that degree.

Source: minBERT generalization §4.4 (METHODS 5.3).
Differs: the printed formula lacks its minus sign. `compat: gen` is the author's code: only pairs of
degree 1 and above enter, divided by their number, with weights e^l / (e + e² + e³ + e⁴).
Needs: degrees from 0 to 5, a head for two texts
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from encore.techniques.losses._similarity import Similarity, in_batch_cross_entropy
from encore.types import Batch, LabelSpace, Loss, LossTerm, Output

__all__ = ["WeightedMnr"]


class WeightedMnr(Loss):
    kinds = ()
    joins = ("regression",)
    couples_rows = True
    n_sides = 2

    def __init__(
        self,
        labels: LabelSpace,
        *,
        similarity: Similarity = "cosine",
        scale: Annotated[float, Field(gt=0)] = 1.0,
        compat: Literal["gen"] | None = None,
    ) -> None:
        self.similarity, self.scale, self.compat = similarity, scale, compat
        degrees = range(1, 5) if compat == "gen" else range(6)
        self.total = sum(math.exp(degree) for degree in degrees)

    def weight(self, batch: Batch) -> Tensor:
        return (self._enters(batch) * batch.weights).sum()

    def __call__(self, model: Callable[..., Output], batch: Batch, output: Output) -> LossTerm:
        enters = self._enters(batch).bool()
        first, second = (side[enters] for side in output.embeddings)
        per_row = in_batch_cross_entropy(first, second, self.similarity, self.scale)
        degree = batch.targets[enters].to(per_row.dtype).exp() / self.total
        return LossTerm((degree * per_row * batch.weights[enters]).sum(), self.weight(batch))

    def _enters(self, batch: Batch) -> Tensor:
        """(rows,) 1 for the rows that the loss reads."""
        everything = torch.ones_like(batch.weights)
        return (batch.targets >= 1).to(batch.weights.dtype) if self.compat == "gen" else everything

"""Multiple negatives ranking: the second text of a pair is to be found among the second texts of
the whole batch. The pairs need no labels.

Source: minBERT generalization §4.4 (METHODS 5.2).
Differs: none; the author's code multiplies vectors of any length: `similarity: dot`.
sentence-transformers has `scale: 20`. `symmetric` is the mean of both directions; beside the loss
of a binary task only pairs of the second class enter. The texts of `data.negative` are further
ones not to be found.
Cost: rows × rows similarities.
Needs: pairs that belong together, a head for two texts
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from encore.techniques.losses._similarity import Similarity, in_batch_cross_entropy
from encore.types import Batch, LabelSpace, Loss, LossTerm, Output

__all__ = ["Mnr"]


class Mnr(Loss):
    couples_rows = True
    kinds = ("unlabelled",)
    joins = ("binary", "regression")
    n_sides = 2

    def __init__(
        self,
        labels: LabelSpace,
        *,
        similarity: Similarity = "cosine",
        scale: Annotated[float, Field(gt=0)] = 1.0,
        symmetric: bool = False,
    ) -> None:
        self.similarity, self.scale, self.symmetric = similarity, scale, symmetric
        self.positives_only = labels.kind == "binary"

    def weight(self, batch: Batch) -> Tensor:
        return (self._enters(batch) * batch.weights).sum()

    def __call__(self, model: Callable[..., Output], batch: Batch, output: Output) -> LossTerm:
        enters = self._enters(batch).bool()
        first, second, *others = (side[enters] for side in output.embeddings)
        found_among = torch.cat([second, *others])
        per_row = in_batch_cross_entropy(first, found_among, self.similarity, self.scale)
        if self.symmetric:
            back = in_batch_cross_entropy(second, first, self.similarity, self.scale)
            per_row = (per_row + back) / 2
        return LossTerm((per_row * batch.weights[enters]).sum(), self.weight(batch))

    def _enters(self, batch: Batch) -> Tensor:
        """(rows,) 1 for the pairs that belong together: of a binary task those of the second
        class.
        """
        whole = torch.ones_like(batch.weights)
        return (batch.targets == 1).to(batch.weights.dtype) if self.positives_only else whole

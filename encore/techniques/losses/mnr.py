"""Multiple negatives ranking: the second text of a pair is to be found among the second texts of
the whole batch. The pairs need no labels.

Source: minBERT generalization §4.4 (METHODS 5.2).
Differs: none; the author's code multiplies vectors of any length: `similarity: dot`.
sentence-transformers has `scale: 20`. Cost: rows × rows similarities.
Needs: pairs that belong together, a head for two texts, whole batches
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from encore.techniques.losses._similarity import Similarity, in_batch_cross_entropy
from encore.types import Batch, LabelSpace, Loss, LossTerm, Output

__all__ = ["Mnr"]


class Mnr(Loss):
    couples_rows = True
    kinds = ("unlabelled",)
    n_sides = 2

    def __init__(
        self,
        labels: LabelSpace,
        *,
        similarity: Similarity = "cosine",
        scale: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        self.similarity, self.scale = similarity, scale

    def __call__(self, model: Callable[..., Output], batch: Batch, output: Output) -> LossTerm:
        first, second = output.embeddings
        per_row = in_batch_cross_entropy(first, second, self.similarity, self.scale)
        return LossTerm((per_row * batch.weights).sum(), self.weight(batch))

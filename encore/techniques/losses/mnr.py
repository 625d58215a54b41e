"""Multiple negatives ranking: the second text of a pair is to be found among the second texts of
the whole batch. The pairs need no labels.

Source: minBERT generalization §4.4 (METHODS 5.2).
Differs: none; the author's code multiplies vectors of any length: `similarity: dot`.
sentence-transformers has `scale: 20`. Cost: rows × rows similarities.
Needs: pairs that belong together, a head for two texts, whole batches
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from encore.techniques.losses._similarity import Similarity, in_batch_cross_entropy
from encore.types import Batch, LabelSpace, Output

__all__ = ["Mnr"]


class Mnr:
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

    def weight(self, batch: Batch) -> Tensor:
        return batch.weights.sum()

    def __call__(self, model: Any, batch: Batch, output: Output) -> tuple[Tensor, Tensor]:
        first, second = output.embeddings
        return (
            in_batch_cross_entropy(first, second, self.similarity, self.scale) * batch.weights
        ).sum(), self.weight(batch)

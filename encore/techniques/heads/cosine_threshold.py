"""The second class where the cosine of the two texts' vectors is above a threshold; nothing is
trained.

Source: AdapterFusion §4.1 (METHODS 4.8), threshold 0, with the loss cosine_embedding.
Differs: none.
Cost: none.
Needs: losses: {task: cosine_embedding}; other losses take the cosine, less the threshold, for a
logit
"""

from __future__ import annotations

from torch import Tensor, nn

from encore.techniques.heads._cosine import cosine, two_scores
from encore.types import Head

__all__ = ["CosineThreshold"]


class CosineThreshold(nn.Module, Head):
    n_sides = 2
    kinds = ("binary",)
    gives_probabilities = False

    def __init__(self, width: int, n_scores: int, *, threshold: float = 0.0) -> None:
        super().__init__()
        self.threshold = threshold

    def embed(self, vectors: Tensor) -> Tensor:
        return vectors

    def score(self, first: Tensor, second: Tensor) -> Tensor:
        return two_scores(cosine(first, second) - self.threshold)

"""Functions that losses which compare rows with each other share."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

__all__ = ["Similarity", "in_batch_cross_entropy"]

Similarity = Literal["cosine", "dot"]


def in_batch_cross_entropy(
    first: Tensor, second: Tensor, similarity: Similarity, scale: float
) -> Tensor:
    """(rows,) cross-entropy of row i of `first` picking row i of `second` among all of them, by
    softmax over `scale` times the similarities.

    first: (rows, width); second: (rows or more, width). A vector of length 0 has cosine 0 with all.
    """
    if similarity == "cosine":
        first, second = F.normalize(first, dim=1, eps=1e-8), F.normalize(second, dim=1, eps=1e-8)
    found = scale * first @ second.T
    return -found.log_softmax(dim=1).diagonal()

"""Functions that heads for two texts share: cosines, and one logit as two scores."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["cosine", "two_scores"]


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """(rows,) cosines of (rows, width) and (rows, width); 0 for a vector of length 0."""
    return F.cosine_similarity(first, second, dim=1, eps=1e-8)


def two_scores(logit: Tensor) -> Tensor:
    """(rows,) → (rows, 2): softmax over (0, z) is sigmoid(z), so cross-entropy on them is binary
    cross-entropy on z, and a tie is the first class.
    """
    return torch.stack([torch.zeros_like(logit), logit], dim=1)

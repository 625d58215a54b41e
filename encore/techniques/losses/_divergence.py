"""Distances between the scores of two passes, which consistency losses share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from encore.types import TaskKind

__all__ = ["divergence", "symmetric_divergence"]


def divergence(first: Tensor, second: Tensor, kind: TaskKind) -> Tensor:
    """(rows,) KL(first ‖ second): over classes; summed over the labels of a multi-label task, each
    a Bernoulli distribution; the squared error of values. first, second: (rows, scores).
    """
    if kind == "regression":
        return (first - second).square().sum(dim=1)
    if kind == "multilabel":
        yes, no = first.sigmoid(), (-first).sigmoid()
        each = yes * (F.logsigmoid(first) - F.logsigmoid(second)) + no * (
            F.logsigmoid(-first) - F.logsigmoid(-second)
        )
        return each.sum(dim=1)
    log_p, log_q = first.log_softmax(dim=1), second.log_softmax(dim=1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def symmetric_divergence(first: Tensor, second: Tensor, kind: TaskKind) -> Tensor:
    """(rows,) both directions, each with its first distribution as a constant target, as in SMART's
    public code (METHODS 5.1); of values the squared error, with gradients to both.
    """
    if kind == "regression":
        return divergence(first, second, kind)
    forward = divergence(first.detach(), second, kind)
    return forward + divergence(second.detach(), first, kind)

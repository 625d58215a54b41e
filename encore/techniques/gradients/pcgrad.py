"""Removes from each task's gradient the part that opposes another task's, on the weights that both
share.

Source: Yu et al. 2020, Gradient Surgery for Multi-Task Learning, Algorithm 1.
Differs: two tasks are compared on the weights that both have, so that sharing need not be the same
for all.
Cost: the gradients of all tasks in memory at once; one backward pass per task, which `sum` takes
anyway.
Needs: plan.mixing: sum
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from encore.types import Combine

__all__ = ["Pcgrad"]


class Pcgrad(Combine):
    """For each task i and every other task j, in an order that is drawn: gᵢ ← gᵢ − (gᵢ·gⱼ /
    ‖gⱼ‖²)·gⱼ where gᵢ·gⱼ < 0, gⱼ as it was; then the sum over i.
    """

    def __call__(
        self, gradients: Sequence[Mapping[nn.Parameter, Tensor]], order: Sequence[Sequence[int]]
    ) -> Mapping[nn.Parameter, Tensor]:
        total: dict[nn.Parameter, Tensor] = {}
        for number, own in enumerate(gradients):
            changed = dict(own)
            for other in order[number]:
                if other != number:
                    changed = _without_conflict(changed, gradients[other])
            for parameter, gradient in changed.items():
                total[parameter] = total[parameter] + gradient if parameter in total else gradient
        return total


def _without_conflict(
    gradient: Mapping[nn.Parameter, Tensor], other: Mapping[nn.Parameter, Tensor]
) -> dict[nn.Parameter, Tensor]:
    """`gradient` without its component against `other`, on what both have."""
    both = [parameter for parameter in gradient if parameter in other]
    if not both:
        return dict(gradient)
    product = torch.stack(
        [torch.dot(gradient[p].flatten(), other[p].flatten()) for p in both]
    ).sum()
    squared = torch.stack([other[p].square().sum() for p in both]).sum()
    if product >= 0 or squared == 0:
        return dict(gradient)
    return {**gradient, **{p: gradient[p] - product / squared * other[p] for p in both}}

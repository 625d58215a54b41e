"""AdamW, fused, with clipping folded into its step.

The one place that sets `grad_scale` and `found_inf`, which torch's fused optimisers read and its
documentation leaves out (they are how torch.amp.GradScaler speaks to them).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from encore.encoder.word_table import WordTable
from encore.types import Phase

__all__ = ["adamw", "carried", "step"]


def adamw(parameters: Mapping[str, nn.Parameter], phase: Phase) -> torch.optim.AdamW:
    """AdamW (β = 0.9, 0.999; ε = 1e-8) with no weight decay on biases and LayerNorm, that is on
    what has one axis.

    Parameters without a gradient are skipped, decay included. Every trainable parameter is in
    exactly one group, under its name in `group["names"]`.
    """
    trainable = {
        name: parameter for name, parameter in parameters.items() if parameter.requires_grad
    }
    groups = []
    for decay, chosen in (
        (phase.weight_decay, {name: p for name, p in trainable.items() if p.ndim >= 2}),
        (0.0, {name: p for name, p in trainable.items() if p.ndim < 2}),
    ):
        if chosen or not trainable:  # torch wants a group, if an empty one
            groups.append(
                {
                    "params": list(chosen.values()),
                    "names": list(chosen),
                    "weight_decay": decay,
                    "factor": 1.0,
                }
            )
    return torch.optim.AdamW(groups, lr=phase.lr, betas=(0.9, 0.999), eps=1e-8, fused=True)


def carried(
    before: torch.optim.AdamW, parameters: Mapping[str, nn.Parameter], phase: Phase
) -> torch.optim.AdamW:
    """The optimiser of a phase that continues with the moments of the phase before it. Parameters
    that were frozen until now start without moments.
    """
    optimiser = adamw(parameters, phase)
    for group in optimiser.param_groups:
        optimiser.state.update({p: before.state[p] for p in group["params"] if p in before.state})
    return optimiser


def step(
    optimiser: torch.optim.AdamW, tables: Iterable[WordTable], *, lr: float, clip_norm: float | None
) -> Tensor:
    """One update at rate `lr` (times each group's factor); returns the gradients' norm before
    clipping.

    The fused kernel divides gradients by `grad_scale`, which saves a pass over all of them.
    `tables`: those whose rows outside training decay along.
    """
    gradients = [
        p.grad for group in optimiser.param_groups for p in group["params"] if p.grad is not None
    ]
    norm = torch.nn.utils.get_total_norm(gradients)
    for group in optimiser.param_groups:
        group["lr"] = lr * group["factor"]
    optimiser.grad_scale = None if clip_norm is None else ((norm + 1e-6) / clip_norm).clamp(min=1.0)  # type: ignore[attr-defined]
    optimiser.found_inf = None if clip_norm is None else torch.zeros_like(norm)  # type: ignore[attr-defined]
    optimiser.step()
    groups = {
        id(p): group
        for group in optimiser.param_groups
        for p in group["params"]
        if p.grad is not None
    }
    for table in tables:
        if table.table is not None and (own := groups.get(id(table.weight))) is not None:
            table.decay *= 1 - own["lr"] * own["weight_decay"]
    optimiser.zero_grad(set_to_none=True)
    return norm

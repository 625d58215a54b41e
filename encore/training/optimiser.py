"""AdamW in two forms, with clipping folded into its step, and the groups that it updates alike.

The one place that sets `grad_scale` and `found_inf`, which torch's fused optimisers read and its
documentation leaves out (they are how torch.amp.GradScaler speaks to them).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from encore.encoder.word_table import WordTable
from encore.model.selection import ParameterInfo, rate_factor
from encore.training.ranks import Alone, Ranks
from encore.types import Phase

__all__ = [
    "MinbertAdamW",
    "adamw",
    "begin_state",
    "carried",
    "parameters_of",
    "restore_tensors",
    "set_rate",
    "state_tensors",
    "step",
]

Infos = Mapping[int, ParameterInfo]  # id of a parameter → what it is


class MinbertAdamW(torch.optim.AdamW):
    """AdamW as the CS224N course code has it (METHODS 3.1a): bias correction inside the rate, so
    that ε is compared with the uncorrected √v, and weight decay after the step, on every
    parameter.

    p ← p − α·m/(√v + ε), α = lr·√(1−β₂ᵗ)/(1−β₁ᵗ); then p ← p − lr·λ·p. State as in torch's.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter with a gradient."""
        for group in self.param_groups:
            lr, (beta1, beta2), eps, weight_decay = _SETTINGS(group)
            for steps, members in self._by_age(group).items():
                gradients = [p.grad for p in members if p.grad is not None]
                averages, squares = ([self.state[p][key] for p in members] for key in _MOMENTS)
                torch._foreach_lerp_(averages, gradients, 1 - beta1)
                torch._foreach_mul_(squares, beta2)
                torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
                roots = torch._foreach_sqrt(squares)
                torch._foreach_add_(roots, eps)
                alpha = lr * math.sqrt(1 - beta2**steps) / (1 - beta1**steps)
                torch._foreach_addcdiv_(members, averages, roots, -alpha)
                if weight_decay:
                    torch._foreach_mul_(members, 1 - lr * weight_decay)

    def _by_age(self, group: Mapping[str, Any]) -> dict[int, list[Tensor]]:
        """Updates of a parameter, this one included → the parameters with a gradient."""
        found: dict[int, list[Tensor]] = {}
        for parameter in group["params"]:
            if parameter.grad is not None:
                state = self.state[parameter]
                if not state:
                    state.update(_fresh(parameter))
                age = state.get("step")
                age += 1  # in place: where ranks share memory, it is what they share
                found.setdefault(int(age), []).append(parameter)
        return found


_MOMENTS = ("exp_avg", "exp_avg_sq")
_SETTINGS = operator.itemgetter("lr", "betas", "eps", "weight_decay")


def adamw(
    parameters: Mapping[str, nn.Parameter], phase: Phase, infos: Infos | None = None
) -> torch.optim.AdamW:
    """The optimiser of a phase, β = (0.9, 0.999).

    `torch`: ε = 1e-8, no weight decay on biases and LayerNorm, that is on what has one axis.
    `minbert`: ε = 1e-6, weight decay on everything. Parameters without a gradient are skipped,
    decay included. Every trainable parameter is in exactly one group, under its name in
    `group["names"]`; a group is what has one rate and one decay. infos: what each parameter is;
    None, or a parameter that is missing there: the phase's rate.
    """
    own = phase.rates.optimiser == "minbert"
    known = infos or {}
    groups: dict[tuple[bool, float], list[str]] = {}
    for name, parameter in parameters.items():
        if parameter.requires_grad:
            info = known.get(id(parameter))
            factor = 1.0 if info is None else rate_factor(info, phase)
            groups.setdefault((own or parameter.ndim >= 2, factor), []).append(name)
    made = [
        {
            "params": [parameters[name] for name in names],
            "names": names,
            "weight_decay": phase.weight_decay if decays else 0.0,
            "factor": factor,
        }
        for (decays, factor), names in sorted(groups.items(), key=lambda item: not item[0][0])
    ] or [{"params": [], "names": [], "weight_decay": 0.0, "factor": 1.0}]  # torch wants a group
    if own:
        return MinbertAdamW(made, lr=phase.lr, betas=(0.9, 0.999), eps=1e-6)
    return torch.optim.AdamW(made, lr=phase.lr, betas=(0.9, 0.999), eps=1e-8, fused=True)


def carried(
    before: torch.optim.AdamW,
    parameters: Mapping[str, nn.Parameter],
    phase: Phase,
    infos: Infos | None = None,
) -> torch.optim.AdamW:
    """The optimiser of a phase that continues with the moments of the phase before it. Parameters
    that were frozen until now start without moments.
    """
    optimiser = adamw(parameters, phase, infos)
    for group in optimiser.param_groups:
        optimiser.state.update({p: before.state[p] for p in group["params"] if p in before.state})
    return optimiser


def parameters_of(optimiser: torch.optim.AdamW) -> list[nn.Parameter]:
    """Those that it updates, group by group."""
    return [each for group in optimiser.param_groups for each in group["params"]]


def begin_state(optimiser: torch.optim.AdamW) -> None:
    """Give moments of zero to each parameter that has none, as its first step would."""
    for parameter in parameters_of(optimiser):
        if not optimiser.state[parameter]:
            optimiser.state[parameter].update(_fresh(parameter))


def _fresh(parameter: Tensor) -> dict[str, Tensor]:
    moments = {key: torch.zeros_like(parameter) for key in _MOMENTS}
    return {"step": torch.zeros((), device=parameter.device), **moments}


def set_rate(optimiser: torch.optim.AdamW, lr: float) -> None:
    """Set the rate of the next step: `lr`, times each group's factor."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group["factor"]


def state_tensors(optimiser: torch.optim.AdamW) -> dict[str, Tensor]:
    """The moments by name, `optimiser/PARAMETER/KEY`. Aliases, not copies."""
    return {
        f"optimiser/{name}/{key}": value
        for name, parameter in _named(optimiser)
        for key, value in optimiser.state.get(parameter, {}).items()
    }


def restore_tensors(optimiser: torch.optim.AdamW, tensors: Mapping[str, Tensor]) -> None:
    """Take over copies of the moments that `state_tensors` named."""
    for name, parameter in _named(optimiser):
        state = {
            key: tensors[f"optimiser/{name}/{key}"].clone()
            for key in ("step", "exp_avg", "exp_avg_sq")
            if f"optimiser/{name}/{key}" in tensors
        }
        if state:
            optimiser.state[parameter] = state


def _named(optimiser: torch.optim.AdamW) -> Iterator[tuple[str, nn.Parameter]]:
    for group in optimiser.param_groups:
        yield from zip(group["names"], group["params"], strict=True)


def step(
    optimiser: torch.optim.AdamW,
    tables: Iterable[WordTable],
    clip_norm: float | None,
    ranks: Ranks | None = None,
) -> Tensor:
    """Make one update; returns the gradients' norm before clipping.

    The fused kernel divides gradients by `grad_scale`, which saves a pass over all of them.
    `tables`: those whose rows outside training decay along.
    """
    ranks = ranks or Alone()
    group_of = {id(p): group for group in optimiser.param_groups for p in group["params"]}
    trained, norm = ranks.add_up(parameters_of(optimiser))
    excess = None if clip_norm is None else ((norm + 1e-6) / clip_norm).clamp(min=1.0)
    if isinstance(optimiser, MinbertAdamW):
        gradients = [p.grad for p in trained if p.grad is not None]
        if excess is not None and gradients:  # a phase may train nothing of this step's tasks
            torch._foreach_div_(gradients, excess)
    else:
        optimiser.grad_scale = excess  # type: ignore[attr-defined]
        optimiser.found_inf = None if excess is None else torch.zeros_like(norm)  # type: ignore[attr-defined]
    optimiser.step()
    groups = {id(p): group_of[id(p)] for p in trained}
    for table in tables:
        if table.table is not None and (own := groups.get(id(table.weight))) is not None:
            rate, _, _, weight_decay = _SETTINGS(own)
            table.decay *= 1 - rate * weight_decay
    optimiser.zero_grad(set_to_none=True)
    ranks.wait()
    return norm

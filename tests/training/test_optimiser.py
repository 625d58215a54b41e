"""The optimiser's step: rates of groups, and which parameters decay."""

from __future__ import annotations

import torch
from torch import nn

from encore.training.optimiser import adamw, step
from encore.types import Phase


def parameters() -> dict[str, nn.Parameter]:
    return {
        "matrix": nn.Parameter(torch.tensor([[3.0, -2.0], [1.0, 5.0]])),
        "bias": nn.Parameter(torch.tensor([7.0, -1.0, 2.0])),
    }


def test_a_group_steps_by_the_rate_times_its_factor() -> None:
    """AdamW's first step is rate · sign(gradient), after the decay by rate · weight_decay."""
    own = parameters()
    optimiser = adamw(own, Phase(("it",), epochs=1, lr=0.5, weight_decay=0.1))
    factors = {"matrix": 0.25, "bias": 2.0}
    for group in optimiser.param_groups:
        (name,) = group["names"]
        group["factor"] = factors[name]
    before = {name: value.detach().clone() for name, value in own.items()}
    signs = {"matrix": torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), "bias": torch.tensor([1.0, 1, -1])}
    for name, value in own.items():
        value.grad = 3 * signs[name]
    step(optimiser, [], lr=0.02, clip_norm=None)
    rate = {name: 0.02 * factor for name, factor in factors.items()}
    expected = {
        "matrix": before["matrix"] * (1 - rate["matrix"] * 0.1) - rate["matrix"] * signs["matrix"],
        "bias": before["bias"] - rate["bias"] * signs["bias"],  # one axis: no decay
    }
    for name, value in own.items():
        torch.testing.assert_close(value.detach(), expected[name], atol=1e-6, rtol=0)

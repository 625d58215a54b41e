"""The optimiser's step: rates of groups, and which parameters decay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from encore.training.optimiser import adamw, set_rate, step
from encore.types import OptimiserSettings, Phase


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
    set_rate(optimiser, 0.02)
    step(optimiser, [], clip_norm=None)
    rate = {name: 0.02 * factor for name, factor in factors.items()}
    expected = {
        "matrix": before["matrix"] * (1 - rate["matrix"] * 0.1) - rate["matrix"] * signs["matrix"],
        "bias": before["bias"] - rate["bias"] * signs["bias"],  # one axis: no decay
    }
    for name, value in own.items():
        torch.testing.assert_close(value.detach(), expected[name], atol=1e-6, rtol=0)


def one_step(optimiser_name: str, weight_decay: float, gradient: float | None = 0.5) -> float:
    own = {"p": nn.Parameter(torch.ones(1, 1, dtype=torch.float64))}
    rates = OptimiserSettings(optimiser=optimiser_name)  # type: ignore[arg-type]
    phase = Phase(("it",), epochs=1, lr=0.1, weight_decay=weight_decay, rates=rates)
    optimiser = adamw(own, phase)
    own["p"].grad = None if gradient is None else torch.full((1, 1), gradient, dtype=torch.float64)
    step(optimiser, [], clip_norm=None)
    return float(own["p"].detach())


def test_both_forms_make_the_steps_of_methods() -> None:
    """METHODS 3.1: p = 1, g = 0.5, rate 0.1, decay 0.01."""
    assert one_step("minbert", 0.0) == pytest.approx(0.9000063, abs=1e-7)
    assert one_step("minbert", 0.01) == pytest.approx(0.8991063, abs=1e-7)
    assert one_step("torch", 0.01) == pytest.approx(0.8990000, abs=1e-7)
    assert one_step("minbert", 0.1, gradient=None) == 1.0


def test_minbert_decays_biases_too_and_torch_does_not() -> None:
    for name, decays in (("minbert", {0.1}), ("torch", {0.1, 0.0})):
        rates = OptimiserSettings(optimiser=name)  # type: ignore[arg-type]
        optimiser = adamw(
            parameters(), Phase(("it",), epochs=1, lr=0.5, weight_decay=0.1, rates=rates)
        )
        assert {group["weight_decay"] for group in optimiser.param_groups} == decays


def test_minbert_equals_a_loop_over_its_formula() -> None:
    """Ten steps with clipping, of a matrix and of a bias that gets no gradient every third step."""
    own = parameters()
    phase = Phase(
        ("it",), 1, lr=0.01, weight_decay=0.1, rates=OptimiserSettings(optimiser="minbert")
    )
    optimiser = adamw(own, phase)
    expected = {name: value.detach().double().clone() for name, value in own.items()}
    first = {name: torch.zeros_like(value) for name, value in expected.items()}
    second = {name: torch.zeros_like(value) for name, value in expected.items()}
    ages = dict.fromkeys(own, 0)
    draw = torch.Generator().manual_seed(1)
    for number in range(10):
        gradients = {
            name: torch.randn(value.shape, generator=draw)
            for name, value in own.items()
            if name == "matrix" or number % 3
        }
        for name, gradient in gradients.items():
            own[name].grad = gradient.clone()
        step(optimiser, [], clip_norm=0.5)
        norm = torch.sqrt(sum(g.double().square().sum() for g in gradients.values()))
        for name, gradient in gradients.items():
            g = gradient.double() / max(1.0, float((norm + 1e-6) / 0.5))
            ages[name] += 1
            first[name] = 0.9 * first[name] + 0.1 * g
            second[name] = 0.999 * second[name] + 0.001 * g * g
            alpha = 0.01 * (1 - 0.999 ** ages[name]) ** 0.5 / (1 - 0.9 ** ages[name])
            expected[name] -= alpha * first[name] / (second[name].sqrt() + 1e-6)
            expected[name] -= 0.01 * 0.1 * expected[name]
    for name, value in own.items():
        torch.testing.assert_close(value.detach().double(), expected[name], atol=2e-6, rtol=0)

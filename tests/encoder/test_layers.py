from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from encore.encoder.dropout import BatchOffset, drawing, keep_mask
from encore.encoder.layers import LayerNorm, Linear, ResidualNorm


def randomised(layer: torch.nn.Module) -> torch.nn.Module:
    for number, parameter in enumerate(layer.parameters()):
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(number))
    return layer


def inputs(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(5)
    return tuple(torch.randn(23, 14, generator=draw).to(dtype) for _ in range(3))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("p", [0.0, 0.3])
def test_residual_norm_is_layer_norm_of_the_sum(p: float, training: bool) -> None:
    layer = randomised(ResidualNorm(14, eps=1e-5, dropout=p)).train(training)
    x, y, direction = inputs()
    with drawing(3, 1):
        (mask,), scale = keep_mask([(23, 14)], p, "tokens", 14)
    factor = mask * scale if p and training else torch.ones(23, 14)

    def gradients(function):
        leaves = [x.clone().requires_grad_(), y.clone().requires_grad_(), *layer.parameters()]
        with drawing(3, 1):
            out = function(*leaves[:2])
        return out.detach(), *torch.autograd.grad((out * direction).sum(), leaves)

    got = gradients(layer)
    expected = gradients(
        lambda a, b: F.layer_norm(a + b * factor, (14,), layer.weight, layer.bias, 1e-5)
    )
    assert len(got) == len(expected) == 5
    for ours, theirs in zip(got, expected, strict=True):
        assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_residual_norm_draws_by_the_tokens_before_it() -> None:
    layer = randomised(ResidualNorm(14, eps=1e-5, dropout=0.3)).train()
    x, y, _ = inputs()
    with drawing(3, 1):
        whole = layer(x, y)
    with drawing(3, 1, BatchOffset(tokens=9)):
        part = layer(x[9:], y[9:])
    assert_close(part, whole[9:], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "layer",
    [ResidualNorm(14, eps=1e-5, dropout=0.3), LayerNorm(14), Linear(14, 14)],
    ids=lambda layer: type(layer).__name__,
)
def test_weights_and_their_gradients_stay_float32_when_bf16_flows(layer: torch.nn.Module) -> None:
    randomised(layer).train()

    def run(dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
        layer.zero_grad()
        x, y, direction = (value.bfloat16().to(dtype).requires_grad_() for value in inputs())
        with drawing(3, 1):
            out = layer(x, y) if isinstance(layer, ResidualNorm) else layer(x)
        assert out.dtype == dtype
        (out * direction).sum().backward()
        return out.detach(), x.grad, *(parameter.grad for parameter in layer.parameters())

    half, full = run(torch.bfloat16), run(torch.float32)
    assert all(
        parameter.dtype == parameter.grad.dtype == torch.float32 for parameter in layer.parameters()
    )
    for a, b in zip(half, full, strict=True):
        assert (a.float() - b).norm() < 0.01 * b.norm()


@pytest.mark.parametrize("bias", [True, False])
def test_gradients_of_gain_and_bias_are_added_up_in_float32(bias: bool) -> None:
    """Over a few thousand tokens a sum in bf16 stops growing."""
    layer = randomised(LayerNorm(14, bias=bias))
    draw = torch.Generator().manual_seed(0)
    x, direction = (
        (1 + torch.randn(5000, 14, generator=draw)).bfloat16(),
        (1 + torch.randn(5000, 14, generator=draw)).bfloat16(),
    )
    half = torch.autograd.grad(layer(x), [*layer.parameters()], direction)
    full = torch.autograd.grad(layer(x.float()), [*layer.parameters()], direction.float())
    assert len(half) == 1 + bias
    for a, b in zip(half, full, strict=True):
        assert (a - b).norm() < 1e-4 * b.norm()


@pytest.mark.parametrize("trained", ["x", "weight", "bias"])
def test_layer_norm_differentiates_only_what_is_asked_for(trained: str) -> None:
    layer, (x, _, direction) = randomised(LayerNorm(14)), inputs(torch.bfloat16)
    leaves = {"x": x, "weight": layer.weight, "bias": layer.bias}
    for name, leaf in leaves.items():
        leaf.requires_grad_(name == trained)
    (layer(x) * direction).sum().backward()
    assert [name for name, leaf in leaves.items() if leaf.grad is not None] == [trained]


def test_layer_norm_takes_its_statistics_in_float32() -> None:
    """256 + small: in bf16 arithmetic the variance would be rounding noise."""
    x = (256 + 2 * torch.randn(40, 31, generator=torch.Generator().manual_seed(0))).bfloat16()
    out = LayerNorm(31)(x)
    assert_close(out.float(), F.layer_norm(x.float(), (31,)), atol=0.02, rtol=0)

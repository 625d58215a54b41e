"""Layers that keep float32 weights and compute in the dtype of what flows through them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encore.dropout import keep

__all__ = ["ACTIVATIONS", "LayerNorm", "Linear", "ResidualNorm"]

ACTIVATIONS = {                                          # under the names that config.json uses
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
}


class Linear(nn.Linear):
    """A linear layer with float32 master weights whose product is taken in the dtype of its input."""

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


class LayerNorm(nn.LayerNorm):
    """Statistics, gain and bias in float32; the result in the dtype of the input."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float32 or x.device.type == "cpu":          # the processor's kernel takes bf16 input beside float32 weights
            return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return F.layer_norm(x.float(), self.normalized_shape, self.weight, self.bias, self.eps).to(x.dtype)


class ResidualNorm(LayerNorm):
    """LayerNorm(x + dropout(y)) in one node, keeping one sum and a byte mask instead of four tensors."""

    def __init__(self, width: int, *, eps: float, dropout: float) -> None:
        super().__init__(width, eps=eps)
        self.dropout = dropout

    def forward(self, x: Tensor, y: Tensor) -> Tensor:                  # type: ignore[override]
        if not self.training or self.dropout == 0:
            return super().forward(x + y)
        (mask,), scale = keep([tuple(y.shape)], self.dropout, "tokens", y.shape[1])
        return super().forward(_AddDropped.apply(x, y, mask.to(y.device), scale))


class _AddDropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, mask: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.scale = scale
        return torch.addcmul(x, y, mask.to(y.dtype), value=scale)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (mask,) = ctx.saved_tensors
        return grad, (grad * mask.to(grad.dtype)).mul_(ctx.scale), None, None

"""Layers that keep float32 weights and compute in the dtype of what flows through them."""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encore.encoder.dropout import Unit, dropout, keep_mask

__all__ = ["ACTIVATIONS", "LayerNorm", "Linear", "Residual", "ResidualNorm"]

ACTIVATIONS = {  # under the names that config.json uses
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
}


class Linear(nn.Linear):
    """A linear layer with float32 master weights whose product is taken in the dtype of its
    input.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, *self.matrix(x.dtype))

    def matrix(self, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """The weight (outputs, inputs) and the bias (outputs,) or None, in this dtype."""
        return self.weight.to(dtype), None if self.bias is None else self.bias.to(dtype)


class LayerNorm(nn.LayerNorm):
    """Statistics, gain, bias and their gradients in float32; the result in the dtype of the
    input.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float32:
            return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        if x.device.type == "cpu":
            return _HalfNorm.apply(x, self.weight, self.bias, self.eps)
        return F.layer_norm(x.float(), self.normalized_shape, self.weight, self.bias, self.eps).to(
            x.dtype
        )


class _HalfNorm(torch.autograd.Function):
    """The processor's kernel takes bf16 beside float32 weights, but its backward adds up the
    weights' gradients in bf16: 3 % off after 800 tokens, 30 % after 4,000. So the way back takes
    float32, while only the bf16 input is kept.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
        out, mean, inverse_deviation = torch.native_layer_norm(x, weight.shape, weight, bias, eps)
        ctx.save_for_backward(x, weight, bias, mean, inverse_deviation)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, inverse_deviation = ctx.saved_tensors
        wanted = [*ctx.needs_input_grad[:2], bias is not None and ctx.needs_input_grad[2]]
        grad_x, *others = torch.ops.aten.native_layer_norm_backward(
            grad.float(), x.float(), weight.shape, mean, inverse_deviation, weight, bias, wanted
        )
        return None if grad_x is None else grad_x.to(x.dtype), *others, None


class Residual(Protocol):
    """The end of a sublayer: the residual x and the sublayer's output y → what goes on, all (lines,
    width). It is `closed(x + dropped(y))`, and may compute that in one go. unit: what a line is.
    """

    def __call__(self, x: Tensor, y: Tensor, unit: Unit = "tokens") -> Tensor: ...
    def dropped(self, y: Tensor, unit: Unit) -> Tensor: ...
    def closed(self, total: Tensor) -> Tensor: ...


class ResidualNorm(LayerNorm, Residual):
    """LayerNorm(x + dropout(y)) in one node, keeping one sum and a byte mask instead of four
    tensors.
    """

    def __init__(self, width: int, *, eps: float, dropout: float) -> None:
        super().__init__(width, eps=eps)
        self.dropout = dropout

    def forward(self, x: Tensor, y: Tensor, unit: Unit = "tokens") -> Tensor:  # type: ignore[override]
        if not self.training or self.dropout == 0:
            return super().forward(x + y)
        (mask,), scale = keep_mask([tuple(y.shape)], self.dropout, unit, y.shape[1])
        return super().forward(_AddDropped.apply(x, y, mask.to(y.device), scale))

    def dropped(self, y: Tensor, unit: Unit) -> Tensor:
        return dropout(y, self.dropout if self.training else 0.0, unit)

    def closed(self, total: Tensor) -> Tensor:
        return super().forward(total)


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

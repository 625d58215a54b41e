"""Attention over unpadded rows: the only place, beside pooling, that knows about rows.

On the processor, rows of equal or nearly equal length are computed together by plain batched matrix products. A row's padded length depends on its
own length alone, so a row alone is computed exactly as the same row in a batch. Scores and softmax are float32 whatever the products are in.
`scaled_dot_product_attention` is not used for training: its bf16 backward on a processor takes as long as all matrix products of a layer together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from encore.dropout import keep
from encore.types import Tokens

__all__ = ["alike", "attend", "n_pairs", "padded_length"]


def padded_length(length: int) -> int:
    """The length at which a row's attention is computed: the next multiple of 8 up to 64, of 16 up to 128, of 32 beyond.

    >>> [padded_length(n) for n in (1, 8, 9, 65, 128, 129)]
    [8, 8, 16, 80, 128, 160]
    """
    grain = 8 if length <= 64 else 16 if length <= 128 else 32
    return -(-length // grain) * grain


def n_pairs(lengths: tuple[int, ...]) -> int:
    """Query-key pairs of some rows as they are laid out here: what dropout counts by."""
    return sum(padded_length(length) ** 2 for length in lengths)


def alike(lengths: tuple[int, ...]) -> list[tuple[int, list[int]]]:
    """Rows that are computed together: (padded length, numbers of its rows in order), from short to long.

    >>> alike((3, 12, 8))
    [(8, [0, 2]), (16, [1])]
    """
    by_length: dict[int, list[int]] = {}
    for row, length in enumerate(lengths):
        by_length.setdefault(padded_length(length), []).append(row)
    return sorted(by_length.items())


@dataclass(frozen=True)
class _Padding:
    """`gather`: (rows * length,) token numbers, a padded place repeats its row's first token. `scatter`: the places that hold real tokens; `tokens`:
    the numbers of those tokens."""

    gather: Tensor
    scatter: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class _Group:
    """Rows of one padded length. `start`: the first row's first token; `pairs`: how many query-key pairs lie before each row, in the order of the
    batch; `padding`: None where the rows lie end to end without any; `bias`: (rows | 1, 1, length | 1, length) float32, 0 or -inf."""

    n_rows: int
    length: int
    start: int
    pairs: tuple[int, ...]
    padding: _Padding | None
    bias: Tensor | None


def _groups(tokens: Tokens, window: int | None) -> list[_Group]:
    name = ("attention", window)
    if name not in tokens.cache:
        tokens.cache[name] = _lay_out(tokens, window)
    return tokens.cache[name]


def _lay_out(tokens: Tokens, window: int | None) -> list[_Group]:
    device = tokens.ids.device
    starts, pairs = [0], [0]
    for length in tokens.lengths:
        starts.append(starts[-1] + length)
        pairs.append(pairs[-1] + padded_length(length) ** 2)
    groups = []
    for padded, members in alike(tokens.lengths):
        lengths = [tokens.lengths[row] for row in members]
        places = torch.arange(padded)
        real = places < torch.tensor(lengths).unsqueeze(1)                                       # (rows, padded)
        bias = None
        if not all(length == padded for length in lengths):
            bias = torch.zeros(len(members), 1, 1, padded).masked_fill_(~real[:, None, None], -math.inf).to(device)
        if window is not None and padded > window // 2 + 1:
            far = (places[:, None] - places[None]).abs() > window // 2
            local = torch.zeros(1, 1, padded, padded).masked_fill_(far, -math.inf).to(device)
            # A padded query whose window holds no real key would be all -inf, hence NaN: it may look at itself, nobody reads it.
            itself = torch.eye(padded, dtype=torch.bool, device=device)
            bias = local if bias is None else (bias + local).masked_fill(itself, 0.0)
        before = tuple(pairs[row] for row in members)
        end_to_end = members[-1] - members[0] == len(members) - 1
        if end_to_end and all(length == padded for length in lengths):
            groups.append(_Group(len(members), padded, starts[members[0]], before, None, bias))
            continue
        first = torch.tensor([starts[row] for row in members]).unsqueeze(1)
        gather = torch.where(real, first + places, first).flatten()
        scatter = real.flatten().nonzero().squeeze(1)
        padding = _Padding(gather.to(device), scatter.to(device), gather[scatter].to(device))
        groups.append(_Group(len(members), padded, starts[members[0]], before, padding, bias))
    return groups


def attend(q: Tensor, k: Tensor, v: Tensor, tokens: Tokens, *, n_heads: int, window: int | None = None, dropout: float = 0.0) -> Tensor:
    """softmax(q·kᵀ / √(width / n_heads))·v inside each row.

    q, k, v: (tokens, width); returns (tokens, width) in their dtype. `window`: a token sees those at most window // 2 away. `dropout`: on the weights.
    """
    if q.is_cuda and dropout == 0 and q.dtype != torch.float32 and q.shape[1] // n_heads % 8 == 0:
        return _varlen(q, k, v, tokens, n_heads, window)
    return _Attend.apply(q, k, v, tokens, n_heads, window, dropout)


def _varlen(q: Tensor, k: Tensor, v: Tensor, tokens: Tokens, n_heads: int, window: int | None) -> Tensor:
    """Flash attention over ragged rows, in half precision on a GPU. It has no dropout, so training with attention dropout takes the grouped path."""
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (x.reshape(x.shape[0], n_heads, -1) for x in (q, k, v))
    offsets, longest = tokens.offsets.to(torch.int32), max(tokens.lengths)
    side = -1 if window is None else window // 2
    mixed = varlen_attn(q, k, v, offsets, offsets, longest, longest, window_size=(side, side))
    return cast(Tensor, mixed).flatten(1)


class _Attend(torch.autograd.Function):
    """Forward and backward written out: autograd would keep the scores in float32 and the masks, and take one node per group and operation."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, tokens: Tokens, n_heads: int, window: int | None, dropout: float) -> Tensor:
        groups = _groups(tokens, window)
        width = q.shape[1]
        scale = (width // n_heads) ** -0.5
        masks, kept = None, 1.0
        if dropout > 0:
            (drawn,), kept = keep([(n_pairs(tokens.lengths) * n_heads,)], dropout, "pairs", n_heads)
            masks = [_mask(drawn.to(q.device), group, n_heads) for group in groups]
        out = q.new_empty(q.shape)
        needs_grad = any(ctx.needs_input_grad[:3])
        weights: list[Tensor] = []
        for number, group in enumerate(groups):
            q_, k_, v_ = (_heads(x, group, n_heads) for x in (q, k, v))
            chances = _softmax(torch.bmm(q_, k_.transpose(1, 2)), scale, group, n_heads)
            used = chances if masks is None else chances * masks[number].to(chances.dtype)
            mixed = torch.bmm(used, v_)
            if kept != 1:
                mixed *= kept
            _put(out, mixed, group, n_heads)
            if needs_grad:
                weights.append(chances)
        if needs_grad:
            ctx.save_for_backward(q, k, v, *weights)
            ctx.plan = (groups, masks, kept, n_heads, scale)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *weights = ctx.saved_tensors
        groups, masks, kept, n_heads, scale = ctx.plan
        grads = q.new_empty(q.shape[0], 3 * q.shape[1]).chunk(3, dim=1)
        for number, group in enumerate(groups):
            q_, k_, v_ = (_heads(x, group, n_heads) for x in (q, k, v))
            grad_ = _heads(grad, group, n_heads, pad_zero=True)
            chances = weights[number]
            grad_used = torch.bmm(grad_, v_.transpose(1, 2))
            if masks is None:
                grad_v = torch.bmm(chances.transpose(1, 2), grad_)
            else:
                mask = masks[number].to(chances.dtype)
                grad_v = torch.bmm((chances * mask).transpose(1, 2), grad_)
                grad_v *= kept
                grad_used *= mask
            wide = chances.float()
            grad_scores = torch._softmax_backward_data(grad_used.float(), wide, -1, torch.float32).mul_(scale * kept).to(q.dtype)
            for target, value in zip(grads, (torch.bmm(grad_scores, k_), torch.bmm(grad_scores.transpose(1, 2), q_), grad_v), strict=True):
                _put(target, value, group, n_heads)
        return *grads, None, None, None, None


def _mask(drawn: Tensor, group: _Group, n_heads: int) -> Tensor:
    """(rows * heads, length, length) of one group, out of what was drawn for the rows in the order of the batch: so a micro-batch gets its own rows' part."""
    size = n_heads * group.length**2
    starts = [before * n_heads for before in group.pairs]
    if starts[-1] - starts[0] == size * (group.n_rows - 1):
        chosen = drawn[starts[0] : starts[-1] + size]
    else:
        chosen = torch.cat([drawn[start : start + size] for start in starts])
    return chosen.view(group.n_rows * n_heads, group.length, group.length)


def _softmax(scores: Tensor, scale: float, group: _Group, n_heads: int) -> Tensor:
    """(rows * heads, length, length) scores → weights in the same dtype, computed in float32."""
    wide = scores.float().mul_(scale) if scores.dtype != torch.float32 else scores.mul_(scale)
    if group.bias is not None:
        wide.view(group.n_rows, n_heads, group.length, group.length).add_(group.bias)
    return torch.softmax(wide, dim=-1).to(scores.dtype)


def _heads(x: Tensor, group: _Group, n_heads: int, *, pad_zero: bool = False) -> Tensor:
    """(tokens, width) → (rows * heads, length, width / heads) of one group. Padded places repeat a real token unless they must be zero."""
    if group.padding is None:
        rows = x[group.start : group.start + group.n_rows * group.length]
    elif pad_zero:
        rows = x.new_zeros(group.n_rows * group.length, x.shape[1])
        rows.index_copy_(0, group.padding.scatter, x.index_select(0, group.padding.tokens))
    else:
        rows = x.index_select(0, group.padding.gather)
    return rows.reshape(group.n_rows, group.length, n_heads, -1).transpose(1, 2).reshape(group.n_rows * n_heads, group.length, -1)


def _put(out: Tensor, x: Tensor, group: _Group, n_heads: int) -> None:
    """The way back: (rows * heads, length, width / heads) into the group's tokens of `out`."""
    rows = x.view(group.n_rows, n_heads, group.length, -1).transpose(1, 2).reshape(group.n_rows * group.length, -1)
    if group.padding is None:
        out[group.start : group.start + rows.shape[0]] = rows
    else:
        out.index_copy_(0, group.padding.tokens, rows.index_select(0, group.padding.scatter))

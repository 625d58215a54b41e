"""Attention over unpadded rows: the only place, beside pooling, that knows about rows.

On the processor, rows of equal or nearly equal length are computed together by plain batched matrix
products. A row's padded length depends on its own length alone, so a row alone is computed exactly
as the same row in a batch. Scores and softmax are float32 whatever the products are in.
`scaled_dot_product_attention` is not used for training: its bf16 backward on a processor takes as
long as all matrix products of a layer together.

What surprised: `index_select` on lines of one head of one token (64 bytes) is as fast as on whole
tokens, so that one call brings queries, keys and values of all rows into the order (group, row,
head, place), and one more brings the result back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from encore.encoder.dropout import keep_mask
from encore.types import Tokens

__all__ = ["attend", "n_pairs", "padded_length", "padded_lengths", "rows_by_padded_length"]

_CHUNK = 1 << 18  # scores computed at once: float32 ones fit a core's cache


def padded_length(length: int) -> int:
    """The length at which a row's attention is computed: the next multiple of 16 up to 128, of 32
    beyond. (Multiples of 8 pad less and make twice as many shapes of matrix products, each of which
    has to be compiled and kept.)

    >>> [padded_length(n) for n in (1, 16, 17, 65, 128, 129)]
    [16, 16, 32, 80, 128, 160]
    """
    grain = 16 if length <= 128 else 32
    return -(-length // grain) * grain


def padded_lengths(lengths: np.ndarray) -> np.ndarray:
    """`padded_length` of each."""
    grain = np.where(lengths <= 128, 16, 32)
    return -(-lengths // grain) * grain


def n_pairs(lengths: tuple[int, ...]) -> int:
    """Query-key pairs of some rows as they are laid out here: what dropout counts by."""
    return sum(padded_length(length) ** 2 for length in lengths)


def rows_by_padded_length(lengths: tuple[int, ...]) -> list[tuple[int, list[int]]]:
    """Rows that are computed together: (padded length, numbers of its rows in order), from short to
    long.

    >>> rows_by_padded_length((3, 22, 8))
    [(16, [0, 2]), (32, [1])]
    """
    by_length: dict[int, list[int]] = {}
    for row, length in enumerate(lengths):
        by_length.setdefault(padded_length(length), []).append(row)
    return sorted(by_length.items())


@dataclass(frozen=True)
class _Group:
    """Some rows of one padded length, computed together. `place`: the group's first line among all
    lines (row, head, place); `pair`: the same among all scores. `bias`: (rows, 1, 1 | length,
    length) float32, 0 or -inf, or None.
    """

    n_rows: int
    length: int
    place: int
    pair: int
    bias: Tensor | None


@dataclass(frozen=True)
class _Layout:
    """The places of the lines of a batch. A line is one head of one token: (head width,).

    `gather`: (3 * lines,) for each line of queries, then of keys, then of values its number in the
    stacked matrix; a padded place takes a line of its row's first token. `gather_one`: (lines,) the
    same in a matrix of one part. `padded`: which lines are padded places. `scatter`: (tokens * 3 *
    heads,) and `scatter_one`: (tokens * heads,) the way back, where a token that belongs to no row
    takes the line behind the last one. `order`: the slices of the batch's scores, row by row, that
    make up the order here; None where the two are the same.
    """

    groups: tuple[_Group, ...]
    n_lines: int
    n_pairs: int
    gather: Tensor
    gather_one: Tensor
    padded: Tensor
    scatter: Tensor
    scatter_one: Tensor
    order: tuple[slice, ...] | None


def _layout(tokens: Tokens, n_tokens: int, n_heads: int, window: int | None) -> _Layout:
    name = ("attention", n_tokens, n_heads, window)
    if name not in tokens.cache:
        tokens.cache[name] = _lay_out(tokens, n_tokens, n_heads, window)
    return tokens.cache[name]


def _lay_out(tokens: Tokens, n_tokens: int, n_heads: int, window: int | None) -> _Layout:
    device, heads = tokens.ids.device, np.arange(n_heads)
    lengths = np.asarray(tokens.lengths, dtype=np.int64)
    starts = np.cumsum(lengths) - lengths
    padded = padded_lengths(lengths)
    pair_ends = n_heads * np.cumsum(padded**2)
    groups, in_order, place, pair = [], [], 0, 0
    for length, members in _chunks(tokens.lengths, n_heads):
        groups.append(
            _Group(
                len(members), length, place, pair, _bias(lengths[members], length, window, device)
            )
        )
        in_order.append(members)
        place += len(members) * n_heads * length
        pair += len(members) * n_heads * length**2
    order = np.concatenate(in_order)
    first_line = np.empty_like(starts)
    first_line[order] = n_heads * (np.cumsum(padded[order]) - padded[order])
    row = np.repeat(np.arange(len(lengths)), lengths)
    position = np.arange(len(row)) - starts[row]
    scatter = np.full((n_tokens, n_heads), place, dtype=np.int64)
    scatter[: len(row)] = (first_line[row] + position)[:, None] + padded[row][:, None] * heads
    gather = np.repeat(starts[order] * n_heads, n_heads * padded[order])
    gather[scatter[: len(row)]] = np.arange(len(row))[:, None] * n_heads + heads
    is_padded = np.ones(place, dtype=bool)
    is_padded[scatter[: len(row)]] = False
    token, head = np.divmod(gather, n_heads)
    slices = [
        slice(int(pair_ends[row] - n_heads * padded[row] ** 2), int(pair_ends[row]))
        for row in order
    ]

    def there(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array.ravel(), dtype=np.int32)).to(device)

    return _Layout(
        groups=tuple(groups),
        n_lines=place,
        n_pairs=pair,
        gather=there(np.stack([(token * 3 + part) * n_heads + head for part in range(3)])),
        gather_one=there(gather),
        padded=torch.from_numpy(np.flatnonzero(is_padded)).to(device),
        scatter=there(
            np.stack(
                [
                    np.where(scatter == place, 3 * place, part * place + scatter)
                    for part in range(3)
                ],
                axis=1,
            )
        ),
        scatter_one=there(scatter),
        order=None if (np.diff(order) > 0).all() else tuple(slices),
    )


def _chunks(lengths: tuple[int, ...], n_heads: int) -> Iterator[tuple[int, np.ndarray]]:
    """Rows of one padded length, as many at a time as `_CHUNK` allows."""
    for length, members in rows_by_padded_length(lengths):
        size = max(1, _CHUNK // max(1, n_heads * length**2))
        yield from (
            (length, np.asarray(members[start : start + size]))
            for start in range(0, len(members), size)
        )


def _bias(
    lengths: np.ndarray, padded: int, window: int | None, device: torch.device
) -> Tensor | None:
    """The bias on the scores of rows of these lengths, computed at length `padded`; None where
    there is nothing to hide.
    """
    places = torch.arange(padded)
    bias = None
    if (lengths < padded).any():
        hidden = places >= torch.from_numpy(lengths).unsqueeze(1)
        bias = (
            torch.zeros(len(lengths), 1, 1, padded)
            .masked_fill_(hidden[:, None, None], -math.inf)
            .to(device)
        )
    if window is not None and padded > window // 2 + 1:
        far = (places[:, None] - places[None]).abs() > window // 2
        local = torch.zeros(1, 1, padded, padded).masked_fill_(far, -math.inf).to(device)
        # A padded query whose window holds no real key would be all -inf, hence NaN: it may look at
        # itself, nobody reads it.
        itself = torch.eye(padded, dtype=torch.bool, device=device)
        bias = local if bias is None else (bias + local).masked_fill(itself, 0.0)
    return bias


def attend(
    qkv: Tensor, tokens: Tokens, *, n_heads: int, window: int | None = None, dropout: float = 0.0
) -> Tensor:
    """softmax(q·kᵀ / √(width / n_heads))·v inside each row.

    qkv: (tokens, 3 * width), queries, keys and values side by side, as one matrix product makes
    them; returns (tokens, width) in their dtype. `window`: a token sees those at most window // 2
    away. `dropout`: on the weights. On a processor `qkv` may have more lines than there are tokens:
    those behind the last token belong to no row, give 0 and get no gradient.
    """
    if (
        qkv.is_cuda
        and dropout == 0
        and qkv.dtype != torch.float32
        and qkv.shape[1] // (3 * n_heads) % 8 == 0
    ):
        return _varlen(qkv, tokens, n_heads, window)
    return _Attend.apply(qkv, tokens, n_heads, window, dropout)


def _varlen(qkv: Tensor, tokens: Tokens, n_heads: int, window: int | None) -> Tensor:
    """Flash attention over ragged rows, in half precision on a GPU. It has no dropout, so training
    with attention dropout takes the grouped path.
    """
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = qkv.reshape(qkv.shape[0], 3, n_heads, -1).unbind(1)
    offsets, longest = tokens.offsets.to(torch.int32), max(tokens.lengths)
    side = -1 if window is None else window // 2
    mixed = varlen_attn(q, k, v, offsets, offsets, longest, longest, window_size=(side, side))
    return cast(Tensor, mixed).flatten(1)


class _Attend(torch.autograd.Function):
    """Forward and backward written out: autograd would keep the scores in float32 and the masks,
    and take one node per group and operation.
    """

    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, tokens: Tokens, n_heads: int, window: int | None, dropout: float
    ) -> Tensor:
        layout = _layout(tokens, qkv.shape[0], n_heads, window)
        width = qkv.shape[1] // 3
        head_width = width // n_heads
        scale = head_width**-0.5
        mask, kept = None, 1.0
        if dropout > 0:
            (mask,), kept = keep_mask([(layout.n_pairs,)], dropout, "pairs", n_heads)
            mask = mask.to(qkv.device)
            if layout.order is not None:
                mask = torch.cat([mask[part] for part in layout.order])
        lines = qkv.reshape(-1, head_width).index_select(0, layout.gather)
        weights = qkv.new_empty(layout.n_pairs)
        mixed = qkv.new_empty(layout.n_lines + 1, head_width)
        mixed[-1] = 0
        for group in layout.groups:
            q, k, v = _parts(lines, layout, group, n_heads)
            probs = _pairs(weights, group, n_heads)
            _softmax(_product(q, k.transpose(1, 2), scale), group, n_heads, out=probs)
            used = probs if mask is None else probs * _pairs(mask, group, n_heads)
            _product(used, v, kept, out=_lines(mixed, group, n_heads))
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(lines, weights)
            ctx.plan = (layout, mask, kept, n_heads, scale)
        return mixed.index_select(0, layout.scatter_one).view(-1, width)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        lines, weights = ctx.saved_tensors
        layout, mask, kept, n_heads, scale = ctx.plan
        above = (
            grad.reshape(-1, lines.shape[1])
            .index_select(0, layout.gather_one)
            .index_fill_(0, layout.padded, 0)
        )
        below = torch.empty(
            3 * layout.n_lines + 1, lines.shape[1], dtype=lines.dtype, device=lines.device
        )
        below[-1] = 0
        for group in layout.groups:
            q, k, v = _parts(lines, layout, group, n_heads)
            grad_q, grad_k, grad_v = _parts(below, layout, group, n_heads)
            grad_mixed = _lines(above, group, n_heads)
            probs = _pairs(weights, group, n_heads)
            grad_used = torch.bmm(grad_mixed, v.transpose(1, 2))
            if mask is None:
                used = probs
            else:
                drawn = _pairs(mask, group, n_heads)
                used = probs * drawn
                grad_used *= drawn
            _product(used.transpose(1, 2), grad_mixed, kept, out=grad_v)
            grad_scores = torch._softmax_backward_data(
                grad_used.float(), probs.float(), -1, torch.float32
            ).to(lines.dtype)
            _product(grad_scores, k, scale * kept, out=grad_q)
            _product(grad_scores.transpose(1, 2), q, scale * kept, out=grad_k)
        return below.index_select(0, layout.scatter).view(grad.shape[0], -1), None, None, None, None


def _lines(lines: Tensor, group: _Group, n_heads: int, start: int = 0) -> Tensor:
    """(rows * heads, length, head width): a group's lines, whose first part begins at `start`."""
    n_matrices = group.n_rows * n_heads
    return lines.narrow(0, start + group.place, n_matrices * group.length).view(
        n_matrices, group.length, -1
    )


def _parts(
    lines: Tensor, layout: _Layout, group: _Group, n_heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    first, second, third = (
        _lines(lines, group, n_heads, part * layout.n_lines) for part in range(3)
    )
    return first, second, third


def _pairs(values: Tensor, group: _Group, n_heads: int) -> Tensor:
    """(rows * heads, length, length): a group's part of what there is one of for each pair."""
    n_matrices = group.n_rows * n_heads
    return values.narrow(0, group.pair, n_matrices * group.length**2).view(
        n_matrices, group.length, group.length
    )


def _product(a: Tensor, b: Tensor, factor: float, out: Tensor | None = None) -> Tensor:
    """factor * a @ b for stacks of matrices. In half precision it is rounded once; in float32
    twice, as transformers does, to stay near it bit by bit.
    """
    if out is None:
        out = a.new_empty(a.shape[0], a.shape[1], b.shape[2])
    if a.dtype == torch.float32:
        return torch.bmm(a, b, out=out).mul_(factor)
    return torch.baddbmm(out, a, b, beta=0, alpha=factor, out=out)


def _softmax(scores: Tensor, group: _Group, n_heads: int, *, out: Tensor) -> None:
    """(rows * heads, length, length) scores → weights in the dtype of `out`, computed in float32.
    May overwrite `scores`.
    """
    wide = scores.float()
    if group.bias is not None:
        wide.view(group.n_rows, n_heads, group.length, group.length).add_(group.bias)
    if out.dtype == torch.float32:
        torch.softmax(wide, dim=-1, out=out)
    else:
        out.copy_(torch.softmax(wide, dim=-1))

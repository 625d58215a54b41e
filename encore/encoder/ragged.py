"""The few operations that know where one row of `Tokens` ends and the next begins.

What must look at a row's tokens side by side does so on near-equal rows together, padded as
attention pads them, so that a row alone is computed as the same row in a batch. No result depends
on the contents of the padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from encore.encoder.attention import rows_by_padded_length
from encore.errors import DataError
from encore.types import Tokens

__all__ = [
    "first",
    "first_tokens",
    "max",
    "mean",
    "mix",
    "numbers",
    "padded",
    "products",
    "real",
    "softmax",
    "special",
    "total",
    "unpadded",
]


def numbers(tokens: Tokens) -> Tensor:
    """(tokens,) int64: the row that each token belongs to."""
    if "numbers" not in tokens.cache:
        lengths = tokens.offsets.diff()
        tokens.cache["numbers"] = torch.repeat_interleave(
            torch.arange(tokens.n_rows, device=lengths.device), lengths, output_size=tokens.n_tokens
        )
    return tokens.cache["numbers"]


def special(tokens: Tokens) -> Tensor:
    """(tokens,) bool: [CLS] and every [SEP], or what an encoder's own tokenizer puts in their
    place.

    A row begins and ends with a special token, so they are the tokens that have the id of its first
    or its last one.
    """
    row = numbers(tokens)
    return (tokens.ids == tokens.ids[tokens.offsets[:-1]][row]) | (
        tokens.ids == tokens.ids[tokens.offsets[1:] - 1][row]
    )


def first(values: Tensor, tokens: Tokens) -> Tensor:
    """(tokens, width) → (rows, width): the first token of each row, [CLS] in BERT's family."""
    return values.index_select(0, tokens.offsets[:-1])


def first_tokens(tokens: Tokens) -> Tokens:
    """Rows of one token each: the first ones."""
    at = tokens.offsets[:-1]
    offsets = torch.arange(tokens.n_rows + 1, device=at.device)
    return Tokens(
        tokens.ids[at], tokens.segments[at], tokens.positions[at], offsets, (1,) * tokens.n_rows
    )


def total(values: Tensor, tokens: Tokens) -> Tensor:
    """(tokens, width) → (rows, width) float32: the sum over each row's tokens."""
    return torch.zeros(
        tokens.n_rows, values.shape[1], dtype=torch.float32, device=values.device
    ).index_add(0, numbers(tokens), values.float())


def mean(values: Tensor, tokens: Tokens) -> Tensor:
    """(tokens, width) → (rows, width) float32: the mean over each row's tokens, special tokens
    included.
    """
    return total(values, tokens) / tokens.offsets.diff().unsqueeze(1)


def max(values: Tensor, tokens: Tokens) -> Tensor:
    """(tokens, width) → (rows, width): the greatest of each row's tokens, coordinate by coordinate.
    The gradient goes to one token, the first of equals.
    """
    layout = _layout(tokens)
    with torch.no_grad():
        winners = torch.cat(
            [
                _winners(x, at)
                for x, at in zip(
                    layout.padded(values), layout.gather.split(layout.places), strict=True
                )
            ]
        )
    return values.gather(0, winners.index_select(0, layout.back))


def _winners(x: Tensor, at: Tensor) -> Tensor:
    """(rows, length, width) and the token numbers (rows * length,) of its places → (rows, width):
    the token that holds each maximum.

    `x.max(dim=1)` would say so too, in twenty times the time: with indices, a processor's kernel
    does not work on whole vectors.
    """
    n_rows, length, _ = x.shape
    hits = (
        x == x.amax(dim=1, keepdim=True)
    ) | x.isnan()  # a maximum that is not a number must be seen
    from_end = torch.arange(length, 0, -1, dtype=torch.int32, device=x.device).unsqueeze(1)
    return at.view(n_rows, length).gather(1, (length - (hits * from_end).amax(dim=1)).long())


def softmax(scores: Tensor, tokens: Tokens) -> Tensor:
    """(tokens, n) → (tokens, n): positive, and in each row and column they add up to 1."""
    row = numbers(tokens)
    with torch.no_grad():  # a shift changes nothing but the rounding
        peaks = scores.new_full((tokens.n_rows, scores.shape[1]), -torch.inf).scatter_reduce_(
            0, row.unsqueeze(1).expand_as(scores), scores, "amax"
        )
    powers = (scores - peaks.index_select(0, row)).exp()
    return powers / total(powers, tokens).index_select(0, row)


def products(queries: Tensor, values: Tensor, tokens: Tokens) -> Tensor:
    """(rows, n, width) and (tokens, width) → (tokens, n): each token times the queries of its
    row.
    """
    layout = _layout(tokens)
    ordered = queries.index_select(0, layout.rows).split(layout.n_rows)
    found = [
        torch.bmm(q, x.transpose(1, 2)).transpose(1, 2).flatten(0, 1)
        for q, x in zip(ordered, layout.padded(values), strict=True)
    ]
    return torch.cat(found).index_select(0, layout.place)


def mix(weights: Tensor, values: Tensor, tokens: Tokens) -> Tensor:
    """(tokens, n) and (tokens, width) → (rows, n, width): the sum of each row's tokens, each times
    its weight, for n sets of weights.
    """
    layout = _layout(tokens)
    spread = (
        weights.new_zeros(layout.gather.shape[0], weights.shape[1])
        .index_copy(0, layout.place, weights)
        .split(layout.places)
    )
    found = [
        torch.bmm(w.view(x.shape[0], x.shape[1], -1).transpose(1, 2), x)
        for w, x in zip(spread, layout.padded(values), strict=True)
    ]
    return torch.cat(found).index_select(0, layout.back)


def padded(values: Tensor, tokens: Tokens) -> list[Tensor]:
    """(tokens, width) → near-equal rows together, (rows, length, width) each. A place behind a
    row's end repeats its first token.
    """
    return _layout(tokens).padded(values)


def real(tokens: Tokens) -> list[Tensor]:
    """(rows, length) bool for each group of `padded`: False behind a row's end."""
    layout = _layout(tokens)
    there = (
        torch.zeros_like(layout.gather, dtype=torch.bool)
        .index_fill_(0, layout.place, True)
        .split(layout.places)
    )
    return [part.view(n_rows, -1) for part, n_rows in zip(there, layout.n_rows, strict=True)]


def unpadded(groups: Sequence[Tensor], tokens: Tokens) -> Tensor:
    """The way back from `padded`: (tokens, width)."""
    return torch.cat([group.flatten(0, 1) for group in groups]).index_select(
        0, _layout(tokens).place
    )


@dataclass(frozen=True)
class _Layout:
    """Near-equal rows together, padded: groups of `n_rows` rows, `places` places each.

    `gather`: (places in all,) the token at each place; a padded one repeats its row's first token.
    `place`: (tokens,) where each token lies. `rows`: the rows in the order of the groups; `back`:
    the way back to the order of the batch.
    """

    n_rows: list[int]
    places: list[int]
    gather: Tensor
    place: Tensor
    rows: Tensor
    back: Tensor

    def padded(self, values: Tensor) -> list[Tensor]:
        """(tokens, width) → (rows, length, width) for each group."""
        parts = values.index_select(0, self.gather).split(self.places)
        return [
            part.view(n_rows, -1, values.shape[1])
            for part, n_rows in zip(parts, self.n_rows, strict=True)
        ]


def _layout(tokens: Tokens) -> _Layout:
    if "layout" not in tokens.cache:
        tokens.cache["layout"] = _lay_out(tokens)
    return tokens.cache["layout"]


def _lay_out(tokens: Tokens) -> _Layout:
    """Raises DataError for a row without tokens, which has no vector."""
    if 0 in tokens.lengths:
        raise DataError(
            f"row {tokens.lengths.index(0)} of a batch has no tokens. Every row needs at least "
            f"its special tokens."
        )
    lengths = torch.tensor(tokens.lengths)
    starts = lengths.cumsum(0) - lengths
    groups = [
        (padded, torch.tensor(members)) for padded, members in rows_by_padded_length(tokens.lengths)
    ]
    gather, real = [], []
    for padded, members in groups:
        begin, places = starts[members].unsqueeze(1), torch.arange(padded)
        inside = places < lengths[members].unsqueeze(1)
        gather.append(torch.where(inside, begin + places, begin).flatten())
        real.append(inside.flatten())
    at, rows = torch.cat(gather), torch.cat([members for _, members in groups])
    taken = torch.cat(real).nonzero().squeeze(1)
    place = torch.empty(tokens.n_tokens, dtype=torch.int64)
    place[at[taken]] = taken
    tensors = (x.to(tokens.ids.device) for x in (at, place, rows, rows.argsort()))
    return _Layout(
        [len(members) for _, members in groups],
        [len(members) * padded for padded, members in groups],
        *tensors,
    )

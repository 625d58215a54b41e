"""The few operations that know where one row of `Tokens` ends and the next begins."""

from __future__ import annotations

import torch
from torch import Tensor

from encore.types import Tokens

__all__ = ["first", "mean", "numbers"]


def numbers(tokens: Tokens) -> Tensor:
    """(tokens,) int64: the row that each token belongs to."""
    if "numbers" not in tokens.cache:
        lengths = tokens.offsets.diff()
        tokens.cache["numbers"] = torch.repeat_interleave(torch.arange(tokens.n_rows, device=lengths.device), lengths, output_size=tokens.n_tokens)
    return tokens.cache["numbers"]


def first(values: Tensor, tokens: Tokens) -> Tensor:
    """(tokens, width) → (rows, width): the first token of each row, [CLS] in BERT's family."""
    return values.index_select(0, tokens.offsets[:-1])


def mean(values: Tensor, tokens: Tokens) -> Tensor:
    """(tokens, width) → (rows, width) float32: the mean over each row's tokens, special tokens included."""
    summed = torch.zeros(tokens.n_rows, values.shape[1], dtype=torch.float32, device=values.device).index_add(0, numbers(tokens), values.float())
    return summed / tokens.offsets.diff().unsqueeze(1)

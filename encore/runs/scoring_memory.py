"""The memory that scoring rows takes, by the attention of the longest one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from encore.data.dataset import Dataset
from encore.data.table import display_path
from encore.data.token_store import TokenStore
from encore.encoder.attention import padded_lengths
from encore.errors import DataError, Problem
from encore.model.free_memory import free_bytes
from encore.model.task_model import TaskModel, encoder_of

__all__ = ["attention_bytes", "require_memory_for_rows"]

# Bytes for each score of a row: scores and weights, in float32, or in bf16 and as float32.
_BYTES = {torch.float32: 8, torch.bfloat16: 12}


def attention_bytes(longest: int, n_heads: int, dtype: torch.dtype) -> float:
    """Bytes that the attention of one row of `longest` tokens takes in a layer, when the row is
    scored.
    """
    return float(padded_lengths(np.array(longest))) ** 2 * n_heads * _BYTES[dtype]


def require_memory_for_rows(
    models: Iterable[TaskModel], store: TokenStore, dataset: Dataset
) -> None:
    """Raises DataError where the attention of the longest row takes more memory than is free."""
    row = int(store.lengths.argmax()) if len(store) else 0
    longest = int(store.lengths.max(initial=1))
    encoders = [encoder_of(branch) for model in models for branch in model.branches]
    need = max(attention_bytes(longest, each.shape.n_heads, each.dtype) for each in encoders)
    free = free_bytes()
    if free is None or need <= free:
        return
    what, places = dataset.places
    raise DataError(
        Problem(
            where=display_path(dataset.path),
            message=f"{what} {places[row % len(dataset)]} has {longest:,} tokens, whose attention "
            f"takes about {need / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free.",
            remedy="Shorten the text, free some memory, or try all the same: --force (in Python "
            "encore.load(run, force=True)).",
        )
    )

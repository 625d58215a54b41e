"""Caches a frozen encoder's features, so only the first epoch runs the encoder.

A pooling is a `reduce` without parameters and a `finish` that trains (encore.types.Pooling). With
the encoder frozen and in eval mode, `reduce` returns the same features for an example every time.
They are kept in memory, and batches are built from them. Where a model has a `Frozen` encoder
beside a trained one, only the features of the frozen branch are cached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from encore.data.batches import collate, evaluation_batches
from encore.data.token_store import TokenStore, take_runs
from encore.encoder.encoder import Frozen
from encore.model.task_model import TaskModel
from encore.types import Pooling, Tokens

__all__ = [
    "FeatureCache",
    "cache_bytes",
    "cache_features",
    "fits_in_memory",
    "frozen_branches",
]

_BESIDE = 1 << 30  # bytes for the `Frozen` encoders of a run; above it they run at every step


@dataclass(frozen=True)
class FeatureCache:
    """Cached features of a store's rows. lines: per branch float32, (rows, width) where the
    pooling's unit is "rows" and (tokens, width) where it is "tokens"; None for a branch that is
    not cached.
    """

    store: TokenStore
    units: tuple[str, ...]
    lines: tuple[Tensor | None, ...]

    def with_lines(self, tokens: Tokens, rows: np.ndarray) -> Tokens:
        """The tokens of `rows`, in that order, with their cached features."""
        device, each = tokens.ids.device, zip(self.units, self.lines, strict=True)
        found = (
            None if lines is None else lines.index_select(0, _at(unit, self.store, rows)).to(device)
            for unit, lines in each
        )
        return replace(tokens, reduced=tuple(found))


def frozen_branches(model: TaskModel, *, all_of_them: bool) -> tuple[bool, ...]:
    """Per branch: True if its encoder never changes. all_of_them: True where only heads are
    trained.
    """
    return tuple(all_of_them or isinstance(branch.encoder, Frozen) for branch in model.branches)


def fits_in_memory(
    models: Mapping[str, TaskModel], stores: Mapping[str, Sequence[TokenStore]]
) -> bool:
    """True if the features of `Frozen` encoders beside trained ones are small enough to cache. It
    depends on the texts alone, so every machine takes the same path.
    """
    needed = 0
    for task, model in models.items():
        still = frozen_branches(model, all_of_them=False)
        poolings = [
            branch.pooling for branch, cached in zip(model.branches, still, strict=True) if cached
        ]
        needed += cache_bytes(poolings, stores[task])
    return needed <= _BESIDE


def cache_features(model: TaskModel, store: TokenStore, which: Sequence[bool]) -> FeatureCache:
    """Encode every row once with the branches for which `which` is True. The bits are always the
    same, because the batches depend on the lengths alone.
    """
    branches = list(model.branches)
    units = tuple(branch.pooling.unit for branch in branches)
    device = next(model.parameters()).device
    lines = [
        torch.empty(_n_lines(unit, store), branch.pooling.reduced_width) if wanted else None
        for unit, branch, wanted in zip(units, branches, which, strict=True)
    ]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for rows in evaluation_batches(store.lengths):
                tokens = collate(store, rows, device)
                for unit, branch, found in zip(units, branches, lines, strict=True):
                    if found is not None:
                        found[_at(unit, store, rows)] = (
                            branch.pooling.reduce(branch.encoded(tokens)[0]).float().cpu()
                        )
    finally:
        model.train(was_training)
    return FeatureCache(store, units, tuple(lines))


def _at(unit: str, store: TokenStore, rows: np.ndarray) -> Tensor:
    """The lines of these rows, int64."""
    at = rows if unit == "rows" else take_runs(store.offsets[:-1][rows], store.lengths[rows])
    return torch.from_numpy(np.asarray(at, dtype=np.int64))


def _n_lines(unit: str, store: TokenStore, longest: int | None = None) -> int:
    if unit == "rows":
        return len(store.lengths)
    return len(store.ids) if longest is None else int(np.minimum(store.lengths, longest).sum())


def cache_bytes(
    poolings: Sequence[Pooling], stores: Sequence[TokenStore], *, longest: int | None = None
) -> int:
    """Bytes that `cache_features` needs for these stores and a model's poolings. longest: of rows
    cut to so many tokens.
    """
    return sum(
        4 * pooling.reduced_width * _n_lines(pooling.unit, store, longest)
        for pooling in poolings
        for store in stores
    )

"""Caches a frozen encoder's features, so only the first epoch runs the encoder.

A pooling is a `reduce` without parameters and a `finish` that trains (encore.types.Pooling). With
the encoder frozen and in eval mode, `reduce` returns the same features for an example every time.
They are kept in memory, and batches are built from them. Where a model has a `Frozen` encoder
beside a trained one, only the features of the frozen branch are cached.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from encore.data.batches import collate, evaluation_batches
from encore.data.token_store import TokenStore, take_runs
from encore.encoder.encoder import Frozen
from encore.errors import RecipeError
from encore.model.task_model import TaskModel
from encore.types import Pooling, Tokens

__all__ = [
    "FeatureCache",
    "cache_bytes",
    "cache_features",
    "check_memory",
    "fits_in_memory",
    "frozen_branches",
]

_SHARE = 0.7  # of the free memory; training needs the rest
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


def _n_lines(unit: str, store: TokenStore) -> int:
    return len(store.lengths) if unit == "rows" else len(store.ids)


def cache_bytes(poolings: Sequence[Pooling], stores: Sequence[TokenStore]) -> int:
    """Bytes that `cache_features` needs for these stores and a model's poolings."""
    return sum(
        4 * pooling.reduced_width * _n_lines(pooling.unit, store)
        for pooling in poolings
        for store in stores
    )


def check_memory(needed: Mapping[str, int]) -> None:
    """Raises RecipeError where the features do not fit in memory. needed: task → bytes."""
    free, total = _free_bytes(), sum(needed.values())
    if free is not None and total > _SHARE * free:
        which = ", ".join(f"{task} {n / 1e9:.1f} GB" for task, n in needed.items())
        raise RecipeError(
            f"plan.freeze_encoder: cached features need {total / 1e9:.1f} GB ({which}); "
            f"{free / 1e9:.1f} GB are "
            "free. Set data.train_rows or a smaller max_length, or a pooling that keeps one "
            "vector per row (cls, mean, max)."
        )


def _free_bytes() -> int | None:
    """Bytes that this process may still use: the machine's free memory, or less where its container
    has a limit. None where the system does not report it.
    """
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        found.append(int(lines["MemAvailable"].split()[0]) * 1024)
    with contextlib.suppress(OSError, ValueError):
        found.append(
            int(Path("/sys/fs/cgroup/memory.max").read_text())
            - int(Path("/sys/fs/cgroup/memory.current").read_text())
        )
    if not found:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(found) if found else None

"""Caches a frozen encoder's features, so only the first epoch runs the encoder.

A pooling is a `reduce` without parameters and a `finish` that trains (encore.types.Pooling). With
the encoder frozen and in eval mode, `reduce` returns the same features for an example every time.
They are kept in memory, and batches are built from them. Where a model has a `Frozen` encoder
beside a trained one, only the features of the frozen branch are cached. Of an encoder with fixed
blocks (`Encoder.n_fixed`), their output is cached, and the blocks above run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from encore.data.batches import collate, evaluation_batches
from encore.data.token_store import TokenStore, take_runs
from encore.encoder.encoder import Encoder, Frozen
from encore.model.task_model import TaskModel, fixed_key
from encore.types import Pooling, Tokens

__all__ = [
    "FeatureCache",
    "cache_bytes",
    "cache_features",
    "fits_in_memory",
    "frozen_branches",
    "state_bytes",
    "partly_fixed",
]

_BESIDE = 1 << 30  # bytes for the `Frozen` encoders of a run; above it they run at every step


@dataclass(frozen=True)
class FeatureCache:
    """Cached features of a store's rows. lines: per branch float32, (rows, width) where the
    pooling's unit is "rows" and (tokens, width) where it is "tokens"; None for a branch that is
    not cached. states: the key of an encoder (`fixed_key`) → (tokens, width), what its fixed
    blocks make of them.
    """

    store: TokenStore
    units: tuple[str, ...]
    lines: tuple[Tensor | None, ...]
    states: Mapping[tuple[str, int], Tensor] = field(default_factory=dict)

    def with_lines(self, tokens: Tokens, rows: np.ndarray) -> Tokens:
        """The tokens of `rows`, in that order, with their cached features."""
        device = tokens.ids.device

        def lines_of(unit: str, lines: Tensor) -> Tensor:
            return lines.index_select(0, _at(unit, self.store, rows)).to(device)

        each = zip(self.units, self.lines, strict=True)
        reduced = tuple(None if lines is None else lines_of(unit, lines) for unit, lines in each)
        found = replace(tokens, reduced=reduced)
        for key, states in self.states.items():
            found.cache[key] = lines_of("tokens", states)
        return found


def frozen_branches(model: TaskModel, *, all_of_them: bool) -> tuple[bool, ...]:
    """Per branch: True if its encoder never changes. all_of_them: True where only heads are
    trained.
    """
    return tuple(all_of_them or isinstance(branch.encoder, Frozen) for branch in model.branches)


def partly_fixed(model: TaskModel) -> list[Encoder]:
    """The encoders whose lowest blocks make the same of a text each time, and whose lower states
    no pooling reads.
    """
    lowest: dict[Encoder, int] = {}
    for branch in model.branches:
        encoder = branch.encoder
        if isinstance(encoder, Encoder) and encoder.n_fixed:
            read = min(layer % (encoder.n_layers + 1) for layer in branch.pooling.layers)
            lowest[encoder] = min(read, lowest.get(encoder, read))
    return [encoder for encoder, layer in lowest.items() if layer >= encoder.n_fixed]


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
        needed += cache_bytes(poolings, stores[task]) + state_bytes(model, stores[task])
    return needed <= _BESIDE


def cache_features(model: TaskModel, store: TokenStore, which: Sequence[bool]) -> FeatureCache:
    """Encode every row once with the branches for which `which` is True. The bits are always the
    same, because the batches depend on the lengths alone.
    """
    branches = list(model.branches)
    units = tuple(branch.pooling.unit for branch in branches)
    device = next(model.parameters()).device
    fixed = [] if all(which) else partly_fixed(model)
    states = [
        torch.empty(_n_lines("tokens", store), each.shape.width, dtype=each.dtype) for each in fixed
    ]
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
                for encoder, kept in zip(fixed, states, strict=True):
                    kept[_at("tokens", store, rows)] = _fixed_states(encoder, tokens).cpu()
    finally:
        model.train(was_training)
    keys = map(fixed_key, fixed)
    return FeatureCache(store, units, tuple(lines), dict(zip(keys, states, strict=True)))


def _fixed_states(encoder: Encoder, tokens: Tokens) -> Tensor:
    """(tokens, width): the output of an encoder's fixed blocks, without the final norm."""
    below = Encoder(encoder.embed, encoder.blocks[: encoder.n_fixed])
    below.dtype = encoder.dtype
    (state,) = below.eval()(tokens, layers=(-1,)).read((encoder.n_fixed,))
    return state


def _at(unit: str, store: TokenStore, rows: np.ndarray) -> Tensor:
    """The lines of these rows, int64."""
    at = rows if unit == "rows" else take_runs(store.offsets[:-1][rows], store.lengths[rows])
    return torch.from_numpy(np.asarray(at, dtype=np.int64))


def _n_lines(unit: str, store: TokenStore, longest: int | None = None) -> int:
    if unit == "rows":
        return len(store.lengths)
    return len(store.ids) if longest is None else int(np.minimum(store.lengths, longest).sum())


def state_bytes(
    model: TaskModel, stores: Sequence[TokenStore], *, longest: int | None = None
) -> int:
    """Bytes that the output of fixed blocks needs for these stores."""
    return sum(
        encoder.dtype.itemsize * encoder.shape.width * _n_lines("tokens", store, longest)
        for encoder in partly_fixed(model)
        for store in stores
    )


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

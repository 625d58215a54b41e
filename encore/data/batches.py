"""Makes batches of rows: their order, and their tokens as tensors, end to end with no padding.

The order is a function of (seed, task, epoch): nothing needs saving to resume.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch

from encore import rng
from encore.data.token_store import TokenStore, take_runs
from encore.errors import RecipeError
from encore.types import Tokens

__all__ = ["batch_places", "collate", "epoch_order", "evaluation_batches", "without_repeats"]


def collate(store: TokenStore, rows: np.ndarray, device: torch.device | str = "cpu") -> Tokens:
    """The tokens of `rows`, in that order.

    rows: (rows,) integers. Positions start at 0 in every row; a family that counts otherwise adds
    its own offset.
    """
    lengths = store.lengths[rows]
    n_rows, n_tokens = len(lengths), int(lengths.sum())
    # One block of memory for everything, so that a GPU gets it in one copy.
    packed = np.empty(3 * n_tokens + n_rows + 1, dtype=np.int64)
    ids, segments, positions, offsets = np.split(packed, (n_tokens, 2 * n_tokens, 3 * n_tokens))
    offsets[0] = 0
    np.cumsum(lengths, out=offsets[1:])
    index = take_runs(store.offsets[:-1][rows], lengths)
    ids[:], segments[:] = store.ids[index], store.segments[index]
    np.subtract(np.arange(n_tokens), np.repeat(offsets[:-1], lengths), out=positions)
    block = torch.from_numpy(packed)
    if torch.device(device).type == "cuda":
        block = block.pin_memory()
    block = block.to(device, non_blocking=True)
    parts = block.split((n_tokens, n_tokens, n_tokens, n_rows + 1))
    return Tokens(
        ids=parts[0],
        segments=parts[1],
        positions=parts[2],
        offsets=parts[3],
        lengths=tuple(lengths.tolist()),
    )


def epoch_order(
    n_rows: int, seed: int, task: str, epoch: int, sampling_weights: np.ndarray | None = None
) -> np.ndarray:
    """(n_rows,) int64: the rows of one epoch in the order in which they are trained on.

    Each row once; with `sampling_weights` (n_rows,) ≥ 0, `n_rows` draws with replacement, with
    probabilities in proportion to the weights.
    """
    generator = rng.generator(seed, "order", task, epoch)
    if sampling_weights is None:
        return generator.permutation(n_rows)
    edges = np.cumsum(np.asarray(sampling_weights, dtype=np.float64))
    drawn = np.searchsorted(edges, generator.random(n_rows) * edges[-1], side="right")
    # Rounding can reach the last edge.
    return np.minimum(drawn, np.flatnonzero(sampling_weights)[-1])


def without_repeats(order: np.ndarray, texts: np.ndarray, size: int) -> np.ndarray:
    """(rows,) the rows of `order`, near their places in it, so that of `size` rows each, which are
    a batch, no two have a text in common.

    texts: (rows, sides) numbers of the texts of a row, looked up by row number. A row that would
    repeat a text waits for the next batch; at the end it changes places with a row of an earlier
    one. Raises RecipeError where that does not help either.
    """
    of = [frozenset(each) for each in texts.tolist()]
    waiting, coming, batches = list[int](), iter(order.tolist()), list[list[int]]()
    for _ in range(-(-len(order) // size)):
        batch, met, later = list[int](), set[int](), list[int]()
        for row in itertools.chain(waiting, coming):
            if met.isdisjoint(of[row]):
                batch.append(row)
                met |= of[row]
            else:
                later.append(row)
            if len(batch) == size:
                break
        waiting = later + waiting[len(batch) + len(later) :]
        while len(batch) < size and waiting:
            batch.append(_exchanged(waiting.pop(0), batch, batches, of))
        batches.append(batch)
    return np.asarray([row for batch in batches for row in batch], dtype=np.int64)


def _exchanged(
    row: int, batch: list[int], batches: list[list[int]], of: list[frozenset[int]]
) -> int:
    """A row of an earlier batch that fits into this one, in whose place `row` now is."""
    met = set[int]().union(*(of[each] for each in batch))
    for earlier in batches:
        common = [at for at, each in enumerate(earlier) if not of[each].isdisjoint(of[row])]
        places = common if len(common) == 1 else [] if common else range(len(earlier))
        for at in places:
            if met.isdisjoint(of[earlier[at]]):
                earlier[at], other = row, earlier[at]
                return other
    raise RecipeError(
        "sampling: no_duplicates: a text occurs in too many rows to be in each batch only once. "
        "Remove it, remove copies from the train file, or set a smaller plan.batch_size."
    )


def batch_places(order: np.ndarray, number: int, size: int, lengths: np.ndarray) -> np.ndarray:
    """Places in `order` of the rows of batch `number` (from 0; the last may be short), by length:
    a batch is a set, and attention is faster with equal lengths together.

    lengths: (rows,), looked up by row number. The rows of a batch do not depend on them.
    """
    places = np.arange(number * size, min((number + 1) * size, len(order)))
    return places[np.argsort(lengths[order[places]], kind="stable")]


def evaluation_batches(lengths: np.ndarray, *, tokens_per_batch: int = 4096) -> list[np.ndarray]:
    """All rows once, sorted by length, as many to a batch as fit `tokens_per_batch` if they were
    padded to the longest; a longer row is a batch of its own.
    """
    order = np.argsort(lengths, kind="stable")
    ascending = np.asarray(lengths)[order]
    batches, start = [], 0
    while start < len(order):
        window = ascending[
            start : start + max(1, tokens_per_batch // max(1, int(ascending[start])))
        ]
        count = max(
            1, int(np.count_nonzero(window * np.arange(1, len(window) + 1) <= tokens_per_batch))
        )
        batches.append(order[start : start + count])
        start += count
    return batches

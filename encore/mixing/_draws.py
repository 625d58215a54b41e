"""From whose turn it is to which batch that is; shared by the files of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from encore import rng
from encore.types import Draw, Extent

__all__ = ["drawn", "numbered"]


def numbered(turns: Iterable[str], extents: Mapping[str, Extent], before: Mapping[str, int]) -> list[tuple[Draw, ...]]:
    """One step for each turn. `before`: how many batches of each task earlier epochs have taken; the next is the next of its order, and the last of an order
    is followed by the first of the next one, so that no row is met again before all others were met as often."""
    taken = dict(before)
    steps: list[tuple[Draw, ...]] = []
    for task in turns:
        order, number = divmod(taken[task], extents[task].batches)
        taken[task] += 1
        steps.append((Draw(task, order, number),))
    return steps


def drawn(extents: Mapping[str, Extent], shares: Callable[[int], Sequence[float]], *, seed: int, epoch: int) -> list[tuple[Draw, ...]]:
    """As many steps as all tasks have batches, whose turn it is drawn by `shares(epoch)`, which need not add up to 1."""
    tasks, n_steps = tuple(extents), sum(extent.batches for extent in extents.values())
    counts = np.zeros(len(tasks), dtype=np.int64)
    for number in range(epoch + 1):                                              # earlier epochs are drawn again: nothing needs saving
        weights = np.asarray(shares(number), dtype=np.float64)
        turns = rng.generator(seed, "mixing", number).choice(len(tasks), size=n_steps, p=weights / weights.sum())
        if number < epoch:
            counts += np.bincount(turns, minlength=len(tasks))
    return numbered((tasks[turn] for turn in turns), extents, dict(zip(tasks, counts.tolist(), strict=True)))

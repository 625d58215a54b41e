"""Turns a sequence of tasks into their batches; shared by the files of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from encore import rng
from encore.types import BatchIndex, TaskSize

__all__ = ["consecutive_batches", "sampled_batches"]


def consecutive_batches(
    turns: Iterable[str], sizes: Mapping[str, TaskSize], before: Mapping[str, int]
) -> list[tuple[BatchIndex, ...]]:
    """One step for each turn. `before`: how many batches of each task earlier epochs have taken;
    the next is the next of its order, and the last of an order is followed by the first of the next
    one, so that no row is met again before all others were met as often.
    """
    taken = dict(before)
    steps: list[tuple[BatchIndex, ...]] = []
    for task in turns:
        order, number = divmod(taken[task], sizes[task].batches)
        taken[task] += 1
        steps.append((BatchIndex(task, order, number),))
    return steps


def sampled_batches(
    sizes: Mapping[str, TaskSize],
    shares: Callable[[int], Sequence[float]],
    *,
    seed: int,
    epoch: int,
) -> list[tuple[BatchIndex, ...]]:
    """As many steps as all tasks have batches, whose turn it is drawn by `shares(epoch)`, which
    need not add up to 1.
    """
    tasks, n_steps = tuple(sizes), sum(size.batches for size in sizes.values())
    counts = np.zeros(len(tasks), dtype=np.int64)
    for number in range(epoch + 1):  # earlier epochs are drawn again: nothing needs saving
        weights = np.asarray(shares(number), dtype=np.float64)
        turns = rng.generator(seed, "mixing", number).choice(
            len(tasks), size=n_steps, p=weights / weights.sum()
        )
        if number < epoch:
            counts += np.bincount(turns, minlength=len(tasks))
    return consecutive_batches(
        (tasks[turn] for turn in turns), sizes, dict(zip(tasks, counts.tolist(), strict=True))
    )

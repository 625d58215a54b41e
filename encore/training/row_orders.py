"""The rows of each batch, in the order of the epoch that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from encore import rng
from encore.data.batches import batch_places, epoch_order, without_repeats
from encore.training.streams import Stream
from encore.types import BatchIndex, Phase

__all__ = ["RowOrders", "batch_size_of"]


class RowOrders:
    """The rows of batches, one after the other. An order is kept until the task's next one."""

    def __init__(self, streams: Mapping[str, Stream], phase: Phase, seed: int) -> None:
        self.streams, self.phase, self.seed = streams, phase, seed
        self.latest: dict[str, tuple[int, np.ndarray, np.ndarray | None]] = {}

    def rows(self, draw: BatchIndex) -> tuple[np.ndarray, np.ndarray | None]:
        """(examples,) of the draw, by length; and which pairs are turned round."""
        stream, seed = self.streams[draw.task], self.seed
        n_rows, size = len(stream.train), batch_size_of(self.phase, stream)
        if draw.task not in self.latest or self.latest[draw.task][0] != draw.order:
            order = epoch_order(n_rows, seed, draw.task, draw.order, stream.sampling_weights)
            if stream.texts is not None:
                order = without_repeats(order, stream.texts, size)
            swapped = (
                rng.generator(seed, "pair order", draw.task, draw.order).random(n_rows) < 0.5
                if stream.random_order
                else None
            )
            self.latest[draw.task] = (draw.order, order, swapped)
        _, order, swapped = self.latest[draw.task]
        places = batch_places(order, draw.number, size, stream.train.lengths)
        return order[places], None if swapped is None else swapped[places]


def batch_size_of(phase: Phase, stream: Stream) -> int:
    """Rows of a batch: the task's own number, or the phase's."""
    return stream.batch_size or phase.batch_size

"""Makes the inputs of the steps of an epoch: the rows of each batch, for each rank, as tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import nn

from encore.model.feature_cache import FeatureCache
from encore.model.task_model import TaskModel
from encore.training.ranks import row_shares
from encore.training.row_orders import RowOrders, batch_size_of
from encore.training.scoring import collate_cached
from encore.training.step import StepInput
from encore.training.streams import TRAIN, Stream
from encore.types import Batch, BatchIndex, Loss, Phase

__all__ = ["StepInputs"]


@dataclass(frozen=True)
class StepInputs:
    """Of an epoch. caches: as of the phase. n_shares: the ranks that compute each batch.
    micro_batch: rows that a rank computes at once, None for all of its own. nominal: a short batch
    counts for less.
    """

    models: Mapping[str, TaskModel]
    streams: Mapping[str, Stream]
    phase: Phase
    orders: RowOrders
    caches: Mapping[tuple[str, str], FeatureCache]
    n_shares: int
    micro_batch: int | None
    nominal: bool

    def of(
        self, draw: BatchIndex, losses: Mapping[str, nn.Module], *, diagnosed: bool
    ) -> StepInput:
        """One task's part of a step. losses: those of its terms that are modules."""
        stream, model = self.streams[draw.task], self.models[draw.task]
        examples, swapped = self.orders.rows(draw)
        device = next(model.parameters()).device
        cache = self.caches.get((draw.task, TRAIN))
        micro_batches, owners = list[Batch](), list[int]()
        for owner, rows in enumerate(row_shares(stream.train.lengths[examples], self.n_shares)):
            for start in rows[:: self.micro_batch or len(examples)]:
                some = slice(start, min(start + (self.micro_batch or len(examples)), rows.stop))
                turned = None if swapped is None else swapped[some]
                micro_batches.append(_batch(stream, examples[some], turned, device, cache))
                owners.append(owner)
        share = len(examples) / batch_size_of(self.phase, stream) if self.nominal else 1.0
        terms: dict[str, tuple[float, Loss]] = {
            name: (weight * share, cast(Loss, losses.get(name, loss)))
            for name, (weight, loss) in stream.losses.items()
        }
        return StepInput(model, micro_batches, terms, diagnosed, owners)


def _batch(
    stream: Stream,
    examples: np.ndarray,
    swapped: np.ndarray | None,
    device: torch.device,
    cache: FeatureCache | None,
) -> Batch:
    train = stream.train
    return Batch(
        task=stream.name,
        digest=train.digest,
        rows=train.numbers[examples],
        tokens=collate_cached(train.store, train.at(examples, swapped), device, cache),
        targets=torch.from_numpy(train.targets[examples]).to(device),
        weights=torch.from_numpy(train.weights[examples]).to(device),
        swapped=swapped,
    )

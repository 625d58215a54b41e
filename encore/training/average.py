"""The running average of the weights that a phase trains (METHODS 8.3).

It is a twin of the trainable parameters, and of the decay of each word table's rows outside
training. For an evaluation and for saving, the two change places, so that scoring, caches and the
model folder know nothing of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from encore.encoder.word_table import WordTable
from encore.model.parameters import unique_parameters, word_tables
from encore.model.task_model import TaskModel
from encore.types import Average

__all__ = ["RunningAverage"]


@dataclass
class RunningAverage:
    """The average so far. n: the number of weights in it. tensors: parameter → its average, once
    there is one. decays: of each word table's rows outside training.
    """

    models: Mapping[str, TaskModel]
    n: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)
    decays: list[float] = field(default_factory=list)
    trained: dict[str, nn.Parameter] = field(default_factory=dict)  # by name
    tables: Sequence[WordTable] = ()

    def begin_phase(self) -> None:
        """Find what trains from now on. What did not train before was as it is now."""
        found = unique_parameters(self.models)
        self.trained = {name: each for name, each in found.items() if each.requires_grad}
        self.tables = word_tables(self.models.values())
        if self.n:
            self.tensors = {
                name: self.tensors.get(name, parameter.detach()).clone()
                for name, parameter in self.trained.items()
            }

    @torch.no_grad()
    def add(self, average: Average) -> None:
        """Take in the weights as they are now."""
        share = average(self.n)
        if self.n:
            twins = [self.tensors[name] for name in self.trained]
            torch._foreach_lerp_(twins, list(self.trained.values()), share)
            pairs = zip(self.decays, self.tables, strict=True)
            self.decays = [mean + share * (table.decay - mean) for mean, table in pairs]
        else:  # a copy to the bit
            self.tensors = {name: each.detach().clone() for name, each in self.trained.items()}
            self.decays = [table.decay for table in self.tables]
        self.n += 1

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the models have the averaged weights; nothing is to be trained or saved for
        resuming there. They take the place of the others in this process alone: ranks that share
        the memory of the weights train on. Takes the memory of the largest word table.
        """
        self._swap()
        try:
            with contextlib.ExitStack() as readable:
                for table in self.tables:
                    readable.enter_context(table.with_weight())
                yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, twin in self.tensors.items():
            parameter = self.trained[name]
            parameter.data, self.tensors[name] = twin, parameter.data
        for number, table in enumerate(self.tables if self.n else ()):
            table.decay, self.decays[number] = self.decays[number], table.decay

    @property
    def numbers(self) -> dict[str, Any]:
        """All that is not a tensor, ready for JSON."""
        return {"n": self.n, "decays": list(self.decays)}

    def restore(self, tensors: Mapping[str, Tensor], *, n: int, decays: list[float]) -> None:
        """Take over the numbers, and copies of the tensors, of a checkpoint."""
        self.n, self.decays = n, decays
        device = next(iter(unique_parameters(self.models).values())).device
        self.tensors = {name: each.to(device, copy=True) for name, each in tensors.items()}

"""The processes that compute a run together: each takes a share of the rows of every batch.

Every rank runs the same loop over the same batches. It computes its own rows, with the dropout that
the whole batch would draw for them; the ranks then exchange what depends on all rows, and add their
gradients in the order of their numbers. So the state of all is the same after each step, and the
same at any time for one number of ranks.

`Alone` is a run of one process. Forked processes are in `encore.training.forked_ranks`.
"""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from encore.errors import TrainingError

__all__ = ["Alone", "Ranks", "exchange_tensors", "row_shares"]

_LENGTH = struct.Struct("<Q")
_PLAIN = torch.contiguous_format


class Ranks(Protocol):
    """The processes of a run, seen from one of them: number `rank` of `size`."""

    rank: int
    size: int

    def exchange(self, payload: bytes) -> list[bytes]:
        """Give this to all ranks; returns what each gave, in their order."""
        ...

    def publish(self, parameters: Sequence[nn.Parameter]) -> None:
        """Let others read this rank's gradients, once all have waited for one another."""
        ...

    def add_up(self, parameters: Sequence[nn.Parameter]) -> tuple[list[nn.Parameter], Tensor]:
        """Add the gradients that all ranks have published. Returns the parameters that have one on
        any rank, and the norm of all. Those that this rank is to update keep a gradient, the others
        have none.
        """
        ...

    def wait(self) -> None:
        """Return when all ranks have come here."""
        ...


class Alone:
    """A single process."""

    rank = 0
    size = 1

    def exchange(self, payload: bytes) -> list[bytes]:
        return [payload]

    def publish(self, parameters: Sequence[nn.Parameter]) -> None:
        pass

    def add_up(self, parameters: Sequence[nn.Parameter]) -> tuple[list[nn.Parameter], Tensor]:
        trained = [each for each in parameters if each.grad is not None]
        return trained, torch.nn.utils.get_total_norm(
            [p.grad for p in trained if p.grad is not None]
        )

    def wait(self) -> None:
        pass


def row_shares(lengths: np.ndarray, size: int) -> list[range]:
    """The rows of a batch for each rank: in order, with tokens as equal as whole rows allow. A rank
    has none where there are fewer rows than ranks. lengths: (rows,) tokens of each.

    >>> row_shares(np.array([1, 1, 2, 4]), 2)
    [range(0, 3), range(3, 4)]
    """
    ends = np.concatenate([[0], np.cumsum(lengths)])
    goals = ends[-1] * np.arange(size + 1) / size
    cuts = [int(np.abs(ends - goal).argmin()) for goal in goals]
    return [range(start, stop) for start, stop in itertools.pairwise(cuts)]


def exchange_tensors(
    ranks: Ranks, tensors: Mapping[str, Tensor], about: Any = None
) -> list[tuple[dict[str, Tensor], Any]]:
    """Give tensors and JSON to all ranks; returns those of each, in their order."""
    if ranks.size == 1:
        return [(dict(tensors), about)]
    words = json.dumps(about).encode()
    copies = {name: each.detach().clone(memory_format=_PLAIN) for name, each in tensors.items()}
    stored = to_bytes(copies)
    found = ranks.exchange(_LENGTH.pack(len(words)) + words + stored)
    return [_read(each) for each in found]


def _read(payload: bytes) -> tuple[dict[str, Tensor], Any]:
    start = _LENGTH.size + _LENGTH.unpack_from(payload)[0]
    return from_bytes(payload[start:]), json.loads(payload[_LENGTH.size : start])


def lost(rank: int) -> TrainingError:
    """The error where another process of the run has ended."""
    return TrainingError(
        f"process {rank} of this run has ended: it was killed, as where memory runs out. The same "
        f"command resumes the run; shares=1 needs the least memory."
    )

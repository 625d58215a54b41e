"""Dropout whose masks are a function of (seed, step, site, position in the batch).

One random byte per element decides, so a rate is rounded to a multiple of 1/256 (0.1 becomes 26/256
= 0.1016) and what is kept is scaled by the rounded rate's inverse: the expectation is exact.
Drawing single Bernoulli numbers costs four times as much. The bytes come from a counter-based
generator that can start anywhere, so a micro-batch draws exactly the bytes that the whole batch
would have drawn for its rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from encore import rng

__all__ = [
    "BatchOffset",
    "Dropout",
    "DropoutRate",
    "Unit",
    "again",
    "drawing",
    "drawing_apart",
    "dropout",
    "keep_mask",
    "next_seed",
    "next_site",
    "normal",
    "rounded",
]

DropoutRate = Annotated[float, Field(ge=0, lt=1)]
Unit = Literal["rows", "tokens", "pairs", "examples"]
_BLOCK = 32  # bytes that Philox makes per tick of its counter


@dataclass(frozen=True)
class BatchOffset:
    """The part of the whole batch that precedes this micro-batch: rows, tokens, query-key pairs as
    attention lays them out, and examples, which may be of several rows each.
    """

    rows: int = 0
    tokens: int = 0
    pairs: int = 0
    examples: int = 0


class _Stream:
    """The masks of one pass over one (micro-)batch. Each call is one site; sites count up in the
    order of the forward pass.
    """

    def __init__(
        self, seed: int, purpose: tuple[int | str, ...], place: BatchOffset, site: int = 0
    ) -> None:
        self.seed, self.purpose, self.place, self.site = seed, purpose, place, site
        self.key = rng.key(seed, "dropout", *purpose)

    def bytes(self, before: int, count: int) -> np.ndarray:
        """(count,) uint8: bytes `before` to `before + count` of this site's stream."""
        ticks, skip = divmod(before, _BLOCK)
        philox = np.random.Philox(key=self.key, counter=[ticks, 0, self.site, 0])
        drawn = philox.random_raw(-(-(skip + count) // 8)).view(np.uint8)
        return drawn[skip : skip + count]


_current: ContextVar[_Stream | None] = ContextVar("dropout stream", default=None)


@contextlib.contextmanager
def drawing(
    seed: int, step: int, place: BatchOffset | None = None, task_index: int = 0
) -> Iterator[None]:
    """Inside, dropout draws from the stream of (seed, step, task_index), where task_index is the
    task's place in a step of several. A second pass inside the block draws new masks.
    """
    purpose = (step, task_index) if task_index else (step,)
    with _drawing_from(_Stream(seed, purpose, place or BatchOffset())):
        yield


@contextlib.contextmanager
def drawing_apart(name: str = "") -> Iterator[None]:
    """Inside, draw from the stream `name` of the same step and task, or without a name from the
    sites that come next. Outside, nothing depends on how much is drawn inside.
    """
    outer = _current.get()
    if outer is None:
        yield
        return
    own = ("term", name) if name else ()
    stream = _Stream(outer.seed, (*outer.purpose, *own), outer.place, 0 if name else outer.site)
    with _drawing_from(stream):
        yield


@contextlib.contextmanager
def again(site: int, place: BatchOffset | None = None) -> Iterator[None]:
    """Inside, draw from site number `site` on, once more or for the first time, for the rows at
    `place`. Afterwards the stream continues behind the last site that it has come to.
    """
    stream = _current.get()
    if stream is None:
        yield
        return
    before, where = stream.site, stream.place
    stream.site, stream.place = site, where if place is None else place
    try:
        yield
    finally:
        stream.site, stream.place = max(before, stream.site), where


def next_site() -> int:
    """The number of the site that is drawn from next, for `again`."""
    stream = _current.get()
    return 0 if stream is None else stream.site


@contextlib.contextmanager
def _drawing_from(stream: _Stream) -> Iterator[None]:
    token = _current.set(stream)
    try:
        yield
    finally:
        _current.reset(token)


def rounded(p: float) -> int:
    """The number of byte values, of 256, that drop an element. A rate above 0 never rounds to 0,
    nor one below 1 to 256.
    """
    return 0 if p == 0 else min(max(round(p * 256), 1), 255)


def keep_mask(
    shapes: list[tuple[int, ...]], p: float, unit: Unit, per_unit: int
) -> tuple[list[Tensor], float]:
    """Masks of one site, one per shape and in this order, and the factor for what is kept.

    Each mask is uint8, 1 = kept. `per_unit` elements belong to each unit (row, token, pair) that
    lies before this micro-batch.
    """
    stream = _drawn_from()
    threshold = rounded(p)
    sizes = [int(np.prod(shape)) for shape in shapes]
    drawn = stream.bytes(getattr(stream.place, unit) * per_unit, sum(sizes))
    stream.site += 1
    kept = torch.from_numpy((drawn >= threshold).view(np.uint8))
    return [
        part.view(shape) for part, shape in zip(kept.split(sizes), shapes, strict=True)
    ], 256 / (256 - threshold)


def normal(shape: tuple[int, int], unit: Unit) -> Tensor:
    """Standard normal numbers of one site, float32: those of a line depend on its place in the
    whole batch, so a micro-batch draws what the whole batch would have drawn.
    """
    stream, (lines, width) = _drawn_from(), shape
    before = getattr(stream.place, unit) * width
    ticks, skip = divmod(8 * before, _BLOCK)
    philox = np.random.Philox(key=stream.key, counter=[ticks, 0, stream.site, 2])
    stream.site += 1
    drawn = philox.random_raw(skip // 8 + lines * width)[skip // 8 :]
    # Box and Muller, one of its two numbers, in place: it is a part of each step with SMART.
    found = (drawn >> np.uint64(32)).astype(np.float64)
    found += 1
    found /= 2**32
    np.log(found, out=found)
    found *= -2
    np.sqrt(found, out=found)
    drawn &= np.uint64(0xFFFFFFFF)
    angle = drawn.astype(np.float64)
    angle *= 2 * np.pi / 2**32
    found *= np.cos(angle, out=angle)
    return torch.from_numpy(found.astype(np.float32).reshape(shape))


def next_seed() -> int:
    """A number below 2⁶³ of one site, for what draws its masks itself. Another micro-batch gets
    another one.
    """
    stream = _drawn_from()
    stream.site += 1
    return int(
        np.random.Philox(
            key=stream.key, counter=[stream.place.rows, 0, stream.site, 1]
        ).random_raw()
        >> np.uint64(1)
    )


def _drawn_from() -> _Stream:
    """Of a forward pass outside training any seed will do: torch's global one decides."""
    return _current.get() or _Stream(int(torch.randint(2**62, ()).item()), (0,), BatchOffset())


def dropout(values: Tensor, p: float, unit: Unit) -> Tensor:
    """Drop elements of a matrix with one line per row, token or example. At rate 0 the identity."""
    if p == 0:
        return values
    (mask,), scale = keep_mask([tuple(values.shape)], p, unit, values.shape[1])
    # A mask times the scale would round the scale, in bf16 by 0.3 %.
    return (values * mask.to(values.device).to(values.dtype)).mul_(scale)


class Dropout(nn.Module):
    """Dropout on a matrix with one line per row, token or example. The identity in eval mode and at
    rate 0.
    """

    def __init__(self, p: float, unit: Unit) -> None:
        super().__init__()
        self.p, self.unit = p, unit

    def forward(self, values: Tensor) -> Tensor:
        return dropout(values, self.p if self.training else 0.0, self.unit)

    def extra_repr(self) -> str:
        return f"p={self.p}, unit={self.unit}"

"""The terms of a task's loss in one step, and the gradients of those that compare the rows of a
batch where the batch is split.

Such a term needs the vectors of all rows at once, but not their graphs. So the micro-batches are
first read without gradients; the term and its gradient at the vectors are computed from all of
them; and each micro-batch is then read once more, with the same dropout, and passes its part of
that gradient on (gradient caching, Gao et al. 2021).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from encore.encoder import dropout
from encore.encoder.attention import n_pairs
from encore.training.ranks import Ranks, exchange_tensors
from encore.types import Batch, Loss, Output, Tokens

__all__ = ["CachedGradients", "ReadTerm", "SharedReading", "cache_gradients", "places_of"]

Drawing = Callable[[dropout.BatchOffset], contextlib.AbstractContextManager[None]]


@dataclass(frozen=True)
class ReadTerm:
    """A term that counts in this step. divisor: what its sum over all rows is divided by."""

    name: str
    weight: float
    loss: Loss
    divisor: Tensor | float

    def value(self, model: Callable[..., Output], batch: Batch, output: Output) -> Tensor:
        """The share of these rows in the term, before its weight."""
        with self.drawing():
            return self.loss(model, batch, output)[0] / self.divisor

    def diagnose(
        self, model: Callable[..., Output], batch: Batch, output: Output
    ) -> Mapping[str, float]:
        """The loss's figures about itself, drawing what `value` drew."""
        with self.drawing():
            return self.loss.diagnose(model, batch, output)

    def drawing(self) -> contextlib.AbstractContextManager[None]:
        """Inside, whatever is drawn depends on this term alone. Only a loss that can be a task's
        own goes on in the stream of the first pass; others have one of their own name.
        """
        return dropout.drawing_apart("" if self.loss.kinds else self.name)


@dataclass(frozen=True)
class CachedGradients:
    """A term of a split batch. value: before its weight. gradients: of the weighted term; for each
    reading, micro-batch by micro-batch, at the tensors of `_tensors`. sites: where the draws of
    each reading but the first begin.
    """

    term: ReadTerm
    value: float
    gradients: Sequence[Sequence[Sequence[Tensor | None]]]
    sites: Sequence[int]

    def pull(
        self, number: int, model: Callable[..., Output], batch: Batch, output: Output
    ) -> Tensor:
        """A number whose gradients, summed over the micro-batches, are those of the term. `output`:
        the first reading of micro-batch `number`.
        """
        first, *others = (each[number] for each in self.gradients)
        total = _product(output, first)
        with self.term.drawing():
            for site, gradients in zip(self.sites, others, strict=True):
                with dropout.again(site):
                    total = total + _product(model(batch.tokens), gradients)
        return total


def places_of(batches: Iterable[tuple[Tokens, int]]) -> list[dropout.BatchOffset]:
    """The part of the whole batch before each micro-batch. batches: tokens and examples of each."""
    place, found = dropout.BatchOffset(), []
    for tokens, n_examples in batches:
        found.append(place)
        lengths = tokens.lengths
        place = dropout.BatchOffset(
            place.rows + len(lengths),
            place.tokens + sum(lengths),
            place.pairs + n_pairs(lengths),
            place.examples + n_examples,
        )
    return found


def cache_gradients(
    model: Callable[..., Output],
    batches: Sequence[Batch],
    terms: Sequence[ReadTerm],
    drawing: Drawing,
    sharing: SharedReading,
) -> dict[str, CachedGradients]:
    """Read all micro-batches without gradients, and compute `terms` from the whole batch and their
    gradients at what was read. Parameters of a loss itself get theirs here, on rank 0.
    """
    if not terms:
        return {}
    places = places_of((batch.tokens, len(batch.rows)) for batch in batches)

    def read(batch: Batch, place: dropout.BatchOffset) -> tuple[Output, int]:
        with drawing(place), torch.no_grad():
            return model(batch.tokens), dropout.next_site()

    outputs, site = sharing.read_all(read, batches, places)
    whole, found = _joined(batches), {}
    for term in terms:
        reader = _Reader(model, batches, places, [_Reading(outputs)], sharing)
        with drawing(dropout.BatchOffset()), dropout.again(site):
            value = term.value(reader, whole, reader.readings[0].joined)
        if value.requires_grad:
            (term.weight * value).backward()
        sharing.keep_once(term.loss)
        found[term.name] = CachedGradients(
            term,
            float(value.detach()),
            [reading.gradients() for reading in reader.readings],
            reader.sites,
        )
    return found


def _tensors(output: Output) -> list[Tensor | None]:
    """The values of rows that a term may compare."""
    return [output.scores, output.vectors, *output.embeddings]


class _Reading:
    """The values of all micro-batches, as leaves of a graph, and side by side."""

    def __init__(self, outputs: Sequence[Output]) -> None:
        self.leaves = [
            [None if each is None else each.detach().requires_grad_() for each in _tensors(output)]
            for output in outputs
        ]
        joined: list[Any] = [
            None if column[0] is None else torch.cat(column)
            for column in zip(*self.leaves, strict=True)
        ]
        scores, vectors, *embeddings = joined
        self.joined = Output(scores, tuple(embeddings), (), vectors)

    def gradients(self) -> list[list[Tensor | None]]:
        return [[None if leaf is None else leaf.grad for leaf in row] for row in self.leaves]


@dataclass(frozen=True)
class SharedReading:
    """Which rank computes which micro-batch of a task's part of a step."""

    ranks: Ranks
    owners: Sequence[int]

    def read_all(
        self,
        read: Callable[[Batch, dropout.BatchOffset], tuple[Output, int]],
        batches: Sequence[Batch],
        places: Sequence[dropout.BatchOffset],
    ) -> tuple[list[Output], int]:
        """The values that `read` gives for all micro-batches, each read by its rank; and where the
        draws go on.
        """
        own, site = {}, 0
        for number, (batch, place) in enumerate(zip(batches, places, strict=True)):
            if self.owners[number] == self.ranks.rank:
                own[number], site = read(batch, place)
        if self.ranks.size == 1:
            return list(own.values()), site
        tensors = {
            f"{number} {at}": each
            for number, output in own.items()
            for at, each in enumerate(_tensors(output))
            if each is not None
        }
        found: dict[str, Tensor] = {}
        for given, after in exchange_tensors(self.ranks, tensors, site):
            found |= given
            site = max(site, after)
        device = batches[0].tokens.ids.device
        return [_output(found, number, device) for number in range(len(batches))], site

    def keep_once(self, loss: Loss) -> None:
        """Drop the gradients of a loss's own parameters on all ranks but the first, where each has
        computed those of the whole batch.
        """
        if self.ranks.rank and isinstance(loss, nn.Module):
            for parameter in loss.parameters():
                parameter.grad = None


def _output(found: Mapping[str, Tensor], number: int, device: torch.device) -> Output:
    """An output of the values that `_tensors` named in this order."""
    scores, vectors, *embeddings = (
        found[name].to(device) if (name := f"{number} {at}") in found else None
        for at in range(1 + max(int(name.split()[1]) for name in found))
    )
    assert scores is not None
    return Output(scores, tuple(each for each in embeddings if each is not None), (), vectors)


class _Reader:
    """Takes the model's place in a term of a split batch: reads all micro-batches, each drawing
    what the whole batch draws for its rows.
    """

    def __init__(
        self,
        model: Callable[..., Output],
        batches: Sequence[Batch],
        places: Sequence[dropout.BatchOffset],
        readings: list[_Reading],
        sharing: SharedReading,
    ) -> None:
        self.model, self.batches, self.places, self.readings = model, batches, places, readings
        self.sharing = sharing
        self.sites: list[int] = []

    def __call__(self, tokens: Tokens) -> Output:
        site = dropout.next_site()
        self.sites.append(site)

        def read(batch: Batch, place: dropout.BatchOffset) -> tuple[Output, int]:
            with dropout.again(site, place), torch.no_grad():
                return self.model(batch.tokens), dropout.next_site()

        outputs, after = self.sharing.read_all(read, self.batches, self.places)
        with dropout.again(after):
            pass  # a rank without rows goes on where the others do
        self.readings.append(_Reading(outputs))
        return self.readings[-1].joined


def _product(output: Output, gradients: Sequence[Tensor | None]) -> Tensor:
    total = output.scores.new_zeros(())
    for tensor, gradient in zip(_tensors(output), gradients, strict=True):
        if tensor is not None and gradient is not None:
            total = total + (tensor * gradient).sum()
    return total


def _joined(batches: Sequence[Batch]) -> Batch:
    """The batch that was split."""
    parts = [batch.tokens for batch in batches]
    lengths = tuple(length for part in parts for length in part.lengths)
    ends = torch.tensor([0, *np.cumsum(lengths).tolist()], device=parts[0].offsets.device)
    ids, segments, positions = (
        torch.cat(each)
        for each in zip(*((p.ids, p.segments, p.positions) for p in parts), strict=True)
    )
    swapped = [batch.swapped for batch in batches if batch.swapped is not None]
    return replace(
        batches[0],
        rows=np.concatenate([batch.rows for batch in batches]),
        tokens=Tokens(ids, segments, positions, ends, lengths),
        targets=torch.cat([batch.targets for batch in batches]),
        weights=torch.cat([batch.weights for batch in batches]),
        swapped=np.concatenate(swapped) if swapped else None,
    )

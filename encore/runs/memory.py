"""Estimates the memory of a run from its shapes before it starts, and refuses a run that does not
fit.

Counted are weights with their gradients and moments, what the largest micro-batch keeps for the
backward pass, the attention of the longest row, the scores of an epoch and of the dev sets, and the
features of frozen encoders.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import nn

from encore import rng
from encore.encoder.attention import padded_lengths
from encore.encoder.encoder import Encoder, Frozen
from encore.errors import Problem, RecipeError
from encore.model.feature_cache import cache_bytes, fits_in_memory, frozen_branches, state_bytes
from encore.model.free_memory import free_bytes, resident_bytes
from encore.model.parameters import unique_parameters, word_tables
from encore.model.selection import freezes_encoder
from encore.model.task_model import Branch, encoder_of
from encore.runs.compatibility import build_skeletons
from encore.runs.prepared import Prepared
from encore.runs.scoring_memory import attention_bytes
from encore.training.state import freeze
from encore.training.streams import Rows, Stream

__all__ = [
    "MemoryEstimate",
    "NotEnoughMemory",
    "RunMemory",
    "estimate_memory",
    "extra_passes",
    "most_at_once",
    "offering",
    "require_memory",
]

_IMPORTS = 3.5e8  # what training imports after the estimate, and scikit-learn's working memory
# The allocator keeps memory of batches of other sizes; large blocks it gives back.
_RETAINED, _MOST_RETAINED = 0.4, 4e8
_TEXT = 9  # bytes that the TF-IDF baseline takes for each character that it reads …
_MOST_TEXT = 30e6  # … of which there are so many at most
# Bytes for each score of a row in the backward pass of one layer: weights, and gradients in
# float32, or in bf16 and as float32.
_ROW_TRAINED = {"fp32": 12, "bf16": 18}
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_BORROWED_SCORE = 12  # bytes that transformers' own attention keeps for each score
_HEAD = 24.0  # bytes for each score of a batch: logits, softmax, gradients
_POOLED = 16.0  # bytes for each number of the states that poolings read, in float32
_SHORTEST = 32  # tokens of the shortest max_length that is proposed
_SEEN = 5  # bytes for each score of the training rows of an epoch: kept, and checked
_DEV = 16  # bytes for each score of a dev row: the model's and the baselines' at once


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of a run at its peak.

    program: the process before the run, and what it still imports. weights: with gradients, moments
    and copies in bf16. batch: what the largest micro-batch keeps for the backward pass. row: what
    the attention of the longest row takes on top. scores: of train and dev rows. features: of
    frozen encoders. resident: what the process has already.
    """

    program: float
    weights: float
    batch: float
    row: float
    scores: float
    features: float
    resident: float

    @property
    def total(self) -> float:
        """All of them together."""
        return self.program + self.weights + self.batch + self.row + self.scores + self.features

    @property
    def added(self) -> float:
        """The bytes that the run takes in addition to what the process has."""
        return self.total - self.resident


class RunMemory:
    """The memory of a prepared run as it is, or with other settings."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self.models = build_skeletons(prepared.parts, prepared.recipe, prepared.source)
        heads_only = [freezes_encoder(phase) for phase in prepared.plan]
        self.is_frozen, self.is_frozen_at_first = all(heads_only), any(heads_only)
        if self.is_frozen:
            freeze(self.models, prepared.plan[0])

    @cached_property
    def n_parameters(self) -> tuple[int, int]:
        """All parameters, and those that a step updates."""
        parameters = unique_parameters(self.models)
        tables = [
            table.weight
            for table in word_tables(self.models.values())
            if table.weight.requires_grad
        ]
        n_words = sum(table.numel() for table in tables)
        n_distinct = _n_distinct([each.train.store.ids for each in self._streams.values()])
        updated = sum(each.numel() for each in parameters.values() if each.requires_grad)
        trained = updated - n_words + sum(n_distinct * table.shape[1] for table in tables)
        return sum(each.numel() for each in parameters.values()), trained

    @property
    def _streams(self) -> Mapping[str, Stream]:
        return self.prepared.streams

    @property
    def micro_batch(self) -> int | None:
        """The recipe's plan.micro_batch."""
        return self.prepared.recipe.plan.micro_batch

    def estimate(
        self, *, micro_batch: int | None = None, max_length: int | None = None
    ) -> MemoryEstimate:
        """The estimate. micro_batch, max_length: in place of the recipe's."""
        n_all, trained = self.n_parameters
        parts = [
            self._step(task, stream, micro_batch or self.micro_batch, max_length)
            for task, stream in self._streams.items()
        ]
        copies, kept = (max(each[number] for each in parts) for number in (0, 1))
        averaged = 4 * any(phase.average is not None for phase in self.prepared.plan)
        n = self.prepared.shares  # processes, each with gradients and copies of its own
        resident = resident_bytes()
        texts = sum(data.train.texts.nbytes for data in self.prepared.data.values())
        baseline = _TEXT * min(float(texts), _MOST_TEXT)
        return MemoryEstimate(
            program=resident + _IMPORTS,
            # While the file of an encoder is read, its weights are there twice.
            weights=4 * n_all + max(4 * n_all, (8 + 4 * n + averaged) * trained + n * copies),
            batch=max(kept + min(_RETAINED * kept, _MOST_RETAINED), baseline),
            row=max(row for _, _, row in parts),
            scores=self._scores(),
            features=self._features(max_length),
            resident=resident,
        )

    def _step(
        self, task: str, stream: Stream, micro_batch: int | None, longest: int | None
    ) -> tuple[float, float, float]:
        """Bytes of a task: copies of weights in bf16, what a micro-batch keeps, and what the
        attention of the longest row takes on top.
        """
        precision, model = self.prepared.precision, self.models[task]
        width = 2 if precision == "bf16" else 4
        trained = [
            branch
            for branch in model.branches
            if not (self.is_frozen or isinstance(branch.encoder, Frozen))
        ]
        tokens, pairs, rows = self._micro_batches(stream, micro_batch, longest)
        kept, copied = _HEAD * stream.labels.n_scores * rows, 0.0
        for branch in trained:
            size = _EncoderSize.of(branch)
            kept = kept + tokens * (width * size.lines + size.masks + _POOLED * size.width)
            kept = kept + pairs * size.n_scores * (width + 1 if size.own else _BORROWED_SCORE)
            copied += 2 * size.weights if precision == "bf16" else 0
        n_heads = max(encoder_of(branch).shape.n_heads for branch in model.branches)
        scored = _longest([stream.train, *stream.dev.values()], longest)
        row = attention_bytes(scored, n_heads, _DTYPES[precision])
        if trained:
            pairs_of_row = float(padded_lengths(np.array(_longest([stream.train], longest)))) ** 2
            row = max(row, pairs_of_row * n_heads * _ROW_TRAINED[precision])
        return copied, (1 + extra_passes(stream)) * float(np.max(kept, initial=0.0)), row

    def _micro_batches(
        self, stream: Stream, size: int | None, longest: int | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens, query-key pairs and rows of each micro-batch of an epoch in a random order, with
        the padding that attention adds.
        """
        rows, plan = stream.train, self.prepared.recipe.plan
        lengths = rows.store.lengths[rows.at(np.arange(len(rows)))].reshape(len(rows), -1)
        padded = padded_lengths(_cut(lengths, longest)).astype(np.float64)
        tokens, pairs = padded.sum(axis=1), (padded**2).sum(axis=1)
        whole = min(stream.batch_size or plan.batch_size, len(rows))
        order = rng.generator(self.prepared.recipe.seed, "estimate").permutation(len(rows))
        # The rows of a batch are sorted by length before it is split.
        batches = np.resize(order, (-(-len(rows) // whole), whole))
        batches = np.take_along_axis(batches, tokens[batches].argsort(axis=1), axis=1)
        starts = np.arange(0, whole, min(size or whole, whole))
        summed = [
            np.add.reduceat(each[batches], starts, axis=1).ravel() for each in (tokens, pairs)
        ]
        return summed[0], summed[1], np.tile(np.diff([*starts, whole]), len(batches))

    def largest_part(self, need: MemoryEstimate) -> str:
        """The part of the estimate that takes most, in words."""
        plan = self.prepared.recipe.plan
        longest = _longest([each.train for each in self._streams.values()])
        n_classes = max(each.labels.n_scores for each in self._streams.values())
        n_rows, scores = max(len(each.train) for each in self._streams.values()), need.scores
        parts = {
            f"the weights with their optimiser {_gb(need.weights)}": need.weights,
            f"a batch of {plan.micro_batch or plan.batch_size} rows {_gb(need.batch)}": need.batch,
            f"the attention of a row of {longest:,} tokens {_gb(need.row)}": need.row,
            f"the scores of {n_rows:,} rows in {n_classes:,} classes {_gb(scores)}": scores,
            f"the features of a frozen encoder {_gb(need.features)}": need.features,
        }
        return max(parts, key=parts.__getitem__)

    def remedy(self, need: MemoryEstimate, room: float) -> str:
        """The settings with which the run takes at most `room`, and what else helps."""
        found = []
        if need.scores > room / 2:
            found.append("fewer classes (data.labels) or rows (data.train_rows)")
        if need.features > room / 2:
            found.append("fewer rows (data.train_rows) or a pooling that keeps one vector per row")
        sizes, lengths = self._smaller_batches(), self._smaller_lengths()
        by_size = ((f"plan.micro_batch={size}", {"micro_batch": size}) for size in sizes)
        by_length = ((f"max_length={length}", {"max_length": length}) for length in lengths)
        found += [*self._first(by_size, room), *self._first(by_length, room)]
        if not found and sizes and lengths:
            both = (
                (
                    f"plan.micro_batch={sizes[-1]} max_length={length}",
                    {"micro_batch": sizes[-1], "max_length": length},
                )
                for length in lengths
            )
            found = self._first(both, room)
        return f"Choose {', or '.join(found or ['a smaller encoder'])}, or free some memory."

    def _first(self, settings: Iterable[tuple[str, Mapping[str, int]]], room: float) -> list[str]:
        """The first of these with which the run takes at most `room`, with what it takes."""
        for words, how in settings:
            total = self.estimate(**how).total
            if total <= room:
                return [f"{words} (about {_gb(total)})"]
        return []

    def _smaller_batches(self) -> list[int]:
        """Sizes of micro-batches below the present one."""
        return _halved(self.micro_batch or self.prepared.recipe.plan.batch_size, 1)

    def _smaller_lengths(self) -> list[int]:
        longest = _longest([each.train for each in self._streams.values()])
        return _halved(longest, _SHORTEST)

    def _scores(self) -> float:
        """Bytes of the scores of an epoch, or of the dev sets, whichever is more."""
        seen = dev = 0
        for stream in self._streams.values():
            n = stream.labels.n_scores
            seen += len(stream.train) * n
            dev += sum(len(rows) * n for rows in stream.dev.values())
        return float(max(_SEEN * seen, _DEV * dev))

    def _features(self, longest: int | None) -> float:
        """Bytes of the features of encoders that do not change."""
        stores = {
            task: [stream.train.store, *(rows.store for rows in stream.dev.values())]
            for task, stream in self._streams.items()
        }
        heads_only = self.is_frozen_at_first
        if not heads_only and not fits_in_memory(self.models, stores):
            return 0.0
        found = 0
        for task, model in self.models.items():
            which = frozen_branches(model, all_of_them=heads_only)
            branches = zip(model.branches, which, strict=True)
            poolings = [branch.pooling for branch, cached in branches if cached]
            found += cache_bytes(poolings, stores[task], longest=longest)
            found += 0 if heads_only else state_bytes(model, stores[task], longest=longest)
        return float(found)


@dataclass(frozen=True)
class _EncoderSize:
    """The part of an encoder that a branch runs. lines: numbers per token that its layers keep for
    the backward pass; masks: bytes per token of dropout; n_scores: scores per query-key pair, of
    all layers; weights: of its matrix products. own: not borrowed from transformers.
    """

    width: int
    lines: int
    masks: int
    n_scores: int
    weights: int
    own: bool

    @classmethod
    def of(cls, branch: Branch) -> _EncoderSize:
        encoder, shape = encoder_of(branch), encoder_of(branch).shape
        depth = max(layer % (shape.n_layers + 1) for layer in branch.pooling.layers)
        own = isinstance(encoder, Encoder)
        # The highest layer of one that reads first tokens has a score per token and head.
        attending = depth - (own and branch.pooling.first_only)
        parts = list(encoder.blocks)[:depth] if isinstance(encoder, Encoder) else [encoder]
        products = [
            module for part in parts for module in part.modules() if isinstance(module, nn.Linear)
        ]
        return cls(
            width=shape.width,
            # A product whose weight trains keeps its input, and what follows keeps its output.
            lines=sum(
                each.in_features * each.weight.requires_grad + each.out_features
                for each in products
            ),
            masks=2 * shape.width * depth,
            n_scores=shape.n_heads * attending,
            weights=sum(each.weight.numel() for each in products),
            own=own,
        )


def extra_passes(stream: Stream) -> int:
    """The forward passes that the losses of a task add to each step."""
    return sum(loss.extra_passes for _, loss in stream.losses.values())


def _halved(value: int, least: int) -> list[int]:
    """The powers of two below a value, down to the least."""
    return [
        1 << power for power in reversed(range(value.bit_length())) if least <= 1 << power < value
    ]


def _cut(lengths: np.ndarray, longest: int | None) -> np.ndarray:
    return lengths if longest is None else np.minimum(lengths, longest)


def _longest(sets: Sequence[Rows], limit: int | None = None) -> int:
    """The tokens of the longest row, at most `limit`."""
    found = max(int(rows.store.lengths.max(initial=1)) for rows in sets)
    return found if limit is None else min(found, limit)


def _n_distinct(stores: Sequence[np.ndarray]) -> int:
    """The number of different ids in all arrays together."""
    met = np.zeros(1 + max(int(ids.max(initial=0)) for ids in stores), dtype=bool)
    for ids in stores:
        met[ids] = True
    return int(np.count_nonzero(met))


def estimate_memory(prepared: Prepared) -> MemoryEstimate:
    """Estimate the memory of a run."""
    return RunMemory(prepared).estimate()


class NotEnoughMemory(RecipeError):
    """A run takes more memory than is free."""


@contextlib.contextmanager
def offering(remedy: str) -> Iterator[None]:
    """Add a remedy, which the caller has, to a NotEnoughMemory that is raised inside."""
    try:
        yield
    except NotEnoughMemory as error:
        raise NotEnoughMemory(
            replace(problem, remedy=f"{problem.remedy} {remedy}") for problem in error.problems
        ) from None


def require_memory(prepared: Prepared) -> None:
    """Raises NotEnoughMemory where the run takes more than is free, with the settings that help."""
    free, run = free_bytes(), RunMemory(prepared)
    need = run.estimate()
    if free is not None and need.added > free:
        room = free + need.resident
        raise NotEnoughMemory(
            Problem(
                message=f"memory: this run takes about {_gb(need.total)}, of which "
                f"{run.largest_part(need)}; {_gb(room)} are free for it.",
                remedy=run.remedy(need, room),
            )
        )


def most_at_once(runs: Iterable[Prepared]) -> tuple[int, str]:
    """The number of runs that fit into the free memory side by side, at least one, and the reason
    in words. None of them may have begun.
    """
    free, needs = free_bytes(), [estimate_memory(run).added for run in runs]
    if free is None or not needs:
        return sys.maxsize, ""
    most = max(needs)
    return max(1, int(free / most)), f"each takes about {_gb(most)}, and {_gb(free)} are free"


def _gb(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB"

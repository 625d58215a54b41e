"""The model of a task: branches (encoder → pooling), concatenated, then a head. Models that share a
part hold the same object.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from encore.encoder.encoder import Encoder, Frozen, computing_in
from encore.encoder.huggingface import HuggingFaceEncoder
from encore.types import Encoded, Head, Output, Pooling, Tokens

__all__ = ["Branch", "Memo", "TaskModel", "encoder_of", "encoders_of", "fixed_key"]

# Intermediate results of one batch by the part that computed them: tasks that share the part
# compute them once.
Memo = MutableMapping[Any, Tensor]


class Branch(nn.Module):
    """An encoder and a pooling: tokens → one vector per row."""

    def __init__(self, encoder: Encoder | HuggingFaceEncoder | Frozen, pooling: Pooling) -> None:
        super().__init__()
        self.encoder, self.pooling = encoder, pooling

    def forward(
        self, tokens: Tokens, embedded: Tensor | None = None, memo: Memo | None = None
    ) -> tuple[Tensor, Tensor]:
        """The vectors (rows, width) and the embeddings (tokens, width). A loss may change the
        embeddings and pass them again as `embedded`. memo: of this batch, in eval mode.
        """
        if memo is not None and ("vectors", id(self)) in memo:
            return memo["vectors", id(self)], memo["embedded", id(self)]
        encoded, embedded = self.encoded(tokens, embedded, memo)
        vectors = self.pooling(encoded)
        if memo is not None:
            memo["vectors", id(self)], memo["embedded", id(self)] = vectors, embedded
        return vectors, embedded

    def encoded(
        self, tokens: Tokens, embedded: Tensor | None = None, memo: Memo | None = None
    ) -> tuple[Encoded, Tensor]:
        """The input of the pooling, and the embeddings (tokens, width) behind it."""
        how: dict[str, Any] = {
            "layers": self.pooling.layers,
            "first_only": self.pooling.first_only,
            "memo": memo,
        }
        cached = tokens.cache.get(fixed_key(self.encoder)) if embedded is None else None
        if embedded is None:
            embedded = self.encoder.embedded(tokens)
        if cached is None:
            return self.encoder.run(embedded, tokens, **how), embedded
        start = cast(Encoder, self.encoder).n_fixed
        return cast(Encoder, self.encoder).run(cached, tokens, start=start, **how), embedded


def fixed_key(encoder: object) -> tuple[str, int]:
    """The place in `Tokens.cache` of what an encoder's fixed blocks have made of a batch."""
    return "fixed", id(encoder)


class TaskModel(nn.Module):
    """Branches and a head. The `n_sides` texts of each example are consecutive rows of one
    `Tokens`: a text, its partner, the next text, …. So a micro-batch is a contiguous part of its
    batch, and its dropout masks are those of the whole batch.
    """

    branches: Sequence[Branch]
    head: Head

    def __init__(self, branches: Sequence[Branch], head: Head, *, n_sides: int = 1) -> None:
        super().__init__()
        self.branches = cast("Sequence[Branch]", nn.ModuleList(branches))
        self.head = head
        self.n_sides = n_sides

    def forward(
        self,
        tokens: Tokens,
        embedded: Sequence[Tensor | None] | None = None,
        memo: Memo | None = None,
        vectors: Tensor | None = None,
        exact: bool = False,
    ) -> Output:
        """Scores and embeddings. embedded: one (tokens, width) per branch, in place of the output
        of the embedding layers; vectors: (rows, width), in place of all that comes before the head.
        memo: see Branch. exact: encoders that are entered at `embedded` compute in float32.
        """
        used: tuple[Tensor | None, ...] = ()
        if vectors is None:
            entered = [
                encoder_of(branch)
                for branch, start in zip(self.branches, embedded or (), strict=embedded is not None)
                if exact and start is not None
            ]
            with computing_in(torch.float32, entered):
                vectors, used = self.vectors(tokens, embedded, memo)
        lines = self.head.embed(vectors)
        embeddings = tuple(lines[side :: self.n_sides] for side in range(self.n_sides))
        scored = embeddings[: self.head.n_sides]  # the others are negatives
        return Output(self.head.score(*scored), embeddings, used, vectors)

    def vectors(
        self,
        tokens: Tokens,
        embedded: Sequence[Tensor | None] | None = None,
        memo: Memo | None = None,
    ) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        """The input of the head (rows, width), and per branch the embeddings (tokens, width) that
        it was computed from: None where the encoder is a frozen copy or cached features took its
        place.
        """
        nothing = (None,) * len(self.branches)
        each = zip(self.branches, tokens.reduced or nothing, embedded or nothing, strict=True)
        found: list[Tensor] = []
        used: list[Tensor | None] = []
        for branch, lines, start in each:
            if lines is None:
                vectors, place = branch(tokens, start, memo)
            else:
                vectors, place = branch.pooling.finish(lines, tokens), None
            found.append(vectors)
            used.append(None if isinstance(branch.encoder, Frozen) else place)
        return found[0] if len(found) == 1 else torch.cat(found, dim=1), tuple(used)


def encoder_of(branch: Branch) -> Encoder | HuggingFaceEncoder:
    """The encoder of a branch, also where it is frozen."""
    return branch.encoder.encoder if isinstance(branch.encoder, Frozen) else branch.encoder


def encoders_of(model: TaskModel) -> list[Encoder | HuggingFaceEncoder]:
    """The encoder of each branch."""
    return [encoder_of(branch) for branch in model.branches]

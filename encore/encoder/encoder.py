"""An encoder is `embed` plus `blocks`, and the only loop over layers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from encore.encoder import ragged
from encore.types import Encoded, Tokens

__all__ = ["Block", "Encoder", "Frozen", "Shape", "TextEncoder", "computing_in", "filled"]


@dataclass(frozen=True)
class Shape:
    """The properties of an encoder that poolings, heads and training read.

    pooler: the pretrained dense layer behind [CLS], where it was loaded. has_pooler: False where
    the checkpoint is known to have none. n_positions: tokens of the longest row that it takes;
    n_words: ids that it knows; n_segments: segments that it tells apart; None where there is no
    limit.
    """

    width: int
    n_layers: int
    n_heads: int
    pooler: nn.Linear | None = None
    n_positions: int | None = None
    n_words: int | None = None
    n_segments: int | None = None
    has_pooler: bool = True


class Block(Protocol):
    """A layer of an encoder, a module: (tokens, width) → (tokens, width).

    first: the same for each row's first token alone, (tokens, width) → (rows, width), where that is
    cheaper than all of `forward`; None where there is no such way. residuals: the names of its
    modules that end its sublayers (encore.encoder.layers.Residual), attention's before the
    feed-forward's.
    """

    n_heads: int
    residuals: tuple[str, str]
    first: Callable[[Tensor, Tokens], Tensor] | None = None

    def __call__(self, x: Tensor, tokens: Tokens) -> Tensor: ...


class TextEncoder(Protocol):
    """The part of an encoder that branches use: Encore's own, transformers' or a frozen one."""

    def embedded(self, tokens: Tokens) -> Tensor: ...
    def run(
        self,
        embedded: Tensor,
        tokens: Tokens,
        *,
        layers: Iterable[int] | None = None,
        first_only: bool = False,
        memo: MutableMapping[Any, Tensor] | None = None,
    ) -> Encoded: ...


class Encoder(nn.Module):
    """Tokens → hidden states. Blocks are `Block`s and may be shared with other encoders by
    aliasing.

    `embed` has a `width`, `n_positions`, `n_segments` and a word table `word`.
    `final_norm`: for pre-norm families, applied to every exposed state but the embedding output.
    `dtype`: what the matrix products are taken in. `own`: of an encoder with adapters the names of
    its new parameters; all others belong to another encoder and never train. None: all may train.
    `n_fixed`: the number of its lowest blocks that never train and always run in eval mode, as the
    embeddings then do: what they make of a text is the same each time.
    """

    def __init__(
        self, embed: nn.Module, blocks: Iterable[nn.Module], *, final_norm: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.embed = embed
        self.blocks = nn.ModuleList(blocks)
        self.final_norm = final_norm
        self.dtype = torch.float32
        self.own: frozenset[str] | None = None
        self.n_fixed = 0

    def train(self, mode: bool = True) -> Encoder:
        super().train(mode)
        if self.n_fixed:
            for module in (self.embed, *self.blocks[: self.n_fixed]):
                module.train(False)
        return self

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    @property
    def shape(self) -> Shape:
        embed, block = cast(Any, self.embed), cast(Any, self.blocks[0])
        return Shape(
            embed.width,
            len(self.blocks),
            block.n_heads,
            n_positions=embed.n_positions,
            n_words=embed.word.n_words,
            n_segments=embed.n_segments,
        )

    def forward(self, tokens: Tokens, *, layers: Iterable[int] | None = None) -> Encoded:
        """Every hidden state, or those that `layers` names (H[0] is the embedding output, -1 the
        last); the others are None.
        """
        return self.run(self.embedded(tokens), tokens, layers=layers)

    def embedded(self, tokens: Tokens) -> Tensor:
        """H[0]: (tokens, width) in the dtype of the matrix products."""
        return self.embed(tokens).to(self.dtype)

    def run(
        self,
        embedded: Tensor,
        tokens: Tokens,
        *,
        layers: Iterable[int] | None = None,
        first_only: bool = False,
        memo: MutableMapping[Any, Tensor] | None = None,
        start: int = 0,
    ) -> Encoded:
        """Everything after the embeddings. `embedded`: (tokens, width).

        `first_only`: the states hold each row's first token and no other, and the highest block
        computes no more than these need. `memo`: where encoders that have their lowest blocks in
        common find what these have made of this very batch, and leave it. `start`: `embedded` is
        the state of this layer, and no lower one is asked for.
        """
        depth = len(self.blocks)
        wanted = (
            set(range(depth + 1)) if layers is None else {layer % (depth + 1) for layer in layers}
        )
        highest, n_tokens = max(wanted), embedded.shape[0]
        x = filled(embedded)
        states: list[Tensor | None] = [None] * (start + 1)
        if start in wanted:
            exposed = ragged.first(x, tokens) if first_only else embedded
            norm = None if start == 0 else self.final_norm
            states[start] = exposed if norm is None else norm(exposed)
        below: tuple[int, ...] = (id(self.embed), *(id(block) for block in self.blocks[:start]))
        blocks = cast("list[Block]", list(self.blocks[start:highest]))
        for number, block in enumerate(blocks, start=start + 1):
            shortened = block.first if first_only and number == highest else None
            run, below = shortened or block, (*below, id(block))
            if memo is None:
                x = run(x, tokens)
            else:
                made = (below, bool(shortened))
                if made not in memo:
                    memo[made] = run(x, tokens)
                x = memo[made]
            if number not in wanted:
                states.append(None)
                continue
            exposed = x if shortened else ragged.first(x, tokens) if first_only else x[:n_tokens]
            states.append(exposed if self.final_norm is None else self.final_norm(exposed))
        states.extend([None] * (depth + 1 - len(states)))
        return Encoded(tuple(states), ragged.first_tokens(tokens) if first_only else tokens)


@contextlib.contextmanager
def computing_in(dtype: torch.dtype, encoders: Sequence[Any]) -> Iterator[None]:
    """Inside, the matrix products of these encoders, Encore's own or borrowed ones, are taken in
    `dtype`.
    """
    before = [(encoder, encoder.dtype) for encoder in encoders]
    try:
        for encoder in encoders:
            encoder.dtype = dtype
        yield
    finally:
        for encoder, own in before:
            encoder.dtype = own


def filled(x: Tensor) -> Tensor:
    """`x` with a few lines of 0 behind it, where that spares the processor work.

    Its bf16 products are compiled for every number of tokens, which takes half as long as the
    product itself, and the last thousand are kept. So the number is rounded up to one of 32 for
    each doubling. What comes out of these lines is cut off, so nothing flows back into them.
    """
    if x.device.type != "cpu" or x.dtype != torch.bfloat16:
        return x
    grain = max(16, 1 << max(0, (x.shape[0] - 1).bit_length() - 6))
    return nn.functional.pad(x, (0, 0, 0, -x.shape[0] % grain))


class Frozen(nn.Module):
    """A pretrained encoder, Encore's own or a borrowed one, that never changes: eval mode always,
    no gradient, no part in any optimiser.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Frozen:
        return super().train(False)

    def forward(self, tokens: Tokens, *, layers: Iterable[int] | None = None) -> Encoded:
        return self.run(self.embedded(tokens), tokens, layers=layers)

    @torch.no_grad()
    def embedded(self, tokens: Tokens) -> Tensor:
        return self.encoder.embedded(tokens)

    @torch.no_grad()
    def run(self, embedded: Tensor, tokens: Tokens, **how: Any) -> Encoded:
        return self.encoder.run(embedded, tokens, **how)

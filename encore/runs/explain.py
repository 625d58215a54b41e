"""The weights of the words of a text, and those of poolings that have attention.

A word's weight is the sum over its pieces. By attention it is, where the pooling has several heads,
their mean; each head's weights add up to 1 in each row, so these do too, with the weight of tokens
that belong to no word ([CLS], [SEP]). They show which words the vector is made of, which need not
be the ones that change the prediction. `encore.runs.gradients` weighs words by what they add to it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from encore.data.batches import collate, evaluation_batches
from encore.data.token_store import Pieces, Truncation, split_pieces, tokenize
from encore.data.tokenizer import Texts, TextTokenizer
from encore.model.task_model import Branch, TaskModel

__all__ = [
    "Attribution",
    "Explanation",
    "Spelling",
    "Word",
    "WordWeights",
    "explain",
    "spelled",
    "weighed",
    "weighing_branch",
]

_BLOCK_ROWS = 512  # whose words are in memory at once


@dataclass(frozen=True)
class Word:
    """`word` is `text[start:end]`. `weight`: by attention its share of the row's vector; by
    gradients what it adds to the score, below 0 where it speaks against the prediction (or lowers
    the value); None where truncation cut all of it off. adapters: the share of each fused adapter
    in it, where there are any.
    """

    word: str
    start: int
    end: int
    weight: float | None
    adapters: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class WordWeights:
    """One text, as the model reads it (a named task may have normalised it), and its words in their
    order.
    """

    text: str
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Attribution:
    """A score that was attributed to the words of an example: the log-odds of the predicted labels
    (the most probable one where a multi-label prediction is empty), or the value of a regression.

    labels: their names, none for regression. change: the score less that of the same row with all
    words masked; weights and rest add up to it, but for the error of the integral. fall: how much
    the score falls without the strongest fifth of the words (at least one), random_fall: without as
    many random ones; None for a row of less than two words. A value of a regression falls where it
    moves towards that of the masked row.
    """

    labels: tuple[str, ...]
    change: float
    fall: float | None
    random_fall: float | None


@dataclass(frozen=True)
class Explanation:
    """One example: its text, or both texts of a pair. `rest`: the weight of tokens that
    belong to no word. attribution: None where the weights are attention, which adds up to 1.
    adapters: the share of each fused adapter in all tokens, where there are any.
    """

    texts: tuple[WordWeights, ...]
    rest: float
    attribution: Attribution | None = None
    adapters: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def weights(self) -> list[float]:
        """The weights of the words that were read, of all texts."""
        return [
            word.weight for text in self.texts for word in text.words if word.weight is not None
        ]

    def share(self, weight: float) -> float:
        """A weight as a share of all weights, negative ones counted as positive ones."""
        if self.attribution is None:
            return weight
        return weight / self._whole if self._whole else 0.0

    def strength(self, weight: float) -> float:
        """The place of a weight between that of the average word, 0, and the strongest, 1; below 0
        for weak ones. Its sign does not count.
        """
        average, top = self._scale
        return (abs(weight) - average) / (top - average) if top > average else 0.0

    @cached_property
    def _whole(self) -> float:
        return sum(map(abs, self.weights)) + abs(self.rest)

    @cached_property
    def _scale(self) -> tuple[float, float]:
        sizes = list(map(abs, self.weights))
        return sum(sizes) / max(len(sizes), 1), max(sizes, default=0.0)

    def strongest(self, k: int) -> list[Word]:
        """The k words of the greatest weight, negative or not, the greatest first, of either
        text.
        """
        read = [word for text in self.texts for word in text.words if word.weight is not None]
        return sorted(read, key=lambda word: -abs(word.weight or 0.0))[:k]


def weighing_branch(model: TaskModel) -> Branch | None:
    """The model's first branch whose pooling has token weights; None where there is none."""
    return next((branch for branch in model.branches if branch.pooling.weights is not None), None)


def explain(
    model: TaskModel,
    tokenizer: TextTokenizer,
    texts: Texts,
    pairs: Texts | None = None,
    *,
    max_length: int,
    truncation: Truncation,
) -> Iterator[Explanation]:
    """One explanation per row by the token weights of the model's `weighing_branch`, in their
    order, a few hundred rows at a time. Raises DataError for what is no text.
    """
    branch = weighing_branch(model.eval())
    assert branch is not None
    weigh = branch.pooling.weights
    assert weigh is not None
    cutting: dict[str, Any] = {"max_length": max_length, "truncation": truncation}
    for start in range(0, len(texts), _BLOCK_ROWS):
        first, second = (
            None if side is None else _strings(side[start : start + _BLOCK_ROWS])
            for side in (texts, pairs)
        )
        assert first is not None
        store = tokenize(tokenizer, first, second, **cutting)
        found: dict[int, Tensor] = {}
        for rows in evaluation_batches(store.lengths):
            tokens = collate(store, rows, next(branch.parameters()).device)
            with torch.inference_mode():
                weights = weigh(branch.encoder(tokens, layers=branch.pooling.layers))
            of_token = (weights.mean(dim=1) if weights.dim() == 2 else weights).double().cpu()
            found |= dict(zip(rows.tolist(), of_token.split(tokens.lengths), strict=True))
        for row, text in enumerate(first):
            sides = (text,) if second is None else (text, second[row])
            yield _explanation(
                sides, split_pieces(tokenizer, *sides, **cutting), found[row].tolist()
            )


def _strings(texts: Any) -> list[str]:
    return texts.to_pylist() if hasattr(texts, "to_pylist") else list(texts)


def _explanation(
    texts: Sequence[str], sides: Sequence[Pieces], weights: Sequence[float]
) -> Explanation:
    found = []
    for text, side in zip(texts, sides, strict=True):
        of_piece = [None if place < 0 else weights[place] for place in side.places.tolist()]
        found.append(WordWeights(text, weighed(text, spelled(text, side), of_piece)))
    one = Explanation(tuple(found), 0.0)
    return replace(one, rest=max(0.0, sum(weights) - sum(one.weights)))


@dataclass(frozen=True)
class Spelling:
    """A word, `text[start:end]`, and the numbers of its pieces."""

    start: int
    end: int
    pieces: tuple[int, ...]


def spelled(text: str, side: Pieces) -> list[Spelling]:
    """Pieces that the tokenizer counts to one word, put together, and parted again where there is a
    blank between them: a tokenizer without a pre-tokenizer knows no words. A piece without
    characters, such as the blank in front of a word, counts to the word that follows.
    """
    found: list[tuple[int, int, list[int]]] = []
    numbered = enumerate(zip(side.words, side.spans, strict=True))
    for _, group in groupby(numbered, key=lambda piece: piece[1][0]):
        fresh, before = True, []
        for number, (_, span) in group:
            start, end = _trimmed(text, *span)
            if start == end:
                before.append(number)
                continue
            accent = (
                bool(found) and found[-1][1] == start and unicodedata.combining(text[start]) > 0
            )  # of the letter before it
            if accent or not (
                fresh or any(character.isspace() for character in text[found[-1][1] : start])
            ):
                found[-1] = (found[-1][0], max(found[-1][1], end), found[-1][2])
            else:
                found.append((start, end, []))
            found[-1][2].extend([number, *before])
            fresh, before = False, []
    limits = [*(start for start, _, _ in found[1:]), len(text)]
    words = []
    for (start, end, pieces), limit in zip(found, limits, strict=False):
        while end < limit and unicodedata.combining(text[end]):
            end += 1  # a tokenizer that strips accents leaves them out of its words
        words.append(Spelling(start, end, tuple(pieces)))
    return words


def weighed(
    text: str, words: Iterable[Spelling], weights: Sequence[float | None]
) -> tuple[Word, ...]:
    """The words with the sums over their pieces. weights: (pieces,), None for one that was cut."""
    found = []
    for word in words:
        read = [value for piece in word.pieces if (value := weights[piece]) is not None]
        weight = sum(read) if read else None
        found.append(Word(text[word.start : word.end], word.start, word.end, weight))
    return tuple(found)


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Byte-level and sentencepiece tokenizers count the blank before a word to its first piece."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end

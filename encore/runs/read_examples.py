"""The words of an example, and the tokens that were read of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from encore.data.token_store import Pieces, split_pieces
from encore.data.tokenizer import TextTokenizer
from encore.runs.explain import Explanation, Spelling, WordWeights, spelled, weighed
from encore.runs.loaded_task import LoadedTask
from encore.training.streams import Rows

__all__ = ["ReadExample", "read_example"]


@dataclass(frozen=True)
class _ReadText:
    """A text, its words, and where their pieces lie. tokens: (readings, pieces) numbers in the
    store, -1 where a piece was cut.
    """

    text: str
    words: list[Spelling]
    tokens: np.ndarray

    def tokens_of(self, word: Spelling) -> np.ndarray:
        """Numbers in the store of what was read of a word."""
        found = self.tokens[:, list(word.pieces)]
        return found[found >= 0]


@dataclass(frozen=True)
class ReadExample:
    """The texts of an example, and the number of its first and the one behind its last token in the
    store, for each of its rows there.
    """

    texts: list[_ReadText]
    spans: list[tuple[int, int]]

    def explanation(self, attributions: np.ndarray) -> Explanation:
        """The sums over the words. attributions: (tokens,) of the store."""
        texts = []
        for each in self.texts:
            of_piece = [
                float(attributions[read[read >= 0]].sum()) if (read >= 0).any() else None
                for read in each.tokens.T
            ]
            texts.append(WordWeights(each.text, weighed(each.text, each.words, of_piece)))
        whole = sum(float(attributions[start:end].sum()) for start, end in self.spans)
        one = Explanation(tuple(texts), 0.0)
        return replace(one, rest=whole - sum(one.weights))

    @property
    def words(self) -> list[np.ndarray]:
        """The tokens of each word that was read."""
        found = [each.tokens_of(word) for each in self.texts for word in each.words]
        return [tokens for tokens in found if len(tokens)]


def read_example(
    task: LoadedTask, tokenizer: TextTokenizer, rows: Rows, row: int, texts: Sequence[str]
) -> ReadExample:
    """Find the words of one example in its rows of the store: one, one for each side, or one for
    each order of which the second is turned round.
    """
    cutting: dict[str, Any] = {"max_length": task.max_length, "truncation": task.truncation}
    readings: list[dict[int, Pieces]]  # of each row, by the number of the text
    if rows.n_sides > 1:
        readings = [
            {side: split_pieces(tokenizer, text, **cutting)[0]} for side, text in enumerate(texts)
        ]
    else:
        readings = [dict(enumerate(split_pieces(tokenizer, *texts, **cutting)))]
    if rows.both_orders:
        turned = split_pieces(tokenizer, *texts[::-1], **cutting)
        readings.append(dict(enumerate(turned[::-1])))
    at = row + len(rows) * np.arange(len(readings))
    starts, ends = rows.store.offsets[at].tolist(), rows.store.offsets[at + 1].tolist()
    found = []
    for side, text in enumerate(texts):
        own = [(start, by[side]) for start, by in zip(starts, readings, strict=True) if side in by]
        tokens = [np.where(each.places < 0, -1, start + each.places) for start, each in own]
        found.append(_ReadText(text, spelled(text, own[0][1]), np.stack(tokens)))
    return ReadExample(found, list(zip(starts, ends, strict=True)))

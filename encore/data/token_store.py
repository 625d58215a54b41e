"""Stores the token ids of many texts, end to end, cut to a maximum length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from encore.data.tokenizer import BLOCK_ROWS, Templates, Texts, TextTokenizer, string_block
from encore.errors import DataError, RecipeError, did_you_mean

__all__ = [
    "NoToken",
    "Pieces",
    "TokenStore",
    "Truncation",
    "end_to_end",
    "head_and_tail",
    "pair_budgets",
    "split_pieces",
    "take_runs",
    "tokenize",
]

Truncation = Literal["head", "tail", "head_tail", "half_half"]

_HEAD_FRAC = {
    "head": Fraction(1),
    "tail": Fraction(0),
    "head_tail": Fraction(128, 510),
    "half_half": Fraction(1, 2),
}
_BLOCK_CHARACTERS = 1 << 20  # 30 MB, whatever the number and the length of the rows.
_SHOWN = 20


class NoToken(DataError):
    """A text gives no token. row: its number among those that were tokenized, from 0."""

    MESSAGE = "gives no token at all, and this tokenizer adds no special ones. Remove such rows."

    def __init__(self, row: int) -> None:
        super().__init__(f"text of row {row + 1}: {self.MESSAGE}")
        self.row = row


@dataclass(frozen=True)
class TokenStore:
    """The tokens of all rows, end to end, special tokens included. Row `r` owns
    `offsets[r]:offsets[r + 1]`.

    ids: (tokens,) int32; segments: (tokens,) uint8, 0 for the first text and 1 for the second where
    the family tells them apart; offsets: (rows + 1,) int64; cut: (rows,) bool, True where a text
    did not fit `max_length`.
    """

    ids: np.ndarray
    segments: np.ndarray
    offsets: np.ndarray
    cut: np.ndarray
    max_length: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """(rows,) int64: tokens of each row."""
        return np.diff(self.offsets)

    @property
    def n_cut(self) -> int:
        """Rows that lost tokens to `max_length`."""
        return int(np.count_nonzero(self.cut))

    def take(self, rows: np.ndarray) -> TokenStore:
        """The given rows in the given order; a row may occur more than once."""
        lengths = self.lengths[rows]
        index = take_runs(self.offsets[:-1][rows], lengths)
        return TokenStore(
            self.ids[index],
            self.segments[index],
            _offsets(lengths),
            self.cut[rows],
            self.max_length,
        )

    def without(self, tokens: np.ndarray) -> TokenStore:
        """All rows without these tokens (numbers in the store), which leaves at least one token in
        each.
        """
        kept = np.ones(len(self.ids), dtype=bool)
        kept[tokens] = False
        lengths = np.diff(np.cumsum(np.concatenate([[0], kept]))[self.offsets])
        kept[self.offsets[:-1][lengths == 0]] = True
        return replace(
            self,
            ids=self.ids[kept],
            segments=self.segments[kept],
            offsets=_offsets(np.maximum(lengths, 1)),
        )


def tokenize(
    tokenizer: Templates,
    texts: Texts,
    pairs: Texts | None = None,
    *,
    max_length: int,
    truncation: Truncation,
) -> TokenStore:
    """Tokenize rows, and cut what is longer than `max_length` tokens (special ones included).
    METHODS 8.6.

    head: the first tokens stay; tail: the last; head_tail: the first ⌊share·128/510⌋ and the last
    of the rest (128 + 382 for 512); half_half: half of each. With `pairs`, the longer text is
    trimmed first until both fit (`pair_budgets`), then each text is cut to its share in this way.
    Raises RecipeError for impossible settings and DataError for rows that are not text.
    """
    n_special = tokenizer.n_special(pairs is not None)
    _check_settings(max_length, truncation, n_special, n_texts=1 if pairs is None else 2)
    if pairs is not None and len(pairs) != len(texts):
        raise DataError(
            f"texts and pairs: expected one second text per row, got {len(texts)} texts and "
            f"{len(pairs)} second texts."
        )
    problems = [
        problem
        for side, name in ((texts, "text"), (pairs, "second text"))
        if side is not None
        for problem in tokenizer.problems(side, name)
    ]
    if problems:
        raise DataError(
            problems
            if len(problems) <= _SHOWN
            else [*problems[:_SHOWN], f"… and {len(problems) - _SHOWN} more."]
        )
    budget = max_length - n_special
    blocks = [
        _assembled(tokenizer, first, second, budget, truncation)
        for first, second in _blocks(texts, pairs)
    ]
    nothing = (
        np.empty(0, np.int32),
        np.empty(0, np.uint8),
        np.empty(0, np.int64),
        np.empty(0, bool),
    )
    ids, segments, lengths, cut = (
        np.concatenate(parts) for parts in zip(nothing, *blocks, strict=True)
    )
    if (lengths == 0).any():
        raise NoToken(int(np.flatnonzero(lengths == 0)[0]))
    return TokenStore(ids, segments, _offsets(lengths), cut, max_length)


@dataclass(frozen=True)
class Pieces:
    """The pieces of one text: their origin in it, and their places among the row's tokens.

    spans: (pieces,) first character and the one behind the last; words: (pieces,) the number of the
    word that each is part of, as the tokenizer counts; places: (pieces,) int64, the place of each
    among its row's tokens, -1 where it was cut off.
    """

    spans: Sequence[tuple[int, int]]
    words: Sequence[int | None]
    places: np.ndarray


def split_pieces(
    tokenizer: TextTokenizer,
    text: str,
    pair: str | None = None,
    *,
    max_length: int,
    truncation: Truncation,
) -> tuple[Pieces, ...]:
    """Split one row into the pieces that `tokenize` makes of the same arguments, for each of its
    texts.
    """
    template = tokenizer.templates[pair is not None]
    encodings = [
        tokenizer.backend.encode(side, add_special_tokens=False)
        for side in (text, pair)
        if side is not None
    ]
    lengths = [np.array([len(encoding)]) for encoding in encodings]
    budget = max_length - tokenizer.n_special(pair is not None)
    keep = (
        [np.minimum(lengths[0], budget)]
        if pair is None
        else pair_budgets(lengths[0], lengths[1], budget)
    )
    found, next_place = [], 0
    for encoding, of_text, n_special in zip(encodings, keep, template.counts, strict=False):
        next_place += n_special
        share = int(of_text[0])
        head, tail = (
            (share, 0)
            if share == len(encoding)
            else (int(part[0]) for part in head_and_tail(of_text, truncation))
        )
        places = np.full(len(encoding), -1, dtype=np.int64)
        places[:head] = next_place + np.arange(head)
        places[len(places) - tail :] = next_place + head + np.arange(tail)
        next_place += share
        found.append(Pieces(encoding.offsets, encoding.word_ids, places))
    return tuple(found)


def end_to_end(stores: Sequence[TokenStore]) -> TokenStore:
    """All rows of the first, then all of the second, …."""
    if len(stores) == 1:
        return stores[0]
    ids, segments, lengths, cut = (
        np.concatenate(parts)
        for parts in zip(
            *((one.ids, one.segments, one.lengths, one.cut) for one in stores), strict=True
        )
    )
    return TokenStore(ids, segments, _offsets(lengths), cut, stores[0].max_length)


def pair_budgets(
    first: np.ndarray, second: np.ndarray, budget: int
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of tokens that the texts of a pair keep when the longer one is trimmed until both fit
    `budget`.

    first, second: (rows,) lengths. A text of at most half the budget is never cut; where both are
    longer, each gets half, and the odd token goes to the longer one (to the second where they are
    equal), as in `tokenizers`.
    """
    half, odd = divmod(budget, 2)
    shorter, longer = np.minimum(first, second), np.maximum(first, second)
    fits = first + second <= budget
    keep_shorter = np.where(fits, shorter, np.minimum(shorter, half))
    keep_longer = np.where(fits, longer, np.where(shorter <= half, budget - shorter, half + odd))
    swapped = first > second
    return np.where(swapped, keep_longer, keep_shorter), np.where(
        swapped, keep_shorter, keep_longer
    )


def head_and_tail(share: np.ndarray, truncation: Truncation) -> tuple[np.ndarray, np.ndarray]:
    """(rows,) tokens kept from the start and from the end of a text that is cut to `share`
    tokens.
    """
    fraction = _HEAD_FRAC[truncation]
    head = share * fraction.numerator // fraction.denominator
    return head, share - head


def take_runs(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Indices of runs, end to end: `starts[i], starts[i] + 1, …`, `counts[i]` of them. (runs,) and
    (runs,) → (sum of counts,) int64.
    """
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - counts), counts)


def _assembled(
    tokenizer: Templates,
    texts: list[str],
    pairs: list[str] | None,
    budget: int,
    truncation: Truncation,
) -> tuple[np.ndarray, ...]:
    """The ids, segments, lengths and cut of one block."""
    template = tokenizer.templates[pairs is not None]
    sides = [tokenizer.encoded(side) for side in (texts, pairs) if side is not None]
    lengths = [side[1] for side in sides]
    keep = (
        [np.minimum(lengths[0], budget)]
        if pairs is None
        else list(pair_budgets(lengths[0], lengths[1], budget))
    )
    # Every row is a list of runs in one pool of ids: specials, start of a text, its end, specials.
    pool = np.concatenate([np.array(template.ids, dtype=np.int32), *(side[0] for side in sides)])
    pool_segments = np.repeat(
        np.array([*template.segments, *template.text_segments[: len(sides)]], dtype=np.uint8),
        [1] * len(template.ids) + [len(side[0]) for side in sides],
    )
    starts, counts = [], []
    special, base = 0, len(template.ids)
    rows = len(texts)
    for place, n_special in enumerate(template.counts):
        starts.append(np.full(rows, special))
        counts.append(np.full(rows, n_special))
        special += n_special
        if place < len(sides):
            ends = base + np.cumsum(lengths[place])
            head, tail = head_and_tail(keep[place], truncation)
            whole = keep[place] == lengths[place]
            head, tail = np.where(whole, keep[place], head), np.where(whole, 0, tail)
            starts += [ends - lengths[place], ends - tail]
            counts += [head, tail]
            base += len(sides[place][0])
    index = take_runs(np.stack(starts, axis=1).ravel(), np.stack(counts, axis=1).ravel())
    cut = np.zeros(rows, dtype=bool)
    for length, share in zip(lengths, keep, strict=True):
        cut |= share < length
    return pool[index], pool_segments[index], np.sum(keep, axis=0) + special, cut


def _blocks(texts: Texts, pairs: Texts | None) -> Iterator[tuple[list[str], list[str] | None]]:
    """Rows as Python strings, a bounded number of characters at a time."""
    for start in range(0, len(texts), BLOCK_ROWS):
        first = string_block(texts, start)
        second = None if pairs is None else string_block(pairs, start)
        begin = characters = 0
        for row, text in enumerate(first):
            size = len(text) + (0 if second is None else len(second[row]))
            if row > begin and characters + size > _BLOCK_CHARACTERS:
                yield first[begin:row], None if second is None else second[begin:row]
                begin, characters = row, 0
            characters += size
        yield first[begin:], None if second is None else second[begin:]


def _offsets(lengths: np.ndarray) -> np.ndarray:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _check_settings(max_length: int, truncation: str, n_special: int, *, n_texts: int) -> None:
    problems = []
    if truncation not in get_args(Truncation):
        problems.append(
            f"truncation: unknown value '{truncation}'. "
            f"{did_you_mean(str(truncation), get_args(Truncation))}"
        )
    if isinstance(max_length, bool) or not isinstance(max_length, int):
        problems.append(f"max_length: expected a whole number of tokens, got {max_length!r}.")
    elif max_length < n_special + n_texts:
        what = "pair of texts" if n_texts == 2 else "text"
        problems.append(
            f"max_length: expected at least {n_special + n_texts}, got {max_length}: "
            f"this tokenizer puts {n_special} special tokens around a {what}. Raise max_length."
        )
    if problems:
        raise RecipeError(problems)

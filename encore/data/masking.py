"""Chooses the tokens of a row that masked language modelling hides, and what stands in their place.

Source: Devlin et al. 2019, dynamic as in Liu et al. 2019 (METHODS 6). A choice is a function of
(seed, pass over the texts, row): nothing needs saving to resume, a micro-batch hides what the whole
batch would have hidden, and the next pass hides other tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from encore import rng

__all__ = ["Hidden", "MaskUnit", "Masking", "Symbols"]

MaskUnit = Literal["tokens", "words"]
_MASKED, _RANDOM = 0.8, 0.1  # shares of the chosen tokens; the rest stays as it is
_MOST_PREDICTED = 512  # of a row, in the library that `compat: gen` counts like


@dataclass(frozen=True)
class Symbols:
    """The ids that masking needs to know. special: ids that are never hidden. continues:
    (vocabulary,) bool, pieces that belong to the word of the piece before them.
    """

    mask: int
    n_words: int
    special: frozenset[int]
    continues: np.ndarray


@dataclass(frozen=True)
class Hidden:
    """The hidden tokens of some rows. places: (hidden,) int64, among the tokens of all rows end to
    end; targets: (hidden,) int64, the ids that were there; ids: (tokens,) int64, what the encoder
    reads.
    """

    places: np.ndarray
    targets: np.ndarray
    ids: np.ndarray


@dataclass(frozen=True)
class Masking:
    """The way in which tokens are chosen.

    unit: each token by itself, or each word with all its pieces. rate: the probability of each. A
    row in which none is chosen gets one. compat: "gen" takes words as the whole-word collator of
    transformers 4 does, which the authors of GEN used: `rate` of the length with special tokens,
    rounded, at least one, and words that would exceed it are passed over.
    """

    rate: float
    unit: MaskUnit
    symbols: Symbols
    compat: Literal["gen"] | None = None

    def hide(
        self, ids: np.ndarray, offsets: np.ndarray, rows: Sequence[int], seed: int, *turn: str | int
    ) -> Hidden:
        """Hide tokens of rows.

        ids: (tokens,) of all rows end to end, with special tokens; offsets: (rows + 1,). rows:
        their numbers, which with the seed and `turn` (the pass, say) decide.
        """
        symbols = self.symbols
        eligible = ~np.isin(ids, list(symbols.special))
        chosen = np.zeros(len(ids), dtype=bool)
        replaced = ids.astype(np.int64)
        for number, begin, end in zip(rows, offsets[:-1], offsets[1:], strict=True):
            draw = rng.generator(seed, "masking", *turn, int(number))
            choose, fate = draw.random((2, end - begin))
            words = draw.integers(symbols.n_words, size=end - begin)
            own = self._chosen(ids[begin:end], eligible[begin:end], choose)
            chosen[begin:end] = own
            row = replaced[begin:end]
            row[own & (fate < _MASKED)] = symbols.mask
            anything = own & (fate >= _MASKED) & (fate < _MASKED + _RANDOM)
            row[anything] = words[anything]
        places = np.flatnonzero(chosen)
        return Hidden(places, ids[places].astype(np.int64), replaced)

    def _chosen(self, ids: np.ndarray, eligible: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """(tokens,) bool for one row. draws: (tokens,) in [0, 1)."""
        if not eligible.any():
            return eligible
        if self.unit == "words":
            starts = eligible & ~(self.symbols.continues[ids] & np.roll(eligible, 1))
            words = np.cumsum(starts) - 1  # the number of each eligible token's word
            if self.compat == "gen":
                return _like_the_library(words, eligible, draws[starts], self.rate)
            draws = draws[starts][words]
        draws = np.where(eligible, draws, np.inf)
        chosen = draws < self.rate
        return chosen if chosen.any() else draws == draws.min()


def _like_the_library(
    words: np.ndarray, eligible: np.ndarray, draws: np.ndarray, rate: float
) -> np.ndarray:
    """`_chosen` by words in random order until `rate` of the length is reached."""
    budget = min(_MOST_PREDICTED, max(1, round(len(words) * rate)))
    sizes = np.bincount(words[eligible])
    taken = np.zeros(len(sizes), dtype=bool)
    n_chosen = 0
    for word in np.argsort(draws, kind="stable"):
        if n_chosen >= budget:
            break
        if n_chosen + sizes[word] <= budget:
            taken[word] = True
            n_chosen += sizes[word]
    return eligible & taken[words]

"""The tokens that masked language modelling hides (METHODS 6)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from encore.data.masking import Hidden, Masking, MaskUnit, Symbols

CLS, SEP, MASK, N_WORDS = 1, 2, 3, 1000
CONTINUES = np.arange(N_WORDS) >= 700  # three pieces of ten belong to the word before them
SYMBOLS = Symbols(MASK, N_WORDS, frozenset({0, CLS, SEP, MASK}), CONTINUES)


def masking(unit: MaskUnit = "tokens", compat: Literal["gen"] | None = None) -> Masking:
    return Masking(0.15, unit, SYMBOLS, compat)


def rows(n_rows: int, length: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Ids end to end and offsets; `length` words in each row, and the special tokens around."""
    draw = np.random.default_rng(seed)
    ids = draw.integers(4, N_WORDS, (n_rows, length + 2), dtype=np.int32)
    ids[:, 0], ids[:, -1] = CLS, SEP
    return ids.ravel(), np.arange(n_rows + 1) * (length + 2)


def hide(how: Masking, ids: np.ndarray, offsets: np.ndarray, *turn: int) -> Hidden:
    return how.hide(ids, offsets, range(len(offsets) - 1), 7, *turn)


@pytest.mark.parametrize("unit", ["tokens", "words"])
def test_15_percent_are_hidden_of_which_8_of_10_are_masked(unit: MaskUnit) -> None:
    """Over a million tokens: 15 ± 0.3 %, and 80/10/10 ± 1 %."""
    ids, offsets = rows(8_000, 126)
    found = hide(masking(unit), ids, offsets, 0)
    assert len(found.places) / (8_000 * 126) == pytest.approx(0.15, abs=0.003)
    assert (found.targets == ids[found.places]).all()
    now = found.ids[found.places]
    masked, same = now == MASK, now == found.targets
    assert masked.mean() == pytest.approx(0.8, abs=0.01)
    assert same.mean() == pytest.approx(0.1, abs=0.01)
    anything = now[~masked & ~same]
    assert len(anything) / len(now) == pytest.approx(0.1, abs=0.01)
    assert np.bincount(anything // 100, minlength=10).std() < 0.1 * len(anything) / 10
    others = np.setdiff1d(np.arange(len(ids)), found.places)
    assert (found.ids[others] == ids[others]).all()


@pytest.mark.parametrize(("length", "rate"), [(10, 0.1697), (20, 0.1519)])
def test_a_short_row_has_at_least_one_hidden_token(length: int, rate: float) -> None:
    """15 % + .85^L / L."""
    ids, offsets = rows(8_000, length)
    found = hide(masking(), ids, offsets, 0)
    assert set(found.places // (length + 2)) == set(range(8_000))
    assert len(found.places) / (8_000 * length) == pytest.approx(rate, abs=0.004)
    assert rate == pytest.approx(0.15 + 0.85**length / length, abs=1e-4)


@pytest.mark.parametrize("how", [masking(), masking("words"), masking("words", "gen")])
def test_special_tokens_are_never_hidden(how: Masking) -> None:
    ids, offsets = rows(500, 12)
    ids[5::14] = SEP  # between two texts
    found = hide(how, ids, offsets, 0)
    assert not set(found.targets.tolist()) & {0, CLS, SEP, MASK}
    nothing = np.array([CLS, SEP, SEP], dtype=np.int32)
    assert not len(hide(how, nothing, np.array([0, 3]), 0).places)


@pytest.mark.parametrize("compat", [None, "gen"])
def test_words_are_hidden_whole(compat: Literal["gen"] | None) -> None:
    ids, offsets = rows(300, 40)
    hidden = np.zeros(len(ids), dtype=bool)
    hidden[hide(masking("words", compat), ids, offsets, 0).places] = True
    starts = ~CONTINUES[ids]
    starts[1::42] = True  # behind [CLS] a word begins, whatever its piece looks like
    word = np.cumsum(starts)
    assert all(len(set(part)) == 1 for part in np.split(hidden, np.flatnonzero(np.diff(word)) + 1))
    assert 0.1 < hidden.mean() < 0.2


def test_a_choice_is_a_function_of_seed_turn_and_row() -> None:
    ids, offsets = rows(50, 30)
    first, again, later = (hide(masking(), ids, offsets, turn) for turn in (0, 0, 1))
    assert (first.ids == again.ids).all()
    assert (first.places == again.places).all()
    assert len(np.intersect1d(first.places, later.places)) < 0.4 * len(first.places)
    alone = masking().hide(ids[32:64], np.array([0, 32]), [1], 7, 0)
    assert (alone.ids == first.ids[32:64]).all()
    other = masking().hide(ids, offsets, range(50), 8, 0)
    assert (other.ids != first.ids).any()


def library_choice(words: list[list[int]], n_tokens: int, order: np.ndarray) -> set[int]:
    """transformers 4's `_whole_word_mask`, with the order of its shuffled words given."""
    budget = min(512, max(1, round(n_tokens * 0.15)))
    chosen: list[int] = []
    for number in order:
        if len(chosen) >= budget:
            break
        if len(chosen) + len(words[number]) > budget:
            continue
        chosen += words[number]
    return set(chosen)


def test_gen_counts_like_the_library() -> None:
    """The budget is of the length with special tokens; the order of words is the draws'."""
    from encore import rng

    ids, offsets = rows(200, 25, seed=3)
    found = set(hide(masking("words", "gen"), ids, offsets, 4).places.tolist())
    for row in range(200):
        own = ids[offsets[row] : offsets[row + 1]]
        words: list[list[int]] = []
        for place in range(1, 26):
            if CONTINUES[own[place]] and place > 1:
                words[-1].append(place)
            else:
                words.append([place])
        draws = rng.generator(7, "masking", 4, row).random((2, 27))[0]
        order = np.argsort([draws[word[0]] for word in words], kind="stable")
        expected = library_choice(words, 27, order)
        assert {
            place - offsets[row] for place in found if offsets[row] <= place < offsets[row + 1]
        } == expected

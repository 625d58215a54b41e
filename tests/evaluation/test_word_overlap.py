"""Pairs by the words that both texts have."""

from __future__ import annotations

import itertools
import re
from collections import Counter

import numpy as np
import pytest
from conftest import sentences
from sklearn.metrics import jaccard_score

from encore.evaluation.row_bins import row_bins
from encore.evaluation.word_overlap import overlap_bins, word_overlap


@pytest.mark.parametrize(
    ("text", "pair", "overlap"),
    [
        ("Work into it slowly", "It seems to work", 2 / 6),  # work, it | into slowly seems to
        ("the cat", "the cat", 1),
        ("THE Cat!", "the, cat?", 1),
        ("a a a b", "a", 1 / 2),  # a word counts once
        ("one two", "three four", 0),
        ("don't", "don", 1 / 2),  # don, t
        ("3 dogs", "4 dogs", 1 / 3),
        ("Äpfel", "äpfel", 1),
        ("", "", 1),
        ("?!", "…", 1),
        ("", "word", 0),
    ],
)
def test_overlap_by_hand(text: str, pair: str, overlap: float) -> None:
    assert word_overlap([text], [pair]).tolist() == word_overlap([pair], [text]).tolist()
    assert word_overlap([text], [pair])[0] == pytest.approx(overlap, abs=1e-15)


def test_overlap_is_that_of_a_loop_over_words_and_of_scikit_learn() -> None:
    texts, pairs = sentences(80, 1)[0], sentences(80, 2)[0]
    found = word_overlap(texts, pairs)
    assert len(set(found.tolist())) > 8
    for value, text, pair in zip(found.tolist(), texts, pairs, strict=True):
        one, other = (re.split(r"\W+", each.casefold()) for each in (text, pair))
        both = sum(word in other for word in dict.fromkeys(one) if word)
        words = [word for word in dict.fromkeys([*one, *other]) if word]
        assert value == both / len(words)
        marks = [[word in each for word in words] for each in (one, other)]
        assert value == pytest.approx(jaccard_score(*marks))


def test_thirds_of_the_rows() -> None:
    """Row n of 60 shares n of 100 words, so the overlap is n %, and a third has 20 of them."""
    numbers = list(range(1, 101))
    texts = [" ".join(f"w{at}" for at in numbers)] * 60
    pairs = [" ".join(f"w{at}" for at in numbers[:shared]) for shared in range(60)]
    found = overlap_bins(texts, pairs)
    assert found == ["0–19"] * 20 + ["20–39"] * 20 + ["40–59"] * 20
    assert Counter(overlap_bins(texts[:50], pairs[:50]) or ()) == {"0–24": 25, "25–49": 25}
    assert overlap_bins(texts[:39], pairs[:39]) is None
    assert overlap_bins(texts, texts) is None


def test_bins_hold_whole_values_and_do_not_meet() -> None:
    values = np.random.default_rng(0).poisson(3, 500)
    found = row_bins(values, 6)
    assert found is not None
    spans: dict[str, tuple[int, int]] = {
        name: (int(name.split("–")[0]), int(name.split("–")[-1])) for name in found
    }
    for value, name in zip(values.tolist(), found, strict=True):
        low, high = spans[name]
        assert low <= value <= high
    ordered = sorted(spans.values())
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ordered))

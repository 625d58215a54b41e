"""The words that the two texts of a pair have in common, and the rows of a data set by them: a
model that goes by common words is wrong where they mislead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from encore.evaluation.row_bins import row_bins

__all__ = ["OVERLAP", "overlap_bins", "word_overlap"]

OVERLAP = "word overlap, %"  # the name of the bins in tables
_WORD = re.compile(r"\w+")
_BINS = 3


def word_overlap(texts: Iterable[str], pairs: Iterable[str]) -> np.ndarray:
    """(rows,) float64, the Jaccard overlap of each pair's words: of the different lower-cased words
    that occur in one of the texts or in both, the share that occurs in both.

    A word is a run of letters, digits and underscores, so "don't" is two. The overlap of two texts
    without any word is 1. Languages that put no blanks between words have few words by this rule.
    """
    found = []
    for text, pair in zip(texts, pairs, strict=True):
        one, other = (set(_WORD.findall(each.lower())) for each in (text, pair))
        either = len(one | other)
        found.append(len(one & other) / either if either else 1.0)
    return np.array(found, np.float64)


def overlap_bins(texts: Iterable[str], pairs: Iterable[str]) -> list[str] | None:
    """For each row the third of the rows that its overlap is in, in whole percent: "0–14", "15–40",
    "41–100". Halves below 60 rows; None below 40, and where all overlaps are the same.
    """
    return row_bins(np.rint(100 * word_overlap(texts, pairs)).astype(np.int64), _BINS)

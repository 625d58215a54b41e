"""TF-IDF features of texts and of pairs: words, or pieces of words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from scipy import sparse

    Texts: TypeAlias = Sequence[str] | pa.Array | pa.ChunkedArray

__all__ = [
    "Grams",
    "Vectoriser",
    "linear_features",
    "select_texts",
    "text_chunks",
    "vectorise",
]

Grams = Literal["words", "characters"]

# A word is a run of letters and digits; in scripts that put no blanks between words (Thai, Chinese,
# Japanese) every character counts as one.
_UNSPACED = r"\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+"
_CHARACTERS = (2, 5)  # lengths of the pieces of words
_MAX_TEXT = 10_000  # characters read of one text
_BUCKETS = (
    2**20
    # features are hashed: a dictionary of all word pairs of long texts takes a gigabyte, of which
    # 50,000 entries are used
)
_ROWS_AT_ONCE = 2_048


@dataclass(frozen=True)
class Vectoriser:
    """Texts → TF-IDF rows of length 1. kept: (features,) the buckets that are features."""

    hasher: Any
    kept: np.ndarray
    weigher: Any

    def transform(self, texts: list[str]) -> sparse.csr_array:
        """(texts, features) float32."""
        return self.weigher.transform(self.hasher.transform(texts)[:, self.kept], copy=False)


def vectorise(
    sides: Sequence[Texts], grams: Grams, *, n_features: int
) -> tuple[Vectoriser | None, sparse.csr_array]:
    """A vectoriser of the commonest n_features words (of single texts: and word pairs) or pieces of
    words, with the vectors of all texts, one side below the other. None: there is no word.
    """
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    kind: dict[str, Any] = (
        {"token_pattern": _WORD, "ngram_range": (1, 2 if len(sides) == 1 else 1)}
        if grams == "words"
        else {"analyzer": "char_wb", "ngram_range": _CHARACTERS}
    )
    hasher = HashingVectorizer(
        n_features=_BUCKETS, alternate_sign=False, norm=None, dtype=np.float32, **kind
    )
    counts = hasher.transform(
        text for side in sides for part, _ in text_chunks(side, None) for text in part
    )
    n_texts_with = np.bincount(counts.indices, minlength=_BUCKETS)
    kept = np.sort(
        np.argsort(-n_texts_with, kind="stable")[: min(n_features, np.count_nonzero(n_texts_with))]
    )
    if not len(kept):
        return None, counts
    counts = counts[:, kept]
    weigher = TfidfTransformer(sublinear_tf=True)
    return Vectoriser(hasher, kept, weigher), weigher.fit(counts).transform(counts, copy=False)


def linear_features(left: sparse.csr_array, right: sparse.csr_array | None) -> sparse.csr_array:
    """(rows, features) float32: the text's own, or for a pair both texts, |a - b|, a * b and the
    cosine.
    """
    from scipy import sparse

    if right is None:
        return sparse.csr_array(left)
    product = left.multiply(right)
    cosine = sparse.csr_array(np.asarray(product.sum(axis=1), dtype=np.float32).reshape(-1, 1))
    return sparse.csr_array(
        sparse.hstack([left, right, abs(left - right), product, cosine], format="csr")
    )


def select_texts(texts: Texts, rows: np.ndarray) -> Texts:
    """The texts of some rows, in their order."""
    return texts.take(rows) if hasattr(texts, "take") else [texts[row] for row in rows]


def text_chunks(texts: Texts, pairs: Texts | None) -> Iterator[tuple[list[str], list[str] | None]]:
    """Python strings of a few thousand rows at a time, each cut to what is read of it."""
    for start in range(0, len(texts), _ROWS_AT_ONCE):
        stop = start + _ROWS_AT_ONCE
        yield _strings(texts[start:stop]), None if pairs is None else _strings(pairs[start:stop])


def _strings(texts: Any) -> list[str]:
    return [
        text[:_MAX_TEXT] for text in (texts.to_pylist() if hasattr(texts, "to_pylist") else texts)
    ]

"""Baselines that a model must beat: the majority class, and TF-IDF with logistic (or ridge)
regression, on the same rows.

Both return raw scores shaped like a model's, so every metric, interval and table treats them alike.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from encore import rng
from encore.types import LabelSpace

if TYPE_CHECKING:
    import pyarrow as pa
    from scipy import sparse

    Texts: TypeAlias = Sequence[str] | pa.Array | pa.ChunkedArray

__all__ = ["Baseline", "Tfidf", "fit_tfidf", "majority"]

# A word is a run of letters and digits; in scripts that put no blanks between words (Thai, Chinese,
# Japanese) every character counts as one.
_UNSPACED = r"\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+"
# of training text: 100,000 rows of 300 characters; about 10 s and 250 MB, for pairs twice that
_MAX_CHARS = 30_000_000
_MAX_TEXT = 10_000  # characters read of one text
_MAX_WEIGHTS = 1_000_000  # features x classes: the optimiser keeps about 25 such vectors in float64
_MAX_FEATURES = 50_000
_BUCKETS = (
    2**20
    # words are hashed: a dictionary of all word pairs of long texts takes a gigabyte, of which
    # 50,000 entries are used
)
_ROWS_AT_ONCE = 2_048


@dataclass(frozen=True)
class Baseline:
    """scores: (dev rows, n_scores) float32, as a model would give them."""

    name: str
    scores: np.ndarray


def majority(train_targets: np.ndarray, dev: Sized, labels: LabelSpace) -> Baseline:
    """The same answer for every row of `dev`: the commonest class, each label's own majority, or
    the mean of a regression target.

    The scores are the logits of the train set's frequencies (with one row of every class added), so
    that the log loss is that of knowing these.
    """
    return Baseline(
        "mean" if labels.kind == "regression" else "majority",
        np.tile(_prior(np.asarray(train_targets), labels), (len(dev), 1)),
    )


def _prior(targets: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """(n_scores,) float32: what to answer without looking."""
    if labels.kind == "regression":
        prior = np.array([targets.mean(dtype=np.float64)])
    elif labels.kind == "multilabel":
        n_with = targets.sum(axis=0, dtype=np.float64)
        prior = np.log((n_with + 1) / (len(targets) - n_with + 1))
    else:
        counts = np.bincount(targets.astype(np.int64), minlength=labels.n_scores)
        prior = np.log((counts + 1) / (counts.sum() + labels.n_scores))
    return prior.astype(np.float32)


@dataclass(frozen=True)
class _Vectoriser:
    """Texts → TF-IDF rows of length 1. kept: (features,) the buckets that are features."""

    hasher: Any
    kept: np.ndarray
    weigher: Any

    def transform(self, texts: list[str]) -> sparse.csr_array:
        return self.weigher.transform(self.hasher.transform(texts)[:, self.kept], copy=False)


@dataclass(frozen=True)
class Tfidf:
    """TF-IDF features and the linear models on them, fitted; `scores` works on any rows."""

    name: str
    labels: LabelSpace
    vectoriser: _Vectoriser | None  # None: the training texts hold no word
    models: tuple[Any, ...]  # one; one per label for multi-label; None where a label never varies
    prior: np.ndarray
    notes: tuple[str, ...] = ()

    def scores(self, texts: Texts, pairs: Texts | None = None) -> np.ndarray:
        """(rows, n_scores) float32, in the order of the texts; a few thousand rows at a time, so
        memory does not grow with them.
        """
        out = np.tile(self.prior, (len(texts), 1))
        if self.vectoriser is None:
            return out
        start = 0
        for left, right in _chunks(texts, pairs):
            rows = slice(start, start + len(left))
            features = _features(
                self.vectoriser.transform(left),
                None if right is None else self.vectoriser.transform(right),
            )
            for column, model in enumerate(self.models):
                if model is not None:
                    self._fill(out[rows], column, model, features)
            start = rows.stop
        return out

    def _fill(self, out: np.ndarray, column: int, model: Any, features: sparse.csr_array) -> None:
        if self.labels.kind == "regression":
            out[:, 0] = model.predict(features)
            return
        logits = model.decision_function(features)
        if self.labels.kind == "multilabel":
            out[:, column] = logits
            return
        seen = model.classes_
        if logits.ndim == 1:  # two classes: one logit, p = sigmoid(logit)
            logits = np.stack([-logits / 2, logits / 2], axis=1)
        # A class without a row to learn from must never win, and its probability must not be 0.
        out[:] = logits.min(axis=1, keepdims=True) - 10
        out[:, seen] = logits


def fit_tfidf(
    texts: Texts, pairs: Texts | None, targets: np.ndarray, labels: LabelSpace, *, seed: int
) -> Tfidf:
    """TF-IDF with logistic regression, one per label for multi-label, ridge for regression;
    scikit-learn's default strength (1) everywhere.

    Single texts: words and word pairs, log term counts. Sentence pairs: words; the features are
    both texts, |a − b|, a · b, and their cosine. The cosine is what makes it a fair opponent: held
    out from the train sets, it lifts STS-B from r = .59 to .70 and QNLI from 62 % to 73 %, while
    word pairs lower both. Time is linear in the length of the text. Above 30 million characters
    (fewer with more than 20 classes) a seeded random part of the rows is used, and `notes` says so.
    """
    targets = np.asarray(targets)
    name = "TF-IDF + ridge" if labels.kind == "regression" else "TF-IDF + logistic"
    prior = _prior(targets, labels)
    rows, notes = _affordable(texts, pairs, labels, seed)
    if len(rows) < len(texts):
        targets = targets[rows]
        texts, pairs = _taken(texts, rows), None if pairs is None else _taken(pairs, rows)
    blocks = 1 if pairs is None else 4
    n_features = max(1, min(_MAX_FEATURES, _MAX_WEIGHTS // (blocks * labels.n_scores)))
    vectoriser, vectors = _vectorised(
        [texts] if pairs is None else [texts, pairs],
        n_words=2 if pairs is None else 1,
        n_features=n_features,
    )
    if vectoriser is None:
        return Tfidf(
            name,
            labels,
            None,
            (),
            prior,
            (*notes, f"{name}: no word in the training texts; same as the majority"),
        )
    features = (
        _features(vectors, None)
        if pairs is None
        else _features(vectors[: len(texts)], vectors[len(texts) :])
    )
    del vectors
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore",
            UserWarning,
            # of convergence: 0.1 points short of its optimum it is still the baseline; of many
            # classes: expected here
        )
        columns = targets.T if labels.kind == "multilabel" else [targets]
        models = tuple(_fitted(features, column, labels) for column in columns)
    return Tfidf(name, labels, vectoriser, models, prior, notes)


def _vectorised(
    sides: Sequence[Texts], *, n_words: int, n_features: int
) -> tuple[_Vectoriser | None, sparse.csr_array]:
    """A vectoriser of the commonest n_features words (and runs of up to n_words of them), with the
    vectors of all texts, one side below the other.
    """
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    hasher = HashingVectorizer(
        token_pattern=_WORD,
        ngram_range=(1, n_words),
        n_features=_BUCKETS,
        alternate_sign=False,
        norm=None,
        dtype=np.float32,
    )
    counts = hasher.transform(
        text for side in sides for part, _ in _chunks(side, None) for text in part
    )
    n_texts_with = np.bincount(counts.indices, minlength=_BUCKETS)
    kept = np.sort(
        np.argsort(-n_texts_with, kind="stable")[: min(n_features, np.count_nonzero(n_texts_with))]
    )
    if not len(kept):
        return None, counts
    counts = counts[:, kept]
    weigher = TfidfTransformer(sublinear_tf=True)
    return _Vectoriser(hasher, kept, weigher), weigher.fit(counts).transform(counts, copy=False)


def _fitted(features: sparse.csr_array, targets: np.ndarray, labels: LabelSpace) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge

    if labels.kind == "regression":
        return Ridge(alpha=1.0, solver="sparse_cg").fit(features, targets)
    if (targets == targets[0]).all():
        return None  # one class only: its prior is the answer
    return LogisticRegression(C=1.0, max_iter=100, tol=1e-3).fit(features, targets.astype(np.int64))


def _features(left: sparse.csr_array, right: sparse.csr_array | None) -> sparse.csr_array:
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


def _affordable(
    texts: Texts, pairs: Texts | None, labels: LabelSpace, seed: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Rows, ascending, whose text fits the budget; and the note that says so where some are left
    out.
    """
    sizes = np.fromiter(
        (sum(map(len, both)) for part in _chunks(texts, pairs) for both in _rows(part)),
        dtype=np.int64,
        count=len(texts),
    )
    budget = _MAX_CHARS // max(1, labels.n_scores // 20)
    if sizes.sum() <= budget:
        return np.arange(len(texts)), ()
    order = rng.generator(seed, "baseline").permutation(len(texts))
    rows = np.sort(order[np.cumsum(sizes[order]) <= budget])
    return rows, (f"TF-IDF fitted on {len(rows):,} of {len(texts):,} train rows (seed {seed})",)


def _rows(part: tuple[list[str], list[str] | None]) -> Iterator[tuple[str, ...]]:
    left, right = part
    return zip(left, strict=True) if right is None else zip(left, right, strict=True)


def _taken(texts: Texts, rows: np.ndarray) -> Texts:
    return texts.take(rows) if hasattr(texts, "take") else [texts[row] for row in rows]


def _chunks(texts: Texts, pairs: Texts | None) -> Iterator[tuple[list[str], list[str] | None]]:
    """Python strings of a few thousand rows at a time, each cut to what is read of it."""
    for start in range(0, len(texts), _ROWS_AT_ONCE):
        stop = start + _ROWS_AT_ONCE
        yield _strings(texts[start:stop]), None if pairs is None else _strings(pairs[start:stop])


def _strings(texts: Any) -> list[str]:
    return [
        text[:_MAX_TEXT] for text in (texts.to_pylist() if hasattr(texts, "to_pylist") else texts)
    ]

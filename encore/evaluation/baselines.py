"""Baselines that a model must beat: the majority class, and TF-IDF with logistic (or ridge)
regression, on the same rows.

Both return raw scores shaped like a model's, so every metric, interval and table treats them alike.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from encore import rng
from encore.evaluation.predictions import row_losses
from encore.evaluation.tfidf_features import (
    Grams,
    Vectoriser,
    linear_features,
    select_texts,
    text_chunks,
    vectorise,
)
from encore.types import LabelSpace

if TYPE_CHECKING:
    from scipy import sparse

    from encore.evaluation.tfidf_features import Texts

__all__ = ["Baseline", "Tfidf", "fit_tfidf", "majority"]

# of training text: 100,000 rows of 300 characters; about 10 s and 250 MB, for pairs twice that
_MAX_CHARS = 30_000_000
_MAX_WEIGHTS = 1_000_000  # features x classes: the optimiser keeps about 25 such vectors in float64
_MAX_FEATURES = 50_000
_STRENGTHS = (1.0, 10.0, 100.0)  # C of the logistic, 1 / alpha of the ridge regression
_USUAL: tuple[Grams, float] = ("words", 1.0)
# The settings are chosen on so many rows and characters of the training set at most, a fifth of
# them held out. Pieces of words take five times as long as words, so they get fewer characters.
_MAX_CHOOSING_ROWS = 4_000
_MAX_CHOOSING_CHARS = 1_000_000
_MAX_PIECES_CHARS = 5_000_000  # of training text; with more of it, words are read
_FEWEST_CHOOSING_ROWS = 50
_FEW_CHOOSING_ROWS = 1_000


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
        np.broadcast_to(_prior(np.asarray(train_targets), labels), (len(dev), labels.n_scores)),
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
class Tfidf:
    """TF-IDF features and the linear models on them, fitted; `scores` works on any rows."""

    name: str
    labels: LabelSpace
    vectoriser: Vectoriser | None  # None: the training texts hold no word
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
        for left, right in text_chunks(texts, pairs):
            rows = slice(start, start + len(left))
            features = linear_features(
                self.vectoriser.transform(left),
                None if right is None else self.vectoriser.transform(right),
            )
            _fill(out[rows], self.models, features, self.labels)
            start = rows.stop
        return out


def _fill(
    out: np.ndarray, models: tuple[Any, ...], features: sparse.csr_array, labels: LabelSpace
) -> None:
    """Write the scores of all models over `out`, (rows, n_scores), which holds the prior."""
    for column, model in enumerate(models):
        if model is None:
            continue
        if labels.kind == "regression":
            out[:, 0] = model.predict(features)
            continue
        logits = model.decision_function(features)
        if labels.kind == "multilabel":
            out[:, column] = logits
            continue
        if logits.ndim == 1:  # two classes: one logit, p = sigmoid(logit)
            logits = np.stack([-logits / 2, logits / 2], axis=1)
        # A class without a row to learn from must never win, and its probability must not be 0.
        out[:] = logits.min(axis=1, keepdims=True) - 10
        out[:, model.classes_] = logits


def fit_tfidf(
    texts: Texts, pairs: Texts | None, targets: np.ndarray, labels: LabelSpace, *, seed: int
) -> Tfidf:
    """TF-IDF with logistic regression, one per label for multi-label, ridge for regression.

    Features: words (of single texts: and word pairs) or pieces of words of 2 to 5 characters, log
    counts. Which of them, and the strength of the regularisation (C = 1, 10 or 100), is what has
    the lowest loss on held-out rows of the training set.

    Sentence pairs: the features are both texts, |a − b|, a · b, and their cosine. The cosine is
    what makes it a fair opponent: held out from the train sets, it lifts STS-B from r = .59 to .70
    and QNLI from 62 % to 73 %, while word pairs lower both. Time is linear in the length of the
    text. Above 30 million characters (fewer with more than 20 classes) a seeded random part of the
    rows is used, and `notes` says so.
    """
    targets = np.asarray(targets)
    name = "TF-IDF + ridge" if labels.kind == "regression" else "TF-IDF + logistic"
    prior = _prior(targets, labels)
    sizes = _sizes(texts, pairs)
    rows, notes = _affordable(sizes, labels, seed)
    sides = [texts] if pairs is None else [texts, pairs]
    if len(rows) < len(texts):
        targets, sizes = targets[rows], sizes[rows]
        sides = [select_texts(side, rows) for side in sides]
    grams, strength = _chosen(sides, targets, labels, sizes, seed)
    vectoriser, features = _vectors(sides, grams, labels)
    if vectoriser is None:
        nothing = f"{name}: no word in the training texts; same as the majority"
        return Tfidf(name, labels, None, (), prior, (*notes, nothing))
    return Tfidf(
        name, labels, vectoriser, _models(features, targets, labels, strength), prior, notes
    )


def _chosen(
    sides: Sequence[Texts], targets: np.ndarray, labels: LabelSpace, sizes: np.ndarray, seed: int
) -> tuple[Grams, float]:
    """The kind of features and the strength with the lowest loss on held-out training rows: five
    times a fifth of them, once a fifth where rows are many.
    """
    order = rng.generator(seed, "baseline settings").permutation(len(targets))[:_MAX_CHOOSING_ROWS]
    order = order[np.cumsum(sizes[order]) <= _MAX_CHOOSING_CHARS]
    if len(order) < _FEWEST_CHOOSING_ROWS:
        return _USUAL
    every: tuple[Grams, ...] = ("words", "characters")
    kinds = every if sizes.sum() <= _MAX_PIECES_CHARS else every[:1]
    losses = dict.fromkeys(((grams, strength) for grams in kinds for strength in _STRENGTHS), 0.0)
    folds = np.array_split(order, 5)
    for held_out in folds if len(order) <= _FEW_CHOOSING_ROWS else folds[:1]:
        kept = order[~np.isin(order, held_out)]
        if labels.kind in ("binary", "multiclass"):  # an unseen class is lost with any setting
            held_out = held_out[np.isin(targets[held_out], targets[kept])]
        seen, unseen = ([select_texts(side, rows) for side in sides] for rows in (kept, held_out))
        for grams in kinds:
            vectoriser, features = _vectors(seen, grams, labels)
            for strength in _STRENGTHS:
                models = _models(features, targets[kept], labels, strength) if vectoriser else ()
                fitted = Tfidf("", labels, vectoriser, models, _prior(targets[kept], labels))
                scores = fitted.scores(*unseen)
                losses[grams, strength] += row_losses(scores, targets[held_out], labels).sum()
    return min(losses, key=losses.__getitem__)


def _vectors(
    sides: Sequence[Texts], grams: Grams, labels: LabelSpace
) -> tuple[Vectoriser | None, sparse.csr_array]:
    """A vectoriser of texts or pairs, and their features."""
    n_rows, blocks = len(sides[0]), 1 if len(sides) == 1 else 4
    n_features = max(1, min(_MAX_FEATURES, _MAX_WEIGHTS // (blocks * labels.n_scores)))
    vectoriser, vectors = vectorise(sides, grams, n_features=n_features)
    if vectoriser is None:
        return None, vectors
    right = None if len(sides) == 1 else vectors[n_rows:]
    return vectoriser, linear_features(vectors[:n_rows], right)


def _models(
    features: sparse.csr_array, targets: np.ndarray, labels: LabelSpace, strength: float
) -> tuple[Any, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore",
            UserWarning,
            # of convergence: 0.1 points short of its optimum it is still the baseline; of many
            # classes: expected here
        )
        columns = targets.T if labels.kind == "multilabel" else [targets]
        return tuple(_fitted(features, column, labels, strength) for column in columns)


def _fitted(
    features: sparse.csr_array, targets: np.ndarray, labels: LabelSpace, strength: float
) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge

    if labels.kind == "regression":
        return Ridge(alpha=1 / strength, solver="sparse_cg").fit(features, targets)
    if (targets == targets[0]).all():
        return None  # one class only: its prior is the answer
    model = LogisticRegression(C=strength, max_iter=100, tol=1e-3)
    return model.fit(features, targets.astype(np.int64))


def _sizes(texts: Texts, pairs: Texts | None) -> np.ndarray:
    """(rows,) int64: the characters of each row."""
    return np.fromiter(
        (sum(map(len, both)) for part in text_chunks(texts, pairs) for both in _rows(part)),
        dtype=np.int64,
        count=len(texts),
    )


def _affordable(
    sizes: np.ndarray, labels: LabelSpace, seed: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Rows, ascending, whose text fits the budget; and the note that says so where some are left
    out.
    """
    budget = _MAX_CHARS // max(1, labels.n_scores // 20)
    if sizes.sum() <= budget:
        return np.arange(len(sizes)), ()
    order = rng.generator(seed, "baseline").permutation(len(sizes))
    rows = np.sort(order[np.cumsum(sizes[order]) <= budget])
    return rows, (f"TF-IDF fitted on {len(rows):,} of {len(sizes):,} train rows (seed {seed})",)


def _rows(part: tuple[list[str], list[str] | None]) -> Iterator[tuple[str, ...]]:
    left, right = part
    return zip(left, strict=True) if right is None else zip(left, right, strict=True)

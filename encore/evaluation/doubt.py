"""The rows whose label a model doubts that was not trained on them."""

from __future__ import annotations

import numpy as np

from encore import rng
from encore.data.checks import copies_per_row
from encore.data.dataset import Dataset
from encore.data.groups import group_numbers
from encore.evaluation.baselines import fit_tfidf
from encore.types import LabelSpace

__all__ = ["doubts", "out_of_fold_scores"]


def out_of_fold_scores(
    dataset: Dataset, labels: LabelSpace, n_folds: int, *, seed: int
) -> np.ndarray:
    """(rows, n_scores) float32: the scores of TF-IDF with logistic (or ridge) regression for each
    row, fitted on the other folds. Rows of a group, or else copies of a text, are in one fold;
    classes are spread evenly.
    """
    assert dataset.targets is not None
    folds = _folds(dataset, labels, n_folds, seed)
    scores = np.zeros((len(dataset), labels.n_scores), dtype=np.float32)
    for fold in range(n_folds):
        held_out = np.flatnonzero(folds == fold)
        rest = dataset.take(np.flatnonzero(folds != fold))
        if len(held_out):
            assert rest.targets is not None
            model = fit_tfidf(rest.texts, rest.pairs, rest.targets, labels, seed=seed)
            part = dataset.take(held_out)
            scores[held_out] = model.scores(part.texts, part.pairs)
    return scores


def _folds(dataset: Dataset, labels: LabelSpace, n_folds: int, seed: int) -> np.ndarray:
    """(rows,) int: the fold of each row."""
    together = group_numbers(dataset.groups)
    if together is None:
        together = copies_per_row(dataset)
    _, firsts, groups = np.unique(together, return_index=True, return_inverse=True)
    order = rng.generator(seed, "folds").permutation(len(firsts))
    assert dataset.targets is not None
    if labels.kind in ("binary", "multiclass"):
        order = order[np.argsort(dataset.targets[firsts[order]], kind="stable")]
    fold_of = np.empty(len(firsts), dtype=np.int64)
    fold_of[order] = np.arange(len(firsts)) % n_folds
    return fold_of[groups]


def doubts(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """(rows,) float64: how far the scores are from the labels; larger is more doubtful.

    Classes: 1 minus the probability of the label; with an order, the expected distance from the
    label, in classes. Multi-label: the largest difference between a label's probability and 0 or 1.
    Regression: the difference.
    """
    values = scores.astype(np.float64)
    if labels.kind == "regression":
        return np.abs(values[:, 0] - targets)
    if labels.kind == "multilabel":
        return np.abs(1 / (1 + np.exp(-values)) - targets).max(axis=1)
    exp = np.exp(values - values.max(axis=1, keepdims=True))
    probabilities = exp / exp.sum(axis=1, keepdims=True)
    rows, given = np.arange(len(targets)), targets.astype(np.int64)
    if labels.ordered:
        distance = np.abs(np.arange(labels.n_scores)[None, :] - given[:, None])
        return np.asarray((probabilities * distance).sum(axis=1))
    return np.asarray(1.0 - probabilities[rows, given])

"""From raw scores to predictions and probabilities: the one rule that metrics, tables, `predict`
and the baselines share.

Scores are a model's raw output, (rows, n_scores): two logits for a binary task, one per class or
label otherwise, the value itself for regression.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from encore.data.dataset import Dataset
from encore.data.table import display_path
from encore.errors import DataError, Problem
from encore.types import LabelSpace

__all__ = ["check_finite", "check_scores", "checked", "predictions", "probabilities", "row_losses"]

_SCORES_AT_ONCE = 1 << 22  # in float64, with what is computed from them: 130 MB


def predictions(scores: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """The predictions of raw scores. (rows,) int64 class ids; (rows, labels) int64 0/1 for
    multi-label; (rows,) float64 values for regression.

    Binary and multi-class: the highest logit, the first of equal ones (so a binary tie is class 0).
    Multi-label: sigmoid ≥ .5, tested as logit ≥ 0, which is the same without the sigmoid's
    rounding.
    """
    if labels.kind == "regression":
        return np.asarray(scores, dtype=np.float64)[:, 0]
    if labels.kind == "multilabel":
        return (np.asarray(scores) >= 0).astype(np.int64)
    return np.asarray(scores).argmax(axis=1)


def probabilities(scores: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """(rows, n_scores) float64: softmax over classes, sigmoid per label of a multi-label task, the
    values themselves for regression.
    """
    from scipy.special import expit, softmax

    exact = np.asarray(scores, dtype=np.float64)
    if labels.kind == "regression":
        return exact
    return expit(exact) if labels.kind == "multilabel" else softmax(exact, axis=1)


def row_losses(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """(rows,) float64, how wrong each row is: −log p(truth) in nats (its mean over the labels of a
    multi-label task), squared error for regression.
    """
    at_once = max(1, _SCORES_AT_ONCE // labels.n_scores)
    return np.concatenate(
        [
            _losses(scores[start : start + at_once], targets[start : start + at_once], labels)
            for start in range(0, len(scores), at_once)
        ]
        or [np.zeros(0)]
    )


def _losses(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> np.ndarray:
    from scipy.special import log_expit, log_softmax

    exact = np.asarray(scores, dtype=np.float64)
    if labels.kind == "regression":
        return (exact[:, 0] - targets) ** 2
    if labels.kind == "multilabel":
        return -log_expit(np.where(targets == 1, exact, -exact)).mean(axis=1)
    return -log_softmax(exact, axis=1)[np.arange(len(exact)), targets]


def checked(
    scores: np.ndarray, targets: np.ndarray, labels: LabelSpace
) -> tuple[np.ndarray, np.ndarray]:
    """The same scores as (rows, n_scores), float64 for regression, and targets as int64 (float64
    for regression). Raises DataError where they cannot be compared.
    """
    scores, targets = np.asarray(scores), np.asarray(targets)
    shape = (len(targets) if targets.ndim else 0, labels.n_scores)
    target_shape = shape if labels.kind == "multilabel" else shape[:1]
    problems = []
    if not shape[0]:
        problems.append(
            "targets: expected at least one labelled row, got none. Evaluate on a set that has "
            "rows."
        )
    if targets.shape != target_shape:
        problems.append(
            f"targets: expected shape {target_shape} for a {labels.kind} task, got {targets.shape}."
        )
    if scores.shape != shape:
        problems.append(
            f"scores: expected shape {shape}, one row per target and one column per score of a "
            f"{labels.kind} task, got {scores.shape}."
        )
    if problems:
        raise DataError(problems)
    problems += _not_finite(
        "scores",
        scores,
        "the model's output overflowed; train with a lower plan.lr or with precision=fp32",
    )
    if labels.kind == "regression":
        problems += _not_finite("targets", targets, "give every row a number")
    else:
        top = 1 if labels.kind == "multilabel" else len(labels.names) - 1
        wrong = ~np.isin(targets, np.arange(top + 1))
        if wrong.any():
            row = int(np.argwhere(wrong)[0, 0])
            problems.append(
                f"targets, row {row}: expected a whole number from 0 to {top}, got "
                f"{targets[wrong][0]}{_others(wrong)}. Check the label names."
            )
    if problems:
        raise DataError(problems)
    if labels.kind == "regression":
        return scores.astype(np.float64, copy=False), targets.astype(np.float64, copy=False)
    return scores, targets.astype(np.int64, copy=False)


def check_scores(scores: Mapping[str, np.ndarray], dataset: Dataset) -> None:
    """Check what the tasks of a model give to the rows of a file: task → (rows, n_scores). Raises
    DataError that names the rows whose scores are not finite.
    """
    what, places = dataset.places
    check_finite(scores, places, where=display_path(dataset.path), what=what)


def check_finite(
    scores: Mapping[str, np.ndarray], places: np.ndarray, *, where: str, what: str = "row"
) -> None:
    """Check raw scores: task → (rows, n_scores). places: (rows,) the number of each row as a
    message names it; what: of what that is the number. Raises DataError.
    """
    problems = []
    for task, found in scores.items():
        wrong = ~np.isfinite(found)
        if not wrong.any():
            continue
        rows = wrong.any(axis=1)
        some = ", ".join(map(str, places[rows][:3].tolist()))
        n_rows = int(rows.sum())
        more = f"{what}s {some}, …" if n_rows > 3 else f"{what}{'s' if n_rows > 1 else ''} {some}"
        of = f"{n_rows:,} of {len(rows):,} row{'' if len(rows) == 1 else 's'} ({more})"
        problems.append(
            Problem(
                where=where,
                task=task if len(scores) > 1 else "",
                message=f"the model's scores for {of} are not finite: expected numbers, got "
                f"{found[wrong][0]}.",
                remedy="Train it again with a lower plan.lr or with precision=fp32.",
            )
        )
    if problems:
        raise DataError(problems)


def _not_finite(name: str, values: np.ndarray, remedy: str) -> list[str]:
    wrong = ~np.isfinite(values)
    if not wrong.any():
        return []
    row = int(np.argwhere(wrong)[0, 0])
    return [
        f"{name}, row {row}: expected a finite number, got {values[wrong][0]}{_others(wrong)}; "
        f"{remedy}."
    ]


def _others(wrong: np.ndarray) -> str:
    rows = int(wrong.reshape(len(wrong), -1).any(axis=1).sum())
    return f" (and {rows - 1:,} more rows)" if rows > 1 else ""

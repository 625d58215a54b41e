"""Classes that a model never predicts, in words."""

from __future__ import annotations

import numpy as np

from encore.data.table import join_limited
from encore.evaluation.predictions import predictions
from encore.types import LabelSpace

__all__ = ["never_predicted"]

_MOST_NAMED = 5
_TRAIN_MORE = "train longer or at a higher rate (plan.epochs, plan.lr)"


def never_predicted(
    scores: np.ndarray, targets: np.ndarray, labels: LabelSpace, *, balanced: bool
) -> str | None:
    """A sentence on a model that has one answer for every row, or never predicts a class that
    occurs in the targets, with what to try; None for any other model.

    balanced: whether classes were weighted or drawn equally often already.
    """
    predicted = predictions(scores, labels)
    if labels.kind == "regression":
        if np.ptp(predicted) > 1e-6 * np.abs(predicted).max() or np.ptp(targets) == 0:
            return None
        return f"the model predicts the same number for every row: {_TRAIN_MORE}"
    if labels.kind == "multilabel":
        occur, chosen = (np.any(marks == 1, axis=0) for marks in (targets, predicted))
    else:
        n = labels.n_scores
        occur, chosen = (np.isin(np.arange(n), ids) for ids in (targets, predicted))
    missing = [labels.names[at] for at in np.flatnonzero(occur & ~chosen)]
    if not missing:
        return None
    can_weigh = labels.kind != "multilabel" and not balanced
    advice = f"try class_weights=balanced, or {_TRAIN_MORE}" if can_weigh else _TRAIN_MORE
    return f"{_finding(labels, chosen, missing)}: {advice}"


def _finding(labels: LabelSpace, chosen: np.ndarray, missing: list[str]) -> str:
    if not chosen.any():
        return "the model predicts no label for any row"
    if labels.kind != "multilabel" and chosen.sum() == 1:
        only = labels.names[int(np.flatnonzero(chosen)[0])]
        is_negative = labels.kind == "binary" and only == labels.names[0]
        positive = f", never the positive class '{labels.names[1]}'" if is_negative else ""
        return f"the model predicts '{only}' for every row{positive}"
    what = "labels" if labels.kind == "multilabel" else "classes"
    named = join_limited([f"'{name}'" for name in missing], _MOST_NAMED)
    return f"the model never predicts {len(missing)} of {len(labels.names)} {what} ({named})"

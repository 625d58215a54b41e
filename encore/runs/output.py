"""Predictions by the names of the labels, one by one and as columns of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from encore.data.dataset import Dataset
from encore.data.table import display_path
from encore.errors import DataError
from encore.evaluation.decision import PLAIN, Decision
from encore.types import LabelSpace

__all__ = ["Prediction", "columns_of", "named_predictions", "round_probabilities", "with_columns"]


@dataclass(frozen=True)
class Prediction:
    """The prediction for one example. label: its name, a tuple of names for multi-label, the value
    for regression, None where the model abstains. probabilities: label name → probability; empty
    for regression and for heads whose scores are no logits (`Head.gives_probabilities`).
    """

    label: str | tuple[str, ...] | float | None
    probabilities: Mapping[str, float]


def named_predictions(
    scores: np.ndarray,
    labels: LabelSpace,
    *,
    gives_probabilities: bool = True,
    decision: Decision = PLAIN,
) -> list[Prediction]:
    """Scores (rows, n_scores) → predictions with the labels' own names. gives_probabilities: that
    of the head. decision: that of the task.
    """
    predicted = decision.predictions(scores, labels)
    if labels.kind == "regression":
        return [Prediction(float(value), {}) for value in predicted]
    by_name: list[dict[str, float]] = [{} for _ in range(len(predicted))]
    if gives_probabilities:
        by_name = [
            dict(zip(labels.names, map(float, row), strict=True))
            for row in decision.probabilities(scores, labels)
        ]
    named: list[str | tuple[str, ...]] = (
        [tuple(name for name, on in zip(labels.names, row, strict=True) if on) for row in predicted]
        if labels.kind == "multilabel"
        else [labels.names[number] for number in predicted]
    )
    covered = decision.covers(scores, labels)
    return [
        Prediction(label if shown else None, found)
        for label, shown, found in zip(named, covered.tolist(), by_name, strict=True)
    ]


def columns_of(
    scores: np.ndarray,
    labels: LabelSpace,
    *,
    gives_probabilities: bool = True,
    decision: Decision = PLAIN,
) -> dict[str, Any]:
    """Scores as the columns of a table: `prediction`, then `p(NAME)` for each label where the head
    gives probabilities; multi-label predictions are lists of names. Where the decision abstains,
    the prediction is null, and a column `confidence` stands behind it.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    predicted = decision.predictions(scores, labels)
    if labels.kind == "regression":
        return {"prediction": pa.array(predicted, pa.float64())}
    names = pa.array(labels.names, pa.string())
    if labels.kind == "multilabel":
        offsets = np.concatenate([[0], np.cumsum(predicted.sum(axis=1))]).astype(np.int32)
        which = pa.array(np.nonzero(predicted)[1])
        shown: Any = pa.ListArray.from_arrays(offsets, names.take(which))
    else:
        shown = names.take(pa.array(predicted))
    columns: dict[str, Any] = {"prediction": shown}
    if decision.abstain:
        covered = pa.array(decision.covers(scores, labels))
        columns = {
            "prediction": pc.if_else(covered, shown, pa.scalar(None, shown.type)),
            "confidence": decision.confidence(scores, labels),
        }
    if gives_probabilities:
        by_column = decision.probabilities(scores, labels)
        columns |= {f"p({name})": by_column[:, i] for i, name in enumerate(labels.names)}
    return columns


def round_probabilities(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of `columns_of` with probabilities of six digits, for files of text: float32
    scores have no more.
    """
    return {
        name: column.round(6) if isinstance(column, np.ndarray) else column
        for name, column in columns.items()
    }


def with_columns(dataset: Dataset, columns: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of the input (in `dataset.extra`), then those of the predictions. Raises
    DataError where both have a column of the same name.
    """
    twice = [name for name in columns if name in dataset.extra]
    if twice:
        named = f"column{'s' if len(twice) > 1 else ''} {', '.join(twice)}"
        raise DataError(
            f"{display_path(dataset.path)}: has {named}, which --with-input would write a second "
            f"time. Rename them, or leave --with-input out."
        )
    return {**dataset.extra, **columns}

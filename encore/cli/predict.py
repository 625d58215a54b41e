"""Explanations printed by `encore predict --explain`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from rich.text import Text

    from encore.data.dataset import Dataset
    from encore.runs.explain import Explanation
    from encore.runs.predict import LoadedTask, Prediction

__all__ = ["explained_lines", "explained_object"]


def explained_lines(
    task: LoadedTask, dataset: Dataset, scores: np.ndarray, explanations: Iterable[Explanation]
) -> Iterator[Text]:
    """For each row where it stands, what the model says, and its words by weight."""
    from encore.runs.explain import render_explanation
    from encore.runs.predict import named_predictions

    what, places = (
        ("line", dataset.lines) if dataset.lines is not None else ("row", dataset.rows + 1)
    )
    names = (task.columns.text, task.columns.text_pair or "")
    for place, said, each in zip(
        places.tolist(), named_predictions(scores, task.labels), explanations, strict=True
    ):
        yield render_explanation(each, title=f"{what} {place}: {_answer(said)}", names=names)


def _answer(said: Prediction) -> str:
    if isinstance(said.label, float):
        return f"{said.label:.4g}"
    chosen = said.label if isinstance(said.label, tuple) else (said.label,)
    return "; ".join(f"{name} ({said.probabilities[name]:.2f})" for name in chosen) or "(none)"


def explained_object(
    task: LoadedTask, scores: np.ndarray, explanations: Iterable[Explanation]
) -> dict[str, Any]:
    """The same for programs."""
    from encore.runs.predict import named_predictions

    rows = []
    for said, each in zip(named_predictions(scores, task.labels), explanations, strict=True):
        weights = {
            name: [asdict(word) for word in side.words]
            for name, side in zip(("weights", "weights_pair"), each.texts, strict=False)
        }
        rows.append(
            {
                "prediction": said.label,
                "probabilities": dict(said.probabilities),
                **weights,
                "weights_rest": each.rest,
            }
        )
    return {"task": task.name, "rows": rows}

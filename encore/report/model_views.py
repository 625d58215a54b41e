"""What a run's stored model shows of its dev rows: the words that its pooling weighs."""

from __future__ import annotations

from collections.abc import Sequence

from encore.report.gather import GatheredRun
from encore.report.texts import Texts
from encore.runs.explain import Explanation, explain, explainable_poolings
from encore.runs.predict import load

__all__ = ["explanations"]


def explanations(
    found: GatheredRun, task: str, texts: Texts, rows: Sequence[int]
) -> list[Explanation]:
    """The token weights of the pooling on these rows; none where it has none, or where the run
    keeps no model.
    """
    pooling = found.identity["tasks"][task]["pooling"]["name"]
    if not (found.folder / "model").is_dir() or pooling not in explainable_poolings():
        return []
    model = load(found.folder)
    chosen = model.task(task)
    if not chosen.explainable:
        return []
    first, second = (
        [texts.texts[row] for row in rows],
        None if texts.pairs is None else [texts.pairs[row] for row in rows],
    )
    return list(
        explain(
            chosen.model,
            model.tokenizer,
            first,
            second,
            max_length=chosen.max_length,
            truncation=chosen.truncation,  # type: ignore[arg-type]
        )
    )

"""The specification of a prepared run: what its name is a hash of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from encore.data.dataset import TaskData
from encore.recipe.run_spec import RunSpec, TaskRows
from encore.recipe.schema import PROSE, Recipe
from encore.recipe.technique import Technique, Term

__all__ = ["RESULTS_VERSION", "run_spec"]

RESULTS_VERSION = 7  # raised by hand when the same recipe gives other bits


def run_spec(
    recipe: Recipe,
    data: Mapping[str, TaskData],
    poolings: Mapping[str, Mapping[str, Any]],
    *,
    encoder: str,
    tokenizer: str,
    device: str,
    starts: Mapping[tuple[str, int], str] = MappingProxyType({}),
) -> RunSpec:
    """The specification of a run. Files count by their content and not by their path; the
    recipe's prose does not count.

    recipe: with the precision and threads that are used. encoder, tokenizer: their digests. starts:
    the identities of the parts that other runs made.
    """
    tasks, rows = {}, {}
    teachers = (identity for (part, _), identity in starts.items() if part == "teacher")
    for number, (name, task) in enumerate(recipe.tasks.items()):
        read = data[name]
        how = read.normalise if read.normalise != "none" else None
        without_paths = {"train": None, "dev": None, "test": None, "more": None, "normalise": how}
        pooling = {key: entry for key, entry in poolings[name].items() if key != "name"}
        filled_in = {
            "data": task.data.model_copy(update=without_paths),
            "pooling": Technique(poolings[name]["name"], pooling),
            "head_from": starts.get(("head", number)),
            "losses": {key: _identified(term, teachers) for key, term in task.losses.items()},
        }
        tasks[name] = task.model_copy(update=filled_in)
        dev = tuple((split, part.digest) for split, part in read.dev.items())
        rows[name] = TaskRows(read.train.digest, dev, tuple(read.labels.names))
    prose = {key: Recipe.model_fields[key].get_default(call_default_factory=True) for key in PROSE}
    settings = recipe.model_copy(update={**prose, "encoder": encoder, "tasks": tasks})
    settings = settings.model_copy(update={"adapter_from": starts.get(("adapter_from", 0))})
    of = [identity for (part, _), identity in starts.items() if part == "adapter"]
    if of and settings.adapter is not None:
        fused = Technique(settings.adapter.name, {**settings.adapter.settings, "of": of})
        settings = settings.model_copy(update={"adapter": fused})
    return RunSpec(settings, rows, tokenizer, device, RESULTS_VERSION)


def _identified(term: Term, teachers: Iterator[str]) -> Term:
    """The term with the identities of its teachers, the next of all, in the place of these."""
    named = None if term.loss is None else term.loss.settings.get("teacher")
    if term.loss is None or not named:
        return term
    settings = {**term.loss.settings, "teacher": [next(teachers) for _ in named]}
    return replace(term, loss=Technique(term.loss.name, settings))

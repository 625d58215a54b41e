"""Scores of the tasks that an encoder was trained on before: with their own poolings and heads, on
the encoder as the run that started from theirs has made it (METHODS 4.7).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encore.encoder.encoder import Frozen
from encore.model.task_model import TaskModel, encoder_of
from encore.runs.model_folder import read_models, read_parts
from encore.runs.places import run_folder
from encore.runs.prepared import Prepared, Start
from encore.training.loop import measure
from encore.training.scoring import score_rows

__all__ = ["EarlierTask", "earlier_starts", "score_earlier"]


@dataclass(frozen=True)
class EarlierTask:
    """A task of a run that this one started from. scores, metrics: by dev set."""

    task: str
    run: Prepared
    scores: Mapping[str, np.ndarray]
    metrics: Mapping[str, Mapping[str, float]]


def earlier_starts(prepared: Prepared) -> Iterator[Start]:
    """The starts whose tasks are to be measured: the run that trained the encoder, the one that
    trained its encoder, and so on. A task that was trained on twice counts as it was last.
    """
    start, seen = prepared.start, set[str]()
    while start is not None and start.run is not None and start.forgetting:
        if start.task not in seen:
            yield start
        seen.add(start.task)
        start = start.run.start


def score_earlier(
    prepared: Prepared, models: Mapping[str, TaskModel], runs: Path
) -> Iterator[EarlierTask]:
    """Score the dev sets of the earlier tasks. models: of this run, whose first task's encoder
    takes the place of theirs. runs: where they lie.
    """
    encoder = encoder_of(next(iter(models.values())).branches[0])
    for start in earlier_starts(prepared):
        assert start.run is not None
        folder = run_folder(runs, start.name) / "model"
        model = read_models(folder, *read_parts(folder))[start.task].to(prepared.device)
        for branch in model.branches:
            if not isinstance(branch.encoder, Frozen):
                branch.encoder = encoder
        stream = start.run.streams[start.task]
        scores = {
            split: score_rows(model, rows, stream.labels) for split, rows in stream.dev.items()
        }
        metrics = {
            split: measure(stream, found, stream.dev[split].targets)
            for split, found in scores.items()
        }
        yield EarlierTask(start.task, start.run, scores, metrics)

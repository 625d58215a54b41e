"""The reports that training yields: one for each optimiser step, and one for each epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from encore.training.groups import PhaseStart

__all__ = ["EvalReport", "StepReport"]


@dataclass(frozen=True)
class StepReport:
    """One optimiser step. In a step of several tasks, `task` is their names joined by +, and
    `terms` are called TASK.TERM. phase: with the first step of a phase, and after resuming.
    diagnostics: term → figures about itself, in some steps.
    """

    step: int  # counts from 1 over the whole run
    epoch: int  # counts from 1
    steps_in_epoch: int
    task: str
    loss: float
    terms: Mapping[str, float]
    lr: float
    grad_norm: float
    n_tokens: int
    n_rows: int
    phase: PhaseStart | None = field(default=None, compare=False)
    diagnostics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class EvalReport:
    """The end of an epoch.

    train: task → "loss" and each metric, on the rows as they were trained on, with dropout; with
    `score_train` the metrics are of eval mode, after the epoch.
    dev: task → dev set → metric → value. scores: task → dev set → (rows, n_scores) float32, raw.
    selected: the dev score by which `keep: best` and early stopping decide; higher is better.
    is_last: the plan has ended, or early stopping ends it. best: the tasks for which this epoch is
    the best so far, each by its own metric. dev_loss: task → dev set → log loss,
    or mean squared error for regression; of tasks with labels whose head gives probabilities.
    dev_seconds: seconds that scoring the dev sets took.
    """

    epoch: int
    step: int
    train: Mapping[str, Mapping[str, float]]
    dev: Mapping[str, Mapping[str, Mapping[str, float]]]
    scores: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    selected: float | None = None
    is_best: bool = False
    is_last: bool = False
    best: tuple[str, ...] = ()
    dev_loss: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    dev_seconds: float = field(default=0.0, compare=False)

"""The figures of one dev set: by epoch, and of the raw scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from encore import catalogue
from encore.evaluation.calibration import confidences, pool_runs, reliability
from encore.evaluation.distances import has_distances
from encore.evaluation.estimates import confusion
from encore.evaluation.predictions import predictions
from encore.report import figures, gather
from encore.report.figures import Figure, LearningCurvePoint, TaskCurves
from encore.report.page import slug
from encore.runs.folder import DevPredictions
from encore.types import LabelSpace

__all__ = [
    "MOST_CLASSES",
    "epoch_curves",
    "learning_curves",
    "prediction_figures",
    "set_label",
    "task_curves",
]

MOST_CLASSES = 12  # of a confusion matrix that can be read; more are listed


def prediction_figures(
    groups: Mapping[str, Sequence[DevPredictions]],
    labels: LabelSpace,
    *,
    where: str,
    seed: int,
    gives_probabilities: bool = True,
) -> Iterator[Figure]:
    """The figures of raw scores: confusion, distance, and calibration if the heads give
    probabilities; for a regression predicted beside true values. groups: variant → its runs.
    """
    if labels.kind == "regression":
        yield from _scatter_figures(groups, labels, where)
        return
    if labels.kind != "multilabel":
        if len(labels.names) <= MOST_CLASSES:
            for group, runs in groups.items():
                matrix = np.sum(
                    [confusion(one.scores, one.targets, labels) for one in runs], axis=0
                )
                about = f"{where}, {group}" if group else where
                yield figures.confusion_matrix(
                    slug(f"confusion {where} {group}"),
                    matrix,
                    labels.names,
                    where=about,
                    n_runs=len(runs),
                )
        if has_distances(labels):
            counts = {
                group: dict(
                    Counter(
                        np.concatenate(
                            [predictions(one.scores, labels) - one.targets for one in runs]
                        ).tolist()
                    )
                )
                for group, runs in groups.items()
            }
            yield figures.distances(slug(f"distances {where}"), counts, where=where)
    if not gives_probabilities:
        return
    found = {
        group: pool_runs(
            [reliability(*confidences(one.scores, one.targets, labels), seed=seed) for one in runs]
        )
        for group, runs in groups.items()
    }
    what = (
        "A prediction: a text has a label."
        if labels.kind == "multilabel"
        else "A prediction: the most probable class of a row."
    )
    yield figures.reliability_diagram(slug(f"calibration {where}"), found, what=what, where=where)


def _scatter_figures(
    groups: Mapping[str, Sequence[DevPredictions]], labels: LabelSpace, where: str
) -> Iterator[Figure]:
    """Predicted beside true values, a figure for each group."""
    targets = np.asarray(next(iter(groups.values()))[0].targets, np.float64)
    for group, runs in groups.items():
        predicted = np.mean([predictions(one.scores, labels) for one in runs], axis=0)
        seeds = ", mean over seeds" if len(runs) > 1 else ""
        about = f"{where}, {group}{seeds}" if group else where
        yield figures.scatter(slug(f"scatter {where} {group}"), targets, predicted, where=about)


def learning_curves(
    groups: Mapping[str, Sequence[gather.GatheredRun]],
    task: str,
    split: str,
    metrics: Sequence[str],
    *,
    where: str,
    kept: int | None = None,
) -> Iterator[Figure]:
    """The metric that decides by epoch, and the log loss where the runs logged it. groups: variant
    → its runs. metrics: the first decides. kept: the epoch whose figures count.
    """
    names = [metrics[0]]
    runs = [run for of in groups.values() for run in of]
    classes = "regression" not in catalogue.find("metrics", metrics[0]).kinds
    if "log_loss" in metrics or (classes and any(_logged_loss(run, task, split) for run in runs)):
        names.append("log_loss")
    for number, name in enumerate(dict.fromkeys(names)):
        curves = {group: epoch_curves(runs, task, split, name) for group, runs in groups.items()}
        title = f"learning {where}" if number == 0 else f"loss {where}"
        yield figures.learning(
            slug(title),
            catalogue.find("metrics", name),
            curves,
            where=where,
            kept=kept,
            eval_mode=all(run.scores_train for runs in groups.values() for run in runs),
        )


def task_curves(
    groups: Mapping[str, Sequence[gather.GatheredRun]],
    task: str,
    split: str,
    metric: str,
    *,
    kept: int | None = None,
) -> TaskCurves:
    """The loss and the score of a task by epoch. groups, kept: as of `learning_curves`. The loss is
    that on the dev rows, or that of the training steps where the head gives no probabilities.
    """
    losses = {}
    for group, runs in groups.items():
        on_train, on_dev = (epoch_curves(runs, task, split, name) for name in ("loss", "log_loss"))
        losses[group] = [
            replace(dev, train=train.train) for train, dev in zip(on_train, on_dev, strict=True)
        ]
    scores = {group: epoch_curves(runs, task, split, metric) for group, runs in groups.items()}
    found = catalogue.find("metrics", metric)
    if any(point.dev is not None for of in losses.values() for point in of):
        loss = "squared error" if "regression" in found.kinds else "log loss"
        return TaskCurves(loss, losses, found, scores, kept)
    trained = {
        group: [replace(point, train=None, dev=point.train) for point in of]
        for group, of in losses.items()
    }
    return TaskCurves("training loss", trained, found, scores, kept)


def _logged_loss(run: gather.GatheredRun, task: str, split: str) -> bool:
    return any(split in record.get("dev_loss", {}).get(task, {}) for record in run.epochs)


def epoch_curves(
    runs: Sequence[gather.GatheredRun], task: str, split: str, metric: str
) -> list[LearningCurvePoint]:
    """Epoch by epoch over the runs that got so far."""

    def over(records: Sequence[Mapping[str, Any]], *way: str) -> tuple[float, float, float] | None:
        values = []
        for record in records:
            for key in way:
                record = record.get(key, {})
            values += (
                [float(record)] if isinstance(record, int | float) and np.isfinite(record) else []
            )
        return (float(np.mean(values)), min(values), max(values)) if values else None

    by_epoch: dict[int, list[Mapping[str, Any]]] = {}
    for run in runs:
        for record in run.epochs:
            by_epoch.setdefault(record["epoch"], []).append(record)

    def on_dev(of: Sequence[Mapping[str, Any]]) -> tuple[float, float, float] | None:
        found = over(of, "dev", task, split, metric)
        return (
            over(of, "dev_loss", task, split) if found is None and metric == "log_loss" else found
        )

    return [
        LearningCurvePoint(epoch, len(of), over(of, "train", task, metric), on_dev(of))
        for epoch, of in sorted(by_epoch.items())
    ]


def set_label(task: str, split: str, sets: Mapping[str, Mapping[str, Any]]) -> str:
    """The shortest that names the dev set among those of the report."""
    if len(sets) > 1:
        return f"{task}, {split}" if len(sets[task]) > 1 else task
    return split

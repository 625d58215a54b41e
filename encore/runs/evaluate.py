"""Measures a run on labelled rows: metrics with intervals, confusion matrix, the worst mistakes,
metrics per value of a column, how far off ordered classes are, and pairs by the words they share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from encore import catalogue
from encore.data.dataset import Dataset
from encore.data.groups import group_numbers, interval_note
from encore.data.table import display_path
from encore.evaluation.decision import PLAIN
from encore.evaluation.decision_figures import DecisionFigures, measure_decision
from encore.evaluation.distances import DistanceShare, shares_by_distance
from encore.evaluation.estimates import (
    Estimate,
    Slice,
    by_slice,
    confusion,
    estimate_metrics,
    worst_mistakes,
)
from encore.evaluation.never_predicted import never_predicted
from encore.evaluation.word_overlap import overlap_bins
from encore.recipe.load import load_recipe
from encore.runs.output import named_predictions
from encore.runs.predictor import Predictor, ServedTask
from encore.runs.seen_rows import seen_before
from encore.runs.two_runs import OtherRun, compare_with
from encore.tables.decision import decision_table
from encore.tables.distances import distances_table
from encore.tables.evaluation import (
    DevScores,
    RowTexts,
    confusion_table,
    mistakes_table,
    overlap_table,
    results_table,
    slices_table,
)
from encore.tables.listing import Listing
from encore.tables.per_class import per_class_table

__all__ = ["RunEvaluation", "evaluate_run"]


@dataclass(frozen=True)
class RunEvaluation:
    """The results of `encore evaluate`. scores: (rows, n_scores) raw. mistakes: row indices, the
    worst first. confusion: (classes, classes) counts, None for regression. other: the run that this
    one was compared with. decision: the figures without and with the run's decision, None without
    one; all other figures are with it. distances: shares of the rows by the classes between
    prediction and truth, empty where classes have no order. overlap: metrics of the thirds of the
    pairs by `word_overlap`, empty where texts are no pairs.
    """

    model: Predictor[ServedTask]
    task: ServedTask
    dataset: Dataset
    targets: np.ndarray
    scores: np.ndarray
    estimates: Mapping[str, Estimate]
    confusion: np.ndarray | None
    mistakes: np.ndarray
    slices: Mapping[str, Sequence[Slice]]
    notes: tuple[str, ...]
    other: OtherRun | None = None
    decision: DecisionFigures | None = None
    distances: tuple[DistanceShare, ...] = ()
    overlap: tuple[Slice, ...] = ()

    def tables(self) -> list[Listing]:
        """The tables that the terminal shows, in this order."""
        dataset, labels = self.dataset, self.task.labels
        figures = DevScores(
            display_path(dataset.path),
            len(dataset),
            {"model": self.estimates},
            grouped=dataset.groups is not None,
        )
        found = [
            results_table(
                [figures],
                title=f"{self.model.folder}, {self.task.name}",
                notes=self.notes,
                what="file",
            )
        ]
        if self.decision is not None:
            found.append(decision_table(self.decision, title="without and with the decision"))
        if self.other is not None:
            found.append(self.other.table(str(self.model.folder), figures.dev, len(dataset)))
        if self.confusion is not None:
            found.append(per_class_table(self.confusion, labels))
            found.append(confusion_table(self.confusion, labels))
        if self.distances:
            found.append(distances_table(self.distances))
        if self.overlap:
            found.append(overlap_table(self.overlap))
        found += [slices_table(column, parts) for column, parts in self.slices.items()]
        if len(self.mistakes):
            place, numbers = dataset.places
            texts = RowTexts(dataset.texts, dataset.pairs, numbers.tolist(), place)
            found.append(
                mistakes_table(
                    self.mistakes,
                    self.scores,
                    self.targets,
                    labels,
                    texts,
                    gives_probabilities=self.task.gives_probabilities,
                    decision=self.task.decision,
                )
            )
        return found

    def as_object(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        dataset, labels = self.dataset, self.task.labels
        predicted = (
            named_predictions(
                self.scores[self.mistakes], labels, decision=self.task.abstaining(0.0).decision
            )
            if len(self.mistakes)
            else []
        )
        mistakes, places = [], dataset.places[1]
        for row, one in zip(self.mistakes.tolist(), predicted, strict=True):
            pair = {} if dataset.pairs is None else {"text_pair": dataset.pairs[row].as_py()}
            texts = {"text": dataset.texts[row].as_py(), **pair}
            mistakes.append(
                {
                    "line": int(places[row]),
                    **texts,
                    "truth": _named(self.targets[row], self.task),
                    "prediction": one.label,
                }
            )
        return {
            "run": str(self.model.folder),
            "file": display_path(dataset.path),
            "rows": len(dataset),
            "metrics": _figures(self.estimates),
            "labels": list(labels.names),
            "confusion": None if self.confusion is None else self.confusion.tolist(),
            "mistakes": mistakes,
            "slices": {
                column: [_slice(part) for part in parts] for column, parts in self.slices.items()
            },
            "distances": [_distance(one) for one in self.distances],
            "overlap": [_slice(part) for part in self.overlap],
            "notes": list(self.notes),
            **({} if self.other is None else {"compare": self.other.as_object()}),
            **({} if self.decision is None else {"decision": asdict(self.decision)}),
        }


def evaluate_run(
    model: Predictor[ServedTask],
    task: str | None,
    dataset: Dataset,
    *,
    slices: Sequence[str] = (),
    n_mistakes: int = 10,
    compare: tuple[Predictor[ServedTask], Dataset] | None = None,
) -> RunEvaluation:
    """Score labelled rows and measure the scores. slices: columns of the file, which are in
    `dataset.extra`. compare: another run, and the same rows as it reads them (`read_alike`). Raises
    DataError.
    """
    chosen = model.task(task)
    labels, metrics, targets = chosen.labels, chosen.metrics, dataset.targets
    assert targets is not None
    scores, decision = model.scores(dataset, task=chosen.name), chosen.decision
    groups = group_numbers(dataset.groups)
    figures = _decided(chosen, scores, targets, model.seed, groups)
    decided = decision.decided(scores, labels)
    estimates = (
        estimate_metrics(scores, targets, labels, metrics, model.seed, groups=groups)
        if figures is None
        else {name: figures.decided[name] for name in metrics}
    )
    sliced = {
        column: _slices(dataset.extra[column], chosen, scores, targets, model.seed, groups)
        for column in dict.fromkeys(slices)
    }
    overlaps = _overlap_bins(dataset)
    return RunEvaluation(
        model,
        chosen,
        dataset,
        targets,
        scores,
        estimates,
        None if labels.kind == "regression" else confusion(decided, targets, labels),
        worst_mistakes(scores, targets, labels, n_mistakes, decision=decision)
        if n_mistakes
        else np.empty(0, np.int64),
        sliced,
        (
            *map(str, dataset.notes),
            *seen_before(model, chosen.name, dataset),
            *_one_sided(model, chosen, decided, targets),
            *_what_intervals_count(chosen, dataset),
            *([] if figures is None else [f"with the decision: {decision.described(labels)}."]),
        ),
        None
        if compare is None
        else compare_with(*compare, model, chosen, scores, targets, groups=groups),
        figures,
        shares_by_distance(decided, targets, labels, model.seed, groups=groups),
        () if overlaps is None else _slices(overlaps, chosen, scores, targets, model.seed, groups),
    )


def _overlap_bins(dataset: Dataset) -> list[str] | None:
    """The bin of each row; None where texts are no pairs, or too few or too much alike for bins."""
    if dataset.pairs is None:
        return None
    return overlap_bins(dataset.texts.to_pylist(), dataset.pairs.to_pylist())


def _decided(
    task: ServedTask,
    scores: np.ndarray,
    targets: np.ndarray,
    seed: int,
    groups: np.ndarray | None,
) -> DecisionFigures | None:
    """The figures without and with the task's decision; None where it changes nothing."""
    if task.decision == PLAIN:
        return None
    answers = task.decision.answers(scores, task.labels)
    return measure_decision(
        scores, answers, targets, task.labels, task.metrics, seed, groups=groups
    )


def _slices(
    values: Sequence[Any],
    task: ServedTask,
    scores: np.ndarray,
    targets: np.ndarray,
    seed: int,
    groups: np.ndarray | None,
) -> tuple[Slice, ...]:
    """The task's metrics per value of a column, each of what its decision makes of the scores."""
    if task.decision == PLAIN:
        return by_slice(values, scores, targets, task.labels, task.metrics, seed, groups=groups)
    found = [
        by_slice(
            values,
            task.decision.read_by(catalogue.find("metrics", name), scores, task.labels),
            targets,
            task.labels,
            [name],
            seed,
            groups=groups,
        )
        for name in task.metrics
    ]
    return tuple(
        replace(parts[0], estimates={k: v for part in parts for k, v in part.estimates.items()})
        for parts in zip(*found, strict=True)
    )


def _one_sided(
    model: Predictor[ServedTask], task: ServedTask, scores: np.ndarray, targets: np.ndarray
) -> tuple[str, ...]:
    """A note where a class of these rows is never predicted."""
    settings = load_recipe(model.origins(task.name)[0] / "recipe.yaml").tasks[task.name]
    balanced = bool(settings.class_weights or settings.sampling)
    found = never_predicted(scores, targets, task.labels, balanced=balanced)
    return (f"{found}.",) if found else ()


def _what_intervals_count(task: ServedTask, dataset: Dataset) -> tuple[str, ...]:
    """A note where rows belonged together in training, as they do here if the file says so."""
    if task.columns.group is None:
        return ()
    if dataset.groups is not None:
        return (f"{interval_note(task.columns.group, dataset.groups)}.",)
    return (
        f"no column '{task.columns.group}' in {display_path(dataset.path)}: the intervals take "
        f"each row as independent.",
    )


def _slice(part: Slice) -> dict[str, Any]:
    return {"value": part.value, "rows": part.n_rows, "metrics": _figures(part.estimates)}


def _distance(one: DistanceShare) -> dict[str, Any]:
    return {
        "distance": one.distance,
        "or_more": one.or_more,
        "rows": one.n_rows,
        "share": asdict(one.share),
    }


def _figures(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: asdict(value) for name, value in estimates.items()}


def _named(target: Any, task: ServedTask) -> Any:
    """Name the labels of a target."""
    if task.labels.kind == "regression":
        return float(target)
    if task.labels.kind == "multilabel":
        return [name for name, on in zip(task.labels.names, target, strict=True) if on]
    return task.labels.names[target]

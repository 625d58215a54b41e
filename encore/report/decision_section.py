"""The part of a run's report on its decision: figures without and with it, and two pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from encore.evaluation.calibration import confidences, reliability
from encore.evaluation.decision import PLAIN
from encore.evaluation.decision_figures import accuracy_by_coverage
from encore.evaluation.fit_decision import right_rows
from encore.report import figures, gather
from encore.report.page import Notes, Section, slug
from encore.runs.decide import FittedDecision, TaskScores, read_decisions
from encore.runs.folder import MODEL, DevPredictions
from encore.tables.decision import decision_table

__all__ = ["decision_sections"]

_ELSEWHERE = (
    "All other figures of this report are of the model without its decision. Those with it are "
    "cross-fitted: each part of the rows is answered by what was fitted on the others."
)


def decision_sections(
    run: gather.GatheredRun, found: Sequence[tuple[str, str, DevPredictions]]
) -> Iterator[Section]:
    """A section for each task whose run keeps a decision. found: task, dev set and predictions of
    the run. Raises DataError where the decision's file is damaged.
    """
    fitted = read_decisions(run.folder)
    for task, split, answers in found:
        if task in fitted and fitted[task].split == split:
            title = f"Decision, {task}" if len(run.result.metrics) > 1 else "Decision"
            yield Section(title, tuple(_blocks(run, task, fitted[task], answers)))


def _blocks(
    run: gather.GatheredRun, task: str, fitted: FittedDecision, dev: DevPredictions
) -> Iterator[Any]:
    labels, where = run.labels[task], fitted.split
    if len(run.result.metrics) > 1:
        where = f"{task}, {where}"
    seed = int(run.identity.get("seed", 0))
    metrics = tuple(run.result.metrics[task][fitted.split][MODEL])
    scores = TaskScores(labels, metrics, True, fitted.split, fitted.epoch, seed, dev)
    answers = scores.cross_fitted(fitted.settings).answers
    plain = PLAIN.answers(dev.scores, labels)
    yield Notes((f"{fitted.described or 'It changes nothing'}.", _ELSEWHERE))
    yield decision_table(fitted.figures, title="Without and with it", notes=fitted.notes)
    yield figures.reliability_diagram(
        slug(f"calibration decision {where}"),
        {
            name: reliability(*confidences(each, dev.targets, labels), seed=seed)
            for name, each in (("without", dev.scores), ("with", answers.calibrated))
        },
        what="The probabilities without the decision, and with it.",
        where=where,
    )
    yield figures.coverage_curve(
        slug(f"coverage {where}"),
        {
            name: accuracy_by_coverage(
                each.confidence, right_rows(each.decided, dev.targets, labels)
            )
            for name, each in (("without", plain), ("with", answers))
        },
        where=where,
        kept=fitted.figures.coverage.value if fitted.decision.abstain else None,
    )

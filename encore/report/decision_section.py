"""The part of a report on the decision of a run or an ensemble: figures without and with it, and
two pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from encore.evaluation.calibration import confidences, reliability
from encore.evaluation.decision import PLAIN
from encore.evaluation.decision_figures import accuracy_by_coverage
from encore.evaluation.fit_decision import right_rows
from encore.report import figures
from encore.report.page import Notes, Section, slug
from encore.runs.decide import FittedDecision, TaskScores, read_decisions, task_scores
from encore.runs.ensemble_model import ensemble_scores
from encore.runs.folder import RunResult
from encore.tables.decision import decision_table

__all__ = ["decision_sections"]

_ELSEWHERE = (
    "All other figures of this report are without the decision. Those with it are "
    "cross-fitted: each part of the rows is answered by what was fitted on the others."
)


def decision_sections(folder: Path, result: RunResult | None = None) -> Iterator[Section]:
    """A section for each task of a run with this result, or of an ensemble, that keeps a decision.
    Raises DataError where its file is damaged.
    """
    for task, fitted in read_decisions(folder).items():
        scores = (
            ensemble_scores(folder, task) if result is None else task_scores(folder, task, result)
        )
        title = "Decision" if scores.alone else f"Decision, {task}"
        yield Section(title, tuple(_blocks(scores, fitted)))


def _blocks(scores: TaskScores, fitted: FittedDecision) -> Iterator[Any]:
    labels, dev, seed = scores.labels, scores.dev, scores.seed
    where = scores.split if scores.alone else f"{scores.task}, {scores.split}"
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

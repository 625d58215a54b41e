"""The largest errors of a run, and the errors that most runs of a comparison share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from encore.evaluation.estimates import worst_mistakes
from encore.evaluation.predictions import predictions, row_losses
from encore.report.gather import GatheredRun
from encore.report.model_views import explanations
from encore.report.page import Mistake, Mistakes
from encore.report.texts import Texts
from encore.runs.explain import Explanation
from encore.runs.explanation_output import GradientTally
from encore.runs.folder import DevPredictions
from encore.tables.evaluation import RowTexts, mistakes_table
from encore.tables.formatting import shorten
from encore.types import LabelSpace

__all__ = ["common_errors", "largest_errors"]

_MOST_CHARACTERS = 2_000  # of a text among the errors
_STRONGEST = 5  # words with the largest weights, listed


def largest_errors(
    run: GatheredRun,
    task: str,
    answers: DevPredictions,
    labels: LabelSpace,
    texts: Texts | None,
    n_mistakes: int,
) -> Mistakes:
    """The largest errors of a run on one dev set, with the words that its pooling weighs most."""
    chosen = worst_mistakes(answers.scores, answers.targets, labels, n_mistakes)
    blank = [""] * len(answers.rows)
    sure = run.gives_probabilities(task)
    table = mistakes_table(
        chosen,
        answers.scores,
        answers.targets,
        labels,
        RowTexts(blank),
        gives_probabilities=sure,
    )
    explained = [] if texts is None else explanations(run, task, texts, chosen.tolist())
    found = []
    for at, (row, cells) in enumerate(zip(chosen.tolist(), table.rows, strict=True)):
        facts = (
            _place(texts, answers, row),
            *zip(("truth", "prediction", table.columns[3]), cells[1:4], strict=True),
        )
        if explained:
            one = explained[at]
            strongest = ", ".join(
                f"{word.word} {100 * one.share(word.weight or 0):.0f} %".replace("-", "−")
                for word in one.strongest(_STRONGEST)
            )
            found.append(Mistake((*facts, ("largest weights", strongest)), _marked(one)))
        else:
            found.append(Mistake(facts, _texts_of(texts, row)))
    by = "the size of the error" if labels.kind == "regression" else "−log p(truth)"
    by = by if sure else "the margin"
    marks = f" {_about_marks(explained, labels)}" if explained else ""
    return Mistakes(
        tuple(found),
        f"The largest first, by {by}{_in_file(texts)}.{marks}"
        if found
        else "No row is predicted wrongly.",
    )


def _about_marks(explained: Sequence[Explanation], labels: LabelSpace) -> str:
    """The meaning of the marks in the texts, and how far they can be trusted."""
    tally = GradientTally()
    for _ in tally.counted(explained):
        pass
    if not tally.n_rows:
        return (
            "The stronger a word is marked, the larger its weight in the pooling, which need not "
            "be the cause of the error."
        )
    value = labels.kind == "regression"
    what = "the value" if value else "the log-odds of the prediction"
    against = "lower it" if value else "speak against it"
    notes = " ".join(f"{str(note).capitalize()}." for note in tally.notes)
    return (
        f"The stronger a word is marked, the more it adds to {what}, by integrated gradients; "
        f"underlined words {against}. {notes}"
    )


def _marked(explanation: Explanation) -> tuple[tuple[tuple[str, float | None], ...], ...]:
    """The texts in pieces; words that weigh more than the average word are marked, the heaviest of
    the row in full, those of a negative weight with a negative mark.
    """
    found = []
    for side in explanation.texts:
        shown, end = _shortened(side.text), 0
        pieces: list[tuple[str, float | None]] = []
        for word in side.words:
            if word.weight is None or word.end > min(len(side.text), _MOST_CHARACTERS):
                continue
            strength = explanation.strength(word.weight)
            if strength > 0:
                mark = -strength if word.weight < 0 else strength
                pieces += [(shown[end : word.start], None), (shown[word.start : word.end], mark)]
                end = word.end
        found.append((*pieces, (shown[end:], None)))
    return tuple(found)


def common_errors(
    groups: Mapping[str, Sequence[DevPredictions]],
    labels: LabelSpace,
    texts: Texts | None,
    n_mistakes: int,
) -> Mistakes:
    """Rows that most runs get wrong, by their mean loss over the runs of all variants."""
    every = [one for runs in groups.values() for one in runs]
    some, targets = every[0], every[0].targets
    losses = np.mean([row_losses(one.scores, targets, labels) for one in every], axis=0)
    predicted = [predictions(one.scores, labels) for one in every]
    wrong = np.array(
        [(one != targets) if one.ndim == 1 else (one != targets).any(axis=1) for one in predicted]
    )
    n_wrong = wrong.sum(axis=0)
    chosen = [
        row for row in np.argsort(-losses, kind="stable").tolist() if 2 * n_wrong[row] > len(every)
    ][:n_mistakes]
    names = [shorten(name, 30) for name in labels.names]
    found = []
    for row in chosen:
        if labels.kind == "regression":
            mean = float(np.mean([one[row] for one in predicted]))
            facts = [
                ("truth", f"{targets[row]:.4g}"),
                ("mean prediction", f"{mean:.4g}"),
                ("difference", f"{mean - targets[row]:+.4g}"),
            ]
        else:
            listed: Callable[[Any], str] = (
                (lambda of: names[of])
                if labels.kind != "multilabel"
                else lambda of: "; ".join(names[at] for at in np.flatnonzero(of)) or "(none)"
            )
            often, n = Counter(
                listed(one[row]) for one, no in zip(predicted, wrong[:, row], strict=True) if no
            ).most_common(1)[0]
            facts = [
                ("truth", listed(targets[row])),
                ("wrong in", f"{n_wrong[row]} of {len(every)} runs"),
                ("most often predicted", f"{often} ({n})"),
            ]
        found.append(Mistake((_place(texts, some, row), *facts), _texts_of(texts, row)))
    note = (
        f"Wrong in more than half of all runs, the largest mean loss first: such rows "
        f"are hard, ambiguous, or wrongly labelled{_in_file(texts)}."
    )
    return Mistakes(
        tuple(found),
        note if found else "No row is predicted wrongly by more than half of the runs.",
    )


def _in_file(texts: Texts | None) -> str:
    return "" if texts is None else f"; {texts.place}s of {texts.file}"


def _place(texts: Texts | None, answers: DevPredictions, row: int) -> tuple[str, str]:
    return (
        ("row", str(answers.rows[row] + 1))
        if texts is None
        else (texts.place, str(texts.places[row]))
    )


def _texts_of(texts: Texts | None, row: int) -> tuple[tuple[tuple[str, float | None], ...], ...]:
    sides = (
        ()
        if texts is None
        else (texts.texts,)
        if texts.pairs is None
        else (texts.texts, texts.pairs)
    )
    return tuple(((_shortened(side[row]), None),) for side in sides)


def _shortened(text: str) -> str:
    return (
        text
        if len(text) <= _MOST_CHARACTERS
        else f"{text[:_MOST_CHARACTERS]}… ({len(text):,} characters)"
    )

"""Tables of one model: metrics beside baselines, confusion matrix, largest errors, metrics per
slice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from encore import catalogue
from encore.evaluation.decision import PLAIN, Decision
from encore.evaluation.estimates import Estimate, Slice
from encore.evaluation.metric import Metric
from encore.evaluation.predictions import checked, predictions
from encore.evaluation.word_overlap import OVERLAP
from encore.tables.formatting import format_estimate, shorten
from encore.tables.listing import Listing
from encore.types import LabelSpace

__all__ = [
    "DevScores",
    "RowTexts",
    "confusion_table",
    "mistakes_table",
    "overlap_table",
    "results_table",
    "slices_table",
]

_FEW_ROWS = 30
_TEXT_CHARACTERS = 200  # of a mistake
_MAX_CLASSES = 12  # a wider confusion matrix fits no terminal


@dataclass(frozen=True)
class DevScores:
    """One dev set, as the results table shows it. columns: predictor ("model", "majority", "TF-IDF
    + logistic", in this order) → metric → estimate. grouped: the intervals draw groups of rows.
    """

    dev: str
    n_rows: int
    columns: Mapping[str, Mapping[str, Estimate]]
    notes: tuple[str, ...] = ()
    grouped: bool = False


def results_table(
    dev_scores: Sequence[DevScores],
    *,
    title: str = "",
    notes: Sequence[str] = (),
    what: str = "dev set",
) -> Listing:
    """One line per set of rows and metric, one column per predictor; footnotes say what a figure
    alone would hide. what: the name of a set of rows ("dev set", "file").
    """
    names = list(dict.fromkeys(name for each in dev_scores for name in each.columns))
    rows = []
    footnotes = list(notes)
    for each in dev_scores:
        footnotes += [f"{each.dev}: {note}" for note in each.notes]
        if each.n_rows < _FEW_ROWS:
            footnotes.append(
                f"{each.dev}: {each.n_rows} row{'s are' if each.n_rows > 1 else ' is'} too few "
                f"for an interval to be trusted."
            )
        metric_names = list(
            dict.fromkeys(metric for estimates in each.columns.values() for metric in estimates)
        )
        for line, metric_name in enumerate(metric_names):
            metric = catalogue.find("metrics", metric_name)
            estimates = {
                name: each.columns[name][metric_name]
                for name in names
                if metric_name in each.columns.get(name, {})
            }
            cells = [
                format_estimate(estimates[name], metric.form) if name in estimates else "–"
                for name in names
            ]
            rows.append(
                (
                    each.dev if line == 0 else "",
                    f"{each.n_rows:,}" if line == 0 else "",
                    metric.title,
                    *cells,
                )
            )
            footnotes += _remarks(each.dev, metric, estimates)
    units = dict.fromkeys("groups" if each.grouped else "rows" for each in dev_scores)
    drawn = " or ".join(units) or "rows"
    footnotes.append(f"[low, high]: 95 % bootstrap interval over the {drawn} of the {what}.")
    return Listing(
        title,
        (what, "rows", "metric", *names),
        tuple(rows),
        _footnotes(footnotes),
        frozenset({1, *range(3, 3 + len(names))}),
    )


def _remarks(dev: str, metric: Metric, estimates: Mapping[str, Estimate]) -> list[str]:
    """Footnotes on one line: where a figure is not what it seems, and where a baseline does as well
    as the first column, or better.
    """
    remarks = []
    sign = 1 if metric.higher_is_better else -1
    who, first = next(iter(estimates.items()))
    for name, estimate in estimates.items():
        if name not in ("majority", "mean"):  # these are constant by construction
            remarks += [f"{dev}, {metric.title}, {name}: {note}." for note in estimate.notes]
        if name != who and sign * estimate.value >= sign * first.value:
            does = "as well as" if estimate.value == first.value else "better than"
            remarks.append(f"{dev}, {metric.title}: {name} does {does} the {who}.")
    return remarks


def _footnotes(notes: Sequence[str]) -> tuple[str, ...]:
    """Each note once."""
    return tuple(dict.fromkeys(shorten(note, 500) for note in notes))


def confusion_table(
    matrix: np.ndarray, labels: LabelSpace, *, title: str = "confusion matrix"
) -> Listing:
    """Truth by row, prediction by column, with the share of each class that was found; for more
    than 12 classes the 20 largest confusions.

    For multi-label tasks one line per label: found, missed, false alarms, precision and recall.
    matrix: what `confusion` returns.
    """
    names = [shorten(name, 30) for name in labels.names]
    if labels.kind == "multilabel":
        return _label_counts(matrix, names, title)
    if len(names) > _MAX_CLASSES:
        return _largest_confusions(matrix, names, title)
    columns = ("truth / predicted", *names, "rows", "found")
    rows = []
    for at, (name, line) in enumerate(zip(names, matrix, strict=True)):
        rows.append(
            (
                name,
                *(f"{count:,}" for count in line),
                f"{line.sum():,}",
                _share(line[at], line.sum()),
            )
        )
    return Listing(title, columns, tuple(rows), (), frozenset(range(1, len(columns))))


def _label_counts(matrix: np.ndarray, names: Sequence[str], title: str) -> Listing:
    columns = ("label", "rows with it", "found", "missed", "false alarms", "precision", "recall")
    rows = []
    for name, ((_, false), (missed, found)) in zip(names, matrix.tolist(), strict=True):
        counts = (found + missed, found, missed, false)
        rows.append(
            (
                name,
                *(f"{count:,}" for count in counts),
                _share(found, found + false),
                _share(found, found + missed),
            )
        )
    return Listing(title, columns, tuple(rows), (), frozenset(range(1, len(columns))))


def _largest_confusions(matrix: np.ndarray, names: Sequence[str], title: str) -> Listing:
    totals = matrix.sum(axis=1)
    wrong = matrix - np.diag(np.diag(matrix))
    largest = [
        divmod(int(cell), len(names))
        for cell in np.argsort(-wrong, axis=None, kind="stable")[:20]
        if wrong.flat[cell]
    ]
    rows = tuple(
        (
            names[true],
            names[other],
            f"{wrong[true, other]:,}",
            _share(wrong[true, other], totals[true]),
        )
        for true, other in largest
    )
    note = (
        f"the {len(largest)} largest of {np.count_nonzero(wrong):,} confusions of "
        f"{len(names)} classes."
    )
    return Listing(
        title, ("truth", "predicted as", "rows", "share of truth"), rows, (note,), frozenset({2, 3})
    )


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


@dataclass(frozen=True)
class RowTexts:
    """The texts of all rows, indexed by row, and where each row is to be found. places: its line in
    the file, say; its index if None. place: what `places` are ("line", "row").
    """

    texts: Sequence[Any]
    pairs: Sequence[Any] | None = None
    places: Sequence[Any] | None = None
    place: str = "row"

    def shortened(self, row: int, max_chars: int) -> str:
        """The text, or both texts of a pair, in at most so many characters."""
        text = _text(self.texts[row])
        if self.pairs is not None:
            half = max_chars // 2
            text = f"{shorten(text, half)} | {shorten(_text(self.pairs[row]), half)}"
        return shorten(text, max_chars)


def mistakes_table(
    mistakes: Sequence[int] | np.ndarray,
    scores: np.ndarray,
    targets: np.ndarray,
    labels: LabelSpace,
    texts: RowTexts,
    *,
    title: str = "largest errors",
    gives_probabilities: bool = True,
    decision: Decision = PLAIN,
) -> Listing:
    """One line per error with its text: truth, prediction, and the probability of each
    (regression: the two values and the difference; a head without probabilities: the margin).
    mistakes: indices from `worst_mistakes`.
    """
    chosen = np.asarray(mistakes, dtype=np.int64)
    cells = (
        _cells(
            scores[chosen],
            targets[chosen],
            labels,
            decision,
            gives_probabilities=gives_probabilities,
        )
        if len(chosen)
        else ()
    )
    rows = tuple(
        (
            str(row if texts.places is None else texts.places[row]),
            *(cell(number) for cell in cells),
            texts.shortened(row, _TEXT_CHARACTERS),
        )
        for number, row in enumerate(chosen.tolist())
    )
    of_truth = {"regression": "difference", "multilabel": "worst p"}.get(labels.kind, "p(truth)")
    if not gives_probabilities and labels.kind != "regression":
        of_truth = "margin"
    text = "text" if texts.pairs is None else "text | pair"
    columns = (texts.place, "truth", "prediction", of_truth, text)
    notes = () if rows else ("none: every row is right.",)
    return Listing(title, columns, rows, notes, frozenset({0, 3}))


def _cells(
    scores: np.ndarray,
    targets: np.ndarray,
    labels: LabelSpace,
    decision: Decision,
    *,
    gives_probabilities: bool,
) -> tuple[Any, Any, Any]:
    """Functions of a row index that render its truth, its prediction and a probability."""
    scores, targets = checked(scores, targets, labels)
    if not gives_probabilities and labels.kind in ("binary", "multiclass"):
        return _score_cells(scores, targets, labels)
    predicted, sure = (
        decision.predictions(scores, labels),
        decision.probabilities(scores, labels),
    )
    names = [shorten(name, 30) for name in labels.names]
    if labels.kind == "regression":
        return (
            lambda i: f"{targets[i]:.4g}",
            lambda i: f"{predicted[i]:.4g}",
            lambda i: f"{predicted[i] - targets[i]:+.4g}",
        )
    if labels.kind == "multilabel":

        def listed(chosen: np.ndarray) -> str:
            return "; ".join(names[label] for label in np.flatnonzero(chosen)) or "(none)"

        truth = np.where(targets == 1, sure, 1 - sure)
        return (
            lambda i: listed(targets[i]),
            lambda i: listed(predicted[i]),
            lambda i: f"{truth[i].min():.3f}",
        )
    return (
        lambda i: names[targets[i]],
        lambda i: f"{names[predicted[i]]} ({sure[i, predicted[i]]:.2f})",
        lambda i: f"{sure[i, targets[i]]:.3f}",
    )


def _score_cells(
    scores: np.ndarray, targets: np.ndarray, labels: LabelSpace
) -> tuple[Any, Any, Any]:
    """The functions of `_cells` where scores are no logits: the margin is the score of the true
    class less that of the predicted one.
    """
    predicted = predictions(scores, labels)
    names = [shorten(name, 30) for name in labels.names]
    return (
        lambda i: names[targets[i]],
        lambda i: names[predicted[i]],
        lambda i: f"{scores[i, targets[i]] - scores[i, predicted[i]]:.3f}",
    )


def slices_table(column: str, slices: Sequence[Slice], *, title: str = "") -> Listing:
    """One line per value of a column: rows, and each metric with its interval."""
    metrics = {
        name: catalogue.find("metrics", name)
        for name in dict.fromkeys(name for each in slices for name in each.estimates)
    }
    column = shorten(column, 40)
    titles = [metric.title for metric in metrics.values()]
    rows = [
        (
            shorten(each.value, 40),
            f"{each.n_rows:,}",
            *(
                format_estimate(each.estimates[name], metric.form)
                for name, metric in metrics.items()
            ),
        )
        for each in slices
    ]
    small = [each for each in slices if each.n_rows < _FEW_ROWS]
    notes = [
        f"{each.value}, {metrics[name].title}: {note}."
        for each in slices
        if each not in small
        for name, one in each.estimates.items()
        for note in one.notes
    ]
    if small:
        notes.append(
            f"slices of fewer than {_FEW_ROWS} rows: {len(small)}; their intervals are not to "
            f"be trusted."
        )
    return Listing(
        title or f"by {column}",
        (column, "rows", *titles),
        tuple(rows),
        _footnotes(notes),
        frozenset(range(1, 2 + len(titles))),
    )


def overlap_table(slices: Sequence[Slice], *, title: str = "by word overlap") -> Listing:
    """The slices of pairs by the words that both texts have."""
    table = slices_table(OVERLAP, slices, title=title)
    how = (
        "word overlap: of the different words of a pair, lower-cased, the share that both texts "
        "have (Jaccard); each line has about as many rows."
    )
    return replace(table, notes=(how, *table.notes))


def _text(value: Any) -> str:
    """A string, also from a pyarrow scalar."""
    return str(value.as_py() if hasattr(value, "as_py") else value)

"""How good scores are: metrics with intervals, confusion matrix, worst mistakes, metrics per slice; and the tables that show them.

Everything here takes raw scores (rows, n_scores) and targets, whoever made them: a model, a baseline, a stored file.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from encore import catalogue
from encore.data.columns import naturally
from encore.errors import DataError, RecipeError, did_you_mean, printable
from encore.scores import checked, predictions, probabilities, row_losses
from encore.statistics import Form, Metric, MetricWarning, bootstrap_interval
from encore.types import LabelSpace, TaskKind

if TYPE_CHECKING:
    from rich.console import Console, Group

__all__ = [
    "DevScores",
    "Estimate",
    "Listing",
    "Slice",
    "by_slice",
    "confusion",
    "confusion_table",
    "evaluate",
    "figure",
    "metrics_for",
    "metrics_named",
    "mistakes_table",
    "one_line",
    "predictions",
    "probabilities",
    "results_table",
    "show",
    "show_all",
    "slices_table",
    "worst_mistakes",
]

_FEW_ROWS = 30
_LONG_WORD = 16
_MAX_CLASSES = 12  # a wider confusion matrix fits no terminal


@dataclass(frozen=True)
class Estimate:
    """A metric's value on some rows with its 95 % bootstrap interval, as fractions; `notes` say where it is not what it seems."""

    value: float
    low: float
    high: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DevScores:
    """One dev set, as the results table shows it. columns: who ("model", "majority", "TF-IDF + logistic", in this order) → metric → estimate."""

    dev: str
    n_rows: int
    columns: Mapping[str, Mapping[str, Estimate]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Slice:
    """The metrics of the rows that share one value of a column."""

    value: str
    n_rows: int
    estimates: Mapping[str, Estimate]


def metrics_for(kind: TaskKind) -> tuple[str, ...]:
    """Names of the metrics that a kind of task can have, sorted. Imports all metrics."""
    return tuple(name for name in catalogue.names("metrics") if kind in catalogue.find("metrics", name).kinds)


def metrics_named(names: Sequence[str], kind: TaskKind) -> dict[str, Metric]:
    """The metrics of these names, in this order. Raises RecipeError for all that do not exist or do not fit the kind of task."""
    known = catalogue.names("metrics")
    fitting = metrics_for(kind)
    problems = [f"metrics: no metric called '{name}'. {did_you_mean(name, fitting)}" for name in names if name not in known]
    problems += [f"metrics: '{name}' does not fit a {kind} task. Take one of {', '.join(fitting)}." for name in names if name in known and name not in fitting]
    if problems:
        raise RecipeError(problems)
    return {name: catalogue.find("metrics", name) for name in names}


def evaluate(
    scores: np.ndarray, targets: np.ndarray, labels: LabelSpace, metric_names: Sequence[str], seed: int, *, n_resamples: int = 2000
) -> dict[str, Estimate]:
    """Each metric's value with its 95 % bootstrap interval, in the order asked for.

    Raises DataError where scores and targets cannot be compared or a score is not finite, RecipeError for unknown or unfitting metrics.
    """
    return {name: _estimate(metric, scores, targets, labels, seed, n_resamples) for name, metric in metrics_named(metric_names, labels.kind).items()}


def _estimate(metric: Metric, scores: np.ndarray, targets: np.ndarray, labels: LabelSpace, seed: int, n_resamples: int) -> Estimate:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MetricWarning)
        value = metric(scores, targets, labels)
    for other in caught:
        if not issubclass(other.category, MetricWarning):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    interval = bootstrap_interval(metric, scores, targets, labels, seed=seed, n_resamples=n_resamples)
    notes = [str(one.message) for one in caught if issubclass(one.category, MetricWarning)]
    if getattr(metric, "form", None) == "percent" and interval.low == 1:
        # A bootstrap of faultless rows sees no fault. This is the chance of being right that leaves one in twenty for so many in a row (about 1 − 3 / rows).
        lowest = 0.05 ** (1 / len(targets))
        rows = f"{len(targets):,} row{'s' if len(targets) > 1 else ''}"
        notes.append(f"no mistake in {rows}, so the interval has no width; the true value may well be {100 * lowest:.1f} %")
    return Estimate(value, interval.low, interval.high, tuple(notes))


def confusion(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """(classes, classes) int64, row = truth, column = prediction; for multi-label (labels, 2, 2), one such matrix per label.

    Raises RecipeError for regression, which has none.
    """
    from sklearn.metrics import confusion_matrix, multilabel_confusion_matrix

    if labels.kind == "regression":
        raise RecipeError("a regression task has no confusion matrix; look at its worst mistakes instead.")
    scores, targets = checked(scores, targets, labels)
    predicted = predictions(scores, labels)
    if labels.kind == "multilabel":
        return multilabel_confusion_matrix(targets, predicted)
    return confusion_matrix(targets, predicted, labels=range(labels.n_scores))


def worst_mistakes(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace, k: int = 10) -> np.ndarray:
    """Up to k row indices, int64, the most wrong first: by −log p(truth), by squared error for regression; equal ones in row order.

    Only rows whose prediction is wrong, so there may be fewer than k, or none.
    """
    scores, targets = checked(scores, targets, labels)
    wrong = predictions(scores, labels) != targets
    rows = np.flatnonzero(wrong.any(axis=1) if wrong.ndim == 2 else wrong)
    return rows[np.argsort(-row_losses(scores, targets, labels)[rows], kind="stable")[:k]]


def by_slice(
    values: Sequence[Any],
    scores: np.ndarray,
    targets: np.ndarray,
    labels: LabelSpace,
    metric_names: Sequence[str],
    seed: int,
    *,
    max_slices: int = 30,
    n_resamples: int = 2000,
) -> tuple[Slice, ...]:
    """Metrics per value of a column, naturally sorted; an empty value is "(empty)". `values` has one entry per row.

    With more than `max_slices` different values the largest groups are shown and the rest are one slice, "(N other values)", at the end.
    """
    scores, targets = checked(scores, targets, labels)
    if len(values) != len(targets):
        raise DataError(f"slice: expected one value per row, {len(targets):,} in all, got {len(values):,}.")
    code: dict[str, int] = {}
    slice_of_row = np.fromiter((code.setdefault(_word(value), len(code)) for value in values), dtype=np.int64, count=len(values))
    words = list(code)
    order = np.argsort(-np.bincount(slice_of_row), kind="stable")
    kept = order if len(words) <= max_slices else order[: max_slices - 1]
    groups = {words[index]: np.flatnonzero(slice_of_row == index) for index in kept.tolist()}
    ordered = {word: groups[word] for word in naturally(list(groups))}
    if len(kept) < len(words):
        ordered[f"({len(words) - len(kept):,} other values)"] = np.flatnonzero(~np.isin(slice_of_row, kept))
    return tuple(
        Slice(word, len(rows), evaluate(scores[rows], targets[rows], labels, metric_names, seed, n_resamples=n_resamples)) for word, rows in ordered.items()
    )


def _word(value: Any) -> str:
    """A cell of any column as the name of its slice."""
    value = value.as_py() if hasattr(value, "as_py") else value
    return "(empty)" if value is None or value != value or value == "" else str(value)


# ------------------------------------------------------------------------------------------------------------------- tables


@dataclass(frozen=True)
class Listing:
    """A table before it is drawn: `str(listing)` is plain text, `console.print(listing)` draws it with rich, `show` takes what fits the output."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    numeric: frozenset[int] = frozenset()  # columns that are set flush right

    def __str__(self) -> str:
        from rich.cells import cell_len

        lines = [self.columns, *self.rows]
        widths = [max(cell_len(line[column]) for line in lines) for column in range(len(self.columns))]
        drawn = []
        for line in lines:
            cells = [
                " " * (width - cell_len(cell)) + cell if column in self.numeric else cell + " " * (width - cell_len(cell))
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            drawn.append("  ".join(cells).rstrip())
        return "\n".join([*([self.title] if self.title else []), *drawn, *self.notes])

    def __rich__(self) -> Group:
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(self.title) if self.title else None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for column, (name, least) in enumerate(zip(self.columns, _least_widths(self), strict=True)):
            justify: Literal["left", "right"] = "right" if column in self.numeric else "left"
            table.add_column(Text(name), justify=justify, overflow="fold", no_wrap=column == 0, min_width=least)
        for row in self.rows:
            table.add_row(*(Text(cell) for cell in row))
        return Group(table, *(Text(note, style="dim") for note in self.notes))


def show(listing: Listing, console: Console) -> None:
    """Draw it on a terminal that is wide enough for its words; elsewhere write plain lines, as long as they need to be (rich would cut them)."""
    if console.is_terminal and sum(width + 2 for width in _least_widths(listing)) < console.width:
        console.print(listing)
    else:
        console.file.write(f"{listing}\n")


def show_all(listings: Sequence[Listing]) -> None:
    """On standard output, with an empty line between two."""
    from rich.console import Console

    console = Console()
    for number, listing in enumerate(listings):
        if number:
            print()
        show(listing, console)


def _least_widths(listing: Listing) -> list[int]:
    """Characters of each column in which no word is cut, but for the very long ones of texts and paths; the first column is never wrapped."""
    from rich.cells import cell_len

    first, *others = zip(listing.columns, *listing.rows, strict=True)
    return [max(map(cell_len, first)), *(min(_LONG_WORD, max(cell_len(word) for cell in cells for word in (*cell.split(), ""))) for cells in others)]


def figure(estimate: Estimate, form: Form) -> str:
    """As the field prints it: `61.0 % [55.2, 66.6]`, `.280 [.150, .402]`, `0.512 [0.480, 0.544]`.

    >>> figure(Estimate(0.61, 0.552, 0.666), "percent")
    '61.0 % [55.2, 66.6]'
    """
    if form == "percent":
        return f"{100 * estimate.value:.1f} % [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"
    if form == "coefficient":
        value, low, high = (_coefficient(number) for number in (estimate.value, estimate.low, estimate.high))
    else:
        size = abs(estimate.value)
        decimals = 6 if size < 0.001 else 3 if size < 10 else 1
        value, low, high = (f"{number:,.{decimals}f}" for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def _coefficient(value: float) -> str:
    """No zero before the point, as correlations are printed."""
    text = f"{value:.3f}"
    text = "0.000" if text == "-0.000" else text
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text


def results_table(dev_scores: Sequence[DevScores], *, title: str = "", notes: Sequence[str] = (), what: str = "dev set") -> Listing:
    """One line per set of rows and metric, one column per predictor; footnotes say all that a figure alone would hide. what: a set is (a dev set, a file)."""
    names = list(dict.fromkeys(name for each in dev_scores for name in each.columns))
    rows = []
    footnotes = list(notes)
    for each in dev_scores:
        footnotes += [f"{each.dev}: {note}" for note in each.notes]
        if each.n_rows < _FEW_ROWS:
            footnotes.append(f"{each.dev}: {each.n_rows} row{'s are' if each.n_rows > 1 else ' is'} too few for an interval to be trusted.")
        metric_names = list(dict.fromkeys(metric for estimates in each.columns.values() for metric in estimates))
        for line, metric_name in enumerate(metric_names):
            metric = catalogue.find("metrics", metric_name)
            estimates = {name: each.columns[name][metric_name] for name in names if metric_name in each.columns.get(name, {})}
            cells = [figure(estimates[name], metric.form) if name in estimates else "–" for name in names]
            rows.append((each.dev if line == 0 else "", f"{each.n_rows:,}" if line == 0 else "", metric.title, *cells))
            footnotes += _remarks(each.dev, metric, estimates)
    footnotes.append(f"[low, high]: 95 % bootstrap interval over the rows of the {what}.")
    return Listing(title, (what, "rows", "metric", *names), tuple(rows), _footnotes(footnotes), frozenset({1, *range(3, 3 + len(names))}))


def _remarks(dev: str, metric: Metric, estimates: Mapping[str, Estimate]) -> list[str]:
    """What must be said of one line: where a figure is not what it seems, and where a plain baseline does better than the first column."""
    remarks = []
    sign = 1 if metric.higher_is_better else -1
    first = next(iter(estimates.values()))
    for name, estimate in estimates.items():
        if name not in ("majority", "mean"):  # these are constant by construction
            remarks += [f"{dev}, {metric.title}, {name}: {note}." for note in estimate.notes]
        if sign * estimate.value > sign * first.value:
            remarks.append(f"{dev}, {metric.title}: {name} does better than the {next(iter(estimates))}.")
    return remarks


def _footnotes(notes: Sequence[str]) -> tuple[str, ...]:
    """Each said once."""
    return tuple(dict.fromkeys(one_line(note, 500) for note in notes))


def confusion_table(matrix: np.ndarray, labels: LabelSpace, *, title: str = "confusion") -> Listing:
    """Truth by row, prediction by column, with the share of each class that was found; for more than 12 classes the 20 largest confusions.

    For multi-label tasks one line per label: found, missed, false alarms, precision and recall. matrix: what `confusion` returns.
    """
    names = [one_line(name, 30) for name in labels.names]
    if labels.kind == "multilabel":
        return _label_counts(matrix, names, title)
    if len(names) > _MAX_CLASSES:
        return _largest_confusions(matrix, names, title)
    columns = ("truth / predicted", *names, "rows", "found")
    rows = []
    for at, (name, line) in enumerate(zip(names, matrix, strict=True)):
        rows.append((name, *(f"{count:,}" for count in line), f"{line.sum():,}", _share(line[at], line.sum())))
    return Listing(title, columns, tuple(rows), (), frozenset(range(1, len(columns))))


def _label_counts(matrix: np.ndarray, names: Sequence[str], title: str) -> Listing:
    columns = ("label", "rows with it", "found", "missed", "false alarms", "precision", "recall")
    rows = []
    for name, ((_, false), (missed, found)) in zip(names, matrix.tolist(), strict=True):
        counts = (found + missed, found, missed, false)
        rows.append((name, *(f"{count:,}" for count in counts), _share(found, found + false), _share(found, found + missed)))
    return Listing(title, columns, tuple(rows), (), frozenset(range(1, len(columns))))


def _largest_confusions(matrix: np.ndarray, names: Sequence[str], title: str) -> Listing:
    totals = matrix.sum(axis=1)
    wrong = matrix - np.diag(np.diag(matrix))
    largest = [divmod(int(cell), len(names)) for cell in np.argsort(-wrong, axis=None, kind="stable")[:20] if wrong.flat[cell]]
    rows = tuple((names[true], names[other], f"{wrong[true, other]:,}", _share(wrong[true, other], totals[true])) for true, other in largest)
    note = f"the {len(largest)} largest of {np.count_nonzero(wrong):,} confusions of {len(names)} classes."
    return Listing(title, ("truth", "predicted as", "rows", "share of truth"), rows, (note,), frozenset({2, 3}))


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def mistakes_table(
    mistakes: Sequence[int] | np.ndarray,
    scores: np.ndarray,
    targets: np.ndarray,
    labels: LabelSpace,
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    *,
    where: Sequence[Any] | None = None,
    place: str = "row",
    title: str = "worst mistakes",
    max_chars: int = 200,
) -> Listing:
    """One line per mistake with its text: truth, prediction, and how sure the model was of each (regression: the two values and the difference).

    mistakes: indices from `worst_mistakes`. texts, pairs: of all rows, anything that can be indexed. where: what the first column says of each row,
    its line in the file, say; without it the index; place: what that is.
    """
    truth_of, said_of, sure_of = _said(scores, targets, labels)
    rows = []
    for index in map(int, mistakes):
        text = _text(texts[index])
        if pairs is not None:
            text = f"{one_line(text, max_chars // 2)} | {one_line(_text(pairs[index]), max_chars // 2)}"
        rows.append((str(index if where is None else where[index]), truth_of(index), said_of(index), sure_of(index), one_line(text, max_chars)))
    sure = "difference" if labels.kind == "regression" else "p(truth)" if labels.kind != "multilabel" else "worst p"
    columns = (place, "truth", "prediction", sure, "text" if pairs is None else "text | pair")
    return Listing(title, columns, tuple(rows), () if rows else ("none: every row is right.",), frozenset({0, 3}))


def _said(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> tuple[Any, Any, Any]:
    """Functions of a row index: its truth, its prediction and how sure that was, in words."""
    scores, targets = checked(scores, targets, labels)
    predicted, sure = predictions(scores, labels), probabilities(scores, labels)
    names = [one_line(name, 30) for name in labels.names]
    if labels.kind == "regression":
        return lambda i: f"{targets[i]:.4g}", lambda i: f"{predicted[i]:.4g}", lambda i: f"{predicted[i] - targets[i]:+.4g}"
    if labels.kind == "multilabel":
        listed = lambda chosen: "; ".join(names[label] for label in np.flatnonzero(chosen)) or "(none)"  # noqa: E731
        truth = np.where(targets == 1, sure, 1 - sure)
        return lambda i: listed(targets[i]), lambda i: listed(predicted[i]), lambda i: f"{truth[i].min():.3f}"
    return lambda i: names[targets[i]], lambda i: f"{names[predicted[i]]} ({sure[i, predicted[i]]:.2f})", lambda i: f"{sure[i, targets[i]]:.3f}"


def slices_table(column: str, slices: Sequence[Slice], *, title: str = "") -> Listing:
    """One line per value of a column: rows, and each metric with its interval."""
    metrics = {name: catalogue.find("metrics", name) for name in dict.fromkeys(name for each in slices for name in each.estimates)}
    column = one_line(column, 40)
    titles = [metric.title for metric in metrics.values()]
    rows = [
        (one_line(each.value, 40), f"{each.n_rows:,}", *(figure(each.estimates[name], metric.form) for name, metric in metrics.items())) for each in slices
    ]
    small = [each for each in slices if each.n_rows < _FEW_ROWS]
    notes = [
        f"{each.value}, {metrics[name].title}: {note}." for each in slices if each not in small for name, one in each.estimates.items() for note in one.notes
    ]
    if small:
        notes.append(f"slices of fewer than {_FEW_ROWS} rows: {len(small)}; their intervals are not to be trusted.")
    return Listing(title or f"by {column}", (column, "rows", *titles), tuple(rows), _footnotes(notes), frozenset(range(1, 2 + len(titles))))


def _text(value: Any) -> str:
    """A string, also from a pyarrow scalar."""
    return str(value.as_py() if hasattr(value, "as_py") else value)


def one_line(text: str, max_chars: int) -> str:
    """Text of a user's file, made safe to print: no line breaks, no terminal escapes or changes of direction, at most max_chars characters."""
    head = text[: 4 * max_chars]
    line = printable(" ".join(head.split()))
    return line if len(line) <= max_chars and len(head) == len(text) else line[: max_chars - 1] + "…"

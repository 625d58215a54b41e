"""Findings on a data file before anything is trained on it, as tables and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from encore.data.checks import copies_per_row
from encore.data.columns import Columns
from encore.data.dataset import Dataset
from encore.data.groups import group_numbers
from encore.data.label_cells import distinct_values, is_label_type
from encore.data.label_columns import label_columns
from encore.data.table import Table, join_limited, plural
from encore.evaluation.doubt import doubts, out_of_fold_scores
from encore.report.page import Notes, Page, Section
from encore.tables.listing import Listing
from encore.types import LabelSpace

__all__ = ["FileCheck", "check_page", "check_tables", "contradictions", "suspicious_columns"]

_MOST_SHOWN = 20
_UNEVEN = 10  # times as many rows as the rarest label has
_LEAK = 0.98  # share of rows whose label another column determines


@dataclass(frozen=True)
class FileCheck:
    """The findings on a file.

    name: the file. notes: what was inferred and what qualifies figures. labels: {label: rows}, {}
    for a regression. n_copies: rows that repeat a text. conflicts: the places and labels of each
    text that has several. lengths: {set of rows: tokens of each row}. doubted: places, doubts and
    labels of the rows whose label is doubted most; () without folds.
    """

    name: str
    rows: int
    notes: tuple[str, ...]
    labels: Mapping[str, int]
    n_copies: int
    conflicts: tuple[tuple[str, str, str], ...]
    lengths: Mapping[str, np.ndarray]
    suspicious: tuple[str, ...]
    doubted: tuple[tuple[str, str, str, str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The findings as plain data."""
        doubted = ("line", "doubt", "label", "likelier", "text")
        return {
            "file": self.name,
            "rows": self.rows,
            "notes": list(self.notes),
            "labels": dict(self.labels),
            "copies": self.n_copies,
            "contradictory": [
                dict(zip(("lines", "labels", "text"), one, strict=True)) for one in self.conflicts
            ],
            "tokens": {name: _quantiles(found) for name, found in self.lengths.items()},
            "suspicious": list(self.suspicious),
            "doubted": [dict(zip(doubted, one, strict=True)) for one in self.doubted],
        }


def label_rows(dataset: Dataset, labels: LabelSpace) -> dict[str, int]:
    """{label: rows that have it}; {} for a regression."""
    if dataset.targets is None or labels.kind == "regression":
        return {}
    counts = (
        dataset.targets.sum(axis=0).astype(int)
        if labels.kind == "multilabel"
        else np.bincount(dataset.targets, minlength=len(labels.names))
    )
    return dict(zip(labels.names, counts.tolist(), strict=True))


def group_lines(dataset: Dataset, column: str | None) -> list[str]:
    """A line on the groups of the rows; none without a column that says them."""
    codes = group_numbers(dataset.groups)
    if codes is None:
        return []
    rows = np.bincount(np.unique(codes, return_inverse=True)[1])
    return [
        f"'{column}' says which rows belong together: {plural(len(rows), 'group')}, the largest of "
        f"{plural(int(rows.max()), 'row')}"
    ]


def imbalance(counts: Mapping[str, int]) -> list[str]:
    """A line where a label is much rarer than another."""
    if len(counts) < 2:
        return []
    least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if counts[most] < _UNEVEN * max(counts[least], 1):
        return []
    return [
        f"'{most}' has {plural(counts[most], 'row')} and '{least}' {counts[least]:,}: a model may "
        f"never predict '{least}'; try class_weights=balanced"
    ]


def contradictions(dataset: Dataset, labels: LabelSpace) -> tuple[tuple[str, str, str], ...]:
    """The lines, the labels and the text of the texts that have several labels, in the order of
    the file.
    """
    if dataset.targets is None or labels.kind in ("regression", "multilabel"):
        return ()
    codes = copies_per_row(dataset)
    several = np.unique(np.stack([codes, dataset.targets], axis=1), axis=0)[:, 0]
    wrong = np.flatnonzero(np.bincount(several) > 1)
    if not len(wrong):
        return ()
    found = []
    for code in wrong[np.argsort([np.argmax(codes == code) for code in wrong])]:
        rows = np.flatnonzero(codes == code).tolist()
        names = dict.fromkeys(labels.names[dataset.targets[row]] for row in rows)
        places = join_limited([place(dataset, row) for row in rows], 6)
        found.append((places, ", ".join(names), _short(dataset.texts[rows[0]].as_py())))
    return tuple(found)


def suspicious_columns(table: Table, columns: Columns) -> tuple[str, ...]:
    """Lines on columns that look wrong: one value only, or a value that gives the label away."""
    names = table.columns.column_names
    if columns.label is None or columns.label not in names:
        return ()
    used = (columns.text, columns.text_pair, *label_columns(names, columns.label))
    lines = []
    for name in names:
        column = table.columns[name]
        if not is_label_type(column.type) or str(column.type).startswith("list"):
            continue
        n_values = pc.count_distinct(column).as_py()
        if n_values == 1 and len(table) > 1:
            lines.append(f"column '{name}' holds the same value in every row")
        elif name not in used and n_values <= max(20, 0.05 * len(table)):
            share = _determined(table, name, columns.label)
            if share >= _LEAK:
                lines.append(
                    f"column '{name}' gives the label away in {share:.0%} of the rows: do not use "
                    f"it as text"
                )
    return tuple(lines)


def _determined(table: Table, name: str, label: str) -> float:
    """The share of the rows whose label is the commonest one of their value of the column; 0
    where the label's own majority is nearly as good.
    """
    if str(table.columns[label].type).startswith("list"):
        return 0.0
    values, labels = distinct_values(table.columns[name]), distinct_values(table.columns[label])
    known = (values.codes >= 0) & (labels.codes >= 0)
    if not known.any() or len(labels.words) > 0.5 * len(table):
        return 0.0
    counts = np.zeros((len(values.words), len(labels.words)), dtype=np.int64)
    np.add.at(counts, (values.codes[known], labels.codes[known]), 1)
    majority = counts.sum(axis=0).max() / known.sum()
    share = counts.max(axis=1).sum() / known.sum()
    return float(share) if 1 - majority > 5 * (1 - share) else 0.0


def doubted_rows(
    dataset: Dataset, labels: LabelSpace, n_folds: int, *, seed: int, most: int = _MOST_SHOWN
) -> tuple[tuple[str, str, str, str, str], ...]:
    """Line, doubt, label, likelier label and text of the rows whose label the model of the other
    folds doubts most, the worst first.
    """
    assert dataset.targets is not None
    scores = out_of_fold_scores(dataset, labels, n_folds, seed=seed)
    doubt = doubts(scores, dataset.targets, labels)
    return tuple(
        (
            place(dataset, row),
            f"{doubt[row]:.3f}",
            _label_of(dataset.targets[row], labels),
            _predicted(scores[row], labels),
            _short(dataset.texts[row].as_py()),
        )
        for row in np.argsort(-doubt, kind="stable")[:most].tolist()
    )


def _label_of(target: Any, labels: LabelSpace) -> str:
    if labels.kind == "regression":
        return f"{target:.4g}"
    if labels.kind == "multilabel":
        return ", ".join(labels.names[at] for at in np.flatnonzero(target)) or "none"
    return labels.names[int(target)]


def _predicted(scores: np.ndarray, labels: LabelSpace) -> str:
    if labels.kind == "regression":
        return f"{scores[0]:.4g}"
    return _label_of(scores > 0 if labels.kind == "multilabel" else scores.argmax(), labels)


def place(dataset: Dataset, row: int) -> str:
    """The line of a row; its number in the file, from 1, where there are no lines."""
    return str(dataset.rows[row] + 1 if dataset.lines is None else dataset.lines[row])


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{line[:99]}…"


def _quantiles(lengths: np.ndarray) -> dict[str, int]:
    marks = {"median": 0.5, "95 %": 0.95, "longest": 1.0}
    return {name: int(np.quantile(lengths, mark, method="higher")) for name, mark in marks.items()}


def check_tables(check: FileCheck) -> list[Listing]:
    """The findings as tables: labels, lengths, contradictory labels, doubted labels."""
    tables = []
    if check.labels:
        total = max(check.rows, 1)
        rows = tuple(
            (name, f"{count:,}", f"{count / total:.1%}") for name, count in check.labels.items()
        )
        title = f"labels of {plural(check.rows, 'row')}"
        tables.append(Listing(title, ("label", "rows", "share"), rows, (), frozenset({1, 2})))
    found = {name: _quantiles(lengths) for name, lengths in check.lengths.items()}
    marks = tuple(next(iter(found.values()), {}))
    lengths = tuple((name, *(f"{one[mark]:,}" for mark in marks)) for name, one in found.items())
    tables.append(Listing("tokens of a row", ("rows", *marks), lengths, (), frozenset({1, 2, 3})))
    tables += _examples("texts with several labels", ("lines", "labels", "text"), check.conflicts)
    columns = ("line", "doubt", "label", "likelier", "text")
    title = "most doubtful labels, by a model of the other rows"
    return tables + _examples(title, columns, check.doubted)


def _examples(
    title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]
) -> list[Listing]:
    if not rows:
        return []
    more = len(rows) - _MOST_SHOWN
    notes = (f"… and {more:,} more",) if more > 0 else ()
    return [Listing(title, columns, tuple(rows[:_MOST_SHOWN]), notes)]


def check_lines(check: FileCheck) -> list[str]:
    """The findings that are sentences."""
    copies = [f"{plural(check.n_copies, 'row')} repeat a text"] if check.n_copies else []
    return [*copies, *imbalance(check.labels), *check.suspicious]


def check_page(check: FileCheck) -> Page:
    """The findings as a page in the style of the reports."""
    sections = [
        Section(table.title, (Listing("", *_rest(table)),)) for table in check_tables(check)
    ]
    findings = tuple(check_lines(check)) or ("nothing suspicious was found",)
    return Page(
        title=f"Check of {check.name}",
        about=plural(check.rows, "row"),
        name="check",
        lead=(Notes(check.notes),),
        sections=(Section("Findings", (Notes(findings),)), *sections),
    )


def _rest(table: Listing) -> tuple[Any, ...]:
    return table.columns, table.rows, table.notes, table.numeric

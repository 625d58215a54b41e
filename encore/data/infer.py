"""Infers which columns hold the texts and the label where that is clear, and asks where it is
not: equals are never guessed between.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from encore.data.columns import Columns, holds_text, require_text
from encore.data.label_cells import (
    INTEGER,
    NUMBER,
    WRITTEN_NUMBER,
    distinct_values,
    is_label_type,
    natural_order,
)
from encore.data.labels import read_vocabulary
from encore.data.settings import DataSettings
from encore.data.table import Table, join_limited, reject, reject_all
from encore.errors import DataError, Problem, did_you_mean
from encore.types import Note

__all__ = ["infer_columns"]

_PAIRS = (
    ("text_a", "text_b"),
    ("text", "text_pair"),
    ("text1", "text2"),
    ("text_1", "text_2"),
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("sentence_a", "sentence_b"),
    ("sent1", "sent2"),
    ("question1", "question2"),
    ("question_1", "question_2"),
    ("question_a", "question_b"),
    ("premise", "hypothesis"),
    ("anchor", "positive"),
    ("query", "passage"),
    ("query", "document"),
    ("question", "sentence"),
    ("question", "passage"),
    ("question", "answer"),
)
_TEXTS = (
    "text",
    "sentence",
    "review",
    "review_text",
    "review_body",
    "reviewtext",
    "comment",
    "comment_text",
    "content",
    "body",
    "message",
    "tweet",
    "document",
    "utterance",
    "post",
    "description",
    "abstract",
    "question",
    "query",
    "headline",
    "summary",
    "title",
)
# The first group with exactly one column in the table wins; two of one group are equals.
_LABELS = (
    ("label", "labels"),
    (
        "gold_label",
        "class",
        "target",
        "targets",
        "sentiment",
        "stars",
        "star_rating",
        "rating",
        "ratings",
        "score",
        "similarity",
        "y",
        "is_duplicate",
        "duplicate",
        "same",
        "same_question",
    ),
    (
        "category",
        "categories",
        "intent",
        "topic",
        "topics",
        "tags",
        "emotion",
        "emotions",
        "stance",
        "polarity",
    ),
)
_UNNAMED = re.compile(r"column_\d+")  # what `read_table` calls a column without a name


def infer_columns(table: Table, settings: DataSettings) -> Columns:
    """Find the columns that `settings` (text, text_pair, label) leave out, and what the labels are
    (kind, labels).

    Raises DataError where a named column does not exist, where two columns are equally likely,
    where the labels have one class only, or where nearly every row has a label of its own.
    """
    _check_named(table, settings)
    if settings.kind == "unlabelled":
        text, pair, text_why = _find_texts(table, settings, None)
        found = Columns(text, pair, None, "unlabelled")
        which = "no labels"
    else:
        label, label_why = (
            (settings.label, "given")
            if settings.label is not None
            else _find_label(table, [settings.text, settings.text_pair])
        )
        _require_header(table, label, label_why)
        text, pair, text_why = _find_texts(table, settings, label)
        words = read_vocabulary(table, label, settings)
        found = Columns(
            text, pair, label, words.kind, words.labels, words.ordered, words.cells, words.notes
        )
        which = f"label = '{label}' ({label_why}); {_described(found)}"
    second = f", text_pair = '{pair}'" if pair else ""
    unused = [name for name in table.columns.column_names if name not in (text, pair, found.label)]
    rest = f"; not used: {', '.join(unused)}" if unused else ""
    line = Note(f"columns: text = '{text}'{second} ({text_why}), {which}{rest}")
    return replace(found, notes=(line, *found.notes))


_ROLES = {"text": "the text", "text_pair": "the second text", "label": "the label"}


def _check_named(table: Table, settings: DataSettings) -> None:
    """Raise DataError where a named column does not exist or is named twice."""
    names = table.columns.column_names
    given = {role: name for role in _ROLES if (name := getattr(settings, role)) is not None}
    problems = [
        Problem(
            where=table.name,
            setting=f"data.{role}",
            message=f"no column '{name}' ({_ROLES[role]}).",
            remedy=f"{did_you_mean(name, names)} Name one:",
            change="NAME",
        )
        for role, name in given.items()
        if name not in names
    ]
    if not problems and len(set(given.values())) < len(given):
        twice = " and ".join(f"{_ROLES[role]} ('{name}')" for role, name in given.items())
        problems = [Problem(where=table.name, message=f"one column cannot be both {twice}.")]
    if problems:
        reject_all(problems)


def _require_header(table: Table, label: str, why: str) -> None:
    """Raise DataError where a column is called what its own cells hold: its first row was taken
    for the names.
    """
    if (
        why not in ("given", "by its name")
        and holds_text(table, label)
        and label in distinct_values(table.columns[label]).words
    ):
        reject(
            table.name,
            f"the first line looks like a row, not like column names: '{label}' is also what the "
            f"rows below hold.",
            "Put the column names on top, such as: text,label",
        )


def _described(columns: Columns) -> str:
    if columns.kind == "regression":
        return "a number per row (regression)"
    names = join_limited([repr(name) if "," in name else name for name in columns.labels], 12)
    what = {
        "binary": "two classes",
        "multiclass": f"{len(columns.labels)} classes",
        "multilabel": f"any of {len(columns.labels)} labels",
    }[columns.kind]
    positive = f" (positive: {columns.labels[1]})" if columns.kind == "binary" else ""
    return f"{what}: {names}{positive}"


def _plain(name: str) -> str:
    return re.sub(r"[\s\-.]+", "_", name.strip().lower())


def _find_label(table: Table, taken: Sequence[str | None]) -> tuple[str, str]:
    """The label column and how it was found."""
    names = [name for name in table.columns.column_names if name not in taken]
    by_name = next(
        (
            found
            for group in _LABELS
            if (found := [name for name in names if _plain(name) in group])
        ),
        [],
    )
    if len(by_name) == 1:
        return by_name[0], "by its name"
    pool = by_name or [name for name in names if _looks_categorical(table, name)]
    if len(pool) == 1:
        return pool[0], "the only column with few different values"
    for name in pool:
        _require_header(table, name, "a guess")
    if pool:
        choices = ", ".join(f"'{name}' ({_sample(table, name)})" for name in pool[:6])
        _ask(table, f"several columns could hold the label: {choices}.", "label")
    _reject_all_columns(table, "no column looks like a label", names, "label")


def _find_texts(
    table: Table, settings: DataSettings, label: str | None
) -> tuple[str, str | None, str]:
    """The text column, the second one if any, and how they were found."""
    text, pair = settings.text, settings.text_pair
    if text is not None:
        require_text(table, text, pair)
        return text, pair, "given"
    names = [
        name
        for name in table.columns.column_names
        if name not in (label, pair) and holds_text(table, name)
    ]
    plain = {_plain(name): name for name in reversed(names)}
    if pair is None:
        for first, second in _PAIRS:
            if first in plain and second in plain:
                return plain[first], plain[second], "by their names"
    else:
        require_text(table, None, pair)
    by_name = next((plain[word] for word in _TEXTS if word in plain), None)
    if by_name is not None:
        return by_name, pair, "by its name"
    wordy = [name for name in names if _looks_wordy(table, name)] or names
    if len(wordy) == 1:
        return wordy[0], pair, "the only column of texts"
    if wordy:
        choices = join_limited([f"'{name}'" for name in wordy])
        hint = "For pairs of texts, name text_pair too."
        _ask(table, f"several columns could hold the text: {choices}. {hint}", "text")
    besides = "" if label is None else f" besides the label '{label}'"
    _reject_all_columns(table, f"no column of texts{besides}", table.columns.column_names, "text")


def _ask(table: Table, message: str, role: str, hint: str = "") -> NoReturn:
    """Raise DataError; the remedy is to name the column of this role, then the hint."""
    raise DataError(
        Problem(
            where=table.name,
            message=message,
            remedy=f"{hint} Say which:".lstrip(),
            setting=f"data.{role}",
            change="NAME",
        )
    )


def _reject_all_columns(table: Table, what: str, names: Sequence[str], role: str) -> NoReturn:
    """List the columns that are there: of a csv file, whose header may be missing, the names; of
    others the types too.
    """
    if table.path.suffix.lower() in (".csv", ".tsv"):
        listed = ", ".join(names[:12])
        hint = "The first line of the file must hold the column names, such as: text,label."
    else:
        listed, hint = ", ".join(f"{name}: {table.columns[name].type}" for name in names[:12]), ""
    _ask(table, f"{what} (columns: {listed}).", role, hint)


def _looks_wordy(table: Table, name: str) -> bool:
    head = [value for value in table.columns[name].slice(0, 200).to_pylist() if value]
    return bool(head) and sum(" " in value.strip() for value in head) > 0.5 * len(head)


def _looks_categorical(table: Table, name: str) -> bool:
    """True for few different values that recur, short ones: no id, no text."""
    column = table.columns[name]
    if not is_label_type(column.type):
        return False
    if pa.types.is_list(column.type):
        return True
    if _plain(name) in ("id", "idx", "index", "guid") or _UNNAMED.fullmatch(name):
        return False
    n_distinct = pc.count_distinct(column).as_py()
    if pa.types.is_floating(column.type):
        return True
    if holds_text(table, name) and n_distinct <= max(20, 0.1 * len(table)):
        longest = max((len(value) for value in pc.unique(column).to_pylist() if value), default=0)
        return longest <= 60 and n_distinct < max(2, 0.7 * len(table))
    if holds_text(table, name):
        head = [value.strip() for value in column.slice(0, 500).to_pylist() if value]
        return (
            bool(head)
            and all(NUMBER.fullmatch(value) or WRITTEN_NUMBER.fullmatch(value) for value in head)
            and not all(map(INTEGER.fullmatch, head))
        )
    return n_distinct < max(2, 0.7 * len(table))


def _sample(table: Table, name: str) -> str:
    column = table.columns[name]
    if pa.types.is_nested(column.type):
        return "lists"
    words = natural_order(
        [
            str(value)
            for value in pc.unique(column.slice(0, 2000)).to_pylist()
            if value not in (None, "")
        ]
    )
    return ", ".join(words[:4]) + (", …" if len(words) > 4 else "")

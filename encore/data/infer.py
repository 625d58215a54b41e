"""Infers which columns hold the texts and the label, where that is clear; asks where it is not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from encore.data.columns import (
    INTEGER,
    NUMBER,
    WRITTEN_NUMBER,
    Columns,
    distinct_values,
    is_label_type,
    natural_order,
)
from encore.data.labels import with_labels
from encore.data.table import Table, complain
from encore.errors import did_you_mean
from encore.types import TaskKind

__all__ = ["infer_columns", "require_text"]

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
# the first group that has exactly one column in the table wins; two of one group are equals
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


# ---------------------------------------------------------------------------------------- inference


def infer_columns(
    table: Table,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    kind: TaskKind | None = None,
    labels: Sequence[str] | Mapping[str, str] | None = None,
) -> Columns:
    """Find the columns that nobody named, and what the labels are.

    `labels`: the names in the order wanted, or {what a cell holds: its name}. Raises DataError
    where a named column does not exist, where two columns are equally likely, where the labels have
    one class only, or where nearly every row has a label of its own.
    """
    names = table.columns.column_names
    options = {"--text": text, "--text-pair": text_pair, "--label": label}
    missing = [
        f"{table.name}: no column '{given}' ({option}). {did_you_mean(given, names)}"
        for option, given in options.items()
        if given is not None and given not in names
    ]
    given = [value for value in options.values() if value is not None]
    if not missing and len(set(given)) < len(given):
        missing = [
            f"{table.name}: "
            f"{', '.join(f'{option} {value}' for option, value in options.items() if value)}: "
            f"one column cannot serve twice."
        ]
    if missing:
        complain(missing)
    if kind == "unlabelled":
        text_found, pair_found, text_why = _find_texts(table, text, text_pair, None)
        found, which = Columns(text_found, pair_found, None, kind), "no labels"
    else:
        label_found, label_why = (
            (label, "given") if label is not None else _find_label(table, [text, text_pair])
        )
        _require_header(table, label_found, label_why)
        text_found, pair_found, text_why = _find_texts(table, text, text_pair, label_found)
        found = with_labels(
            table,
            text=text_found,
            text_pair=pair_found,
            label=label_found,
            kind=kind,
            labels=labels,
        )
        which = f"label = '{label_found}' ({label_why}); {_described(found)}"
    pair = f", text_pair = '{pair_found}'" if pair_found else ""
    unused = [name for name in names if name not in (found.text, found.text_pair, found.label)]
    line = f"columns: text = '{text_found}'{pair} ({text_why}), {which}" + (
        f"; not used: {', '.join(unused)}" if unused else ""
    )
    return replace(found, notes=(line, *found.notes))


def _require_header(table: Table, label: str, why: str) -> None:
    """A column that is called what its own cells hold had its first row taken for its name."""
    if (
        why not in ("given", "by its name")
        and _is_text(table, label)
        and label in distinct_values(table.columns[label]).words
    ):
        complain(
            [
                f"{table.name}: the first line looks like a row, not like column names: "
                f"'{label}' is also what the rows below hold. "
                "Put the column names on top, such as: text,label"
            ]
        )


def _described(columns: Columns) -> str:
    if columns.kind == "regression":
        return "a number per row (regression)"
    names = ", ".join(repr(name) if "," in name else name for name in columns.labels[:12]) + (
        ", …" if len(columns.labels) > 12 else ""
    )
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
        complain(
            [
                f"{table.name}: several columns could hold the label: {choices}. Say which: "
                f"--label NAME"
            ]
        )
    _complain_of_none(table, "no column looks like a label", names, "--label")


def _find_texts(
    table: Table, text: str | None, pair: str | None, label: str | None
) -> tuple[str, str | None, str]:
    if text is not None:
        require_text(table, [text, pair])
        return text, pair, "given"
    names = [
        name
        for name in table.columns.column_names
        if name not in (label, pair) and _is_text(table, name)
    ]
    plain = {_plain(name): name for name in reversed(names)}
    if pair is None:
        for first, second in _PAIRS:
            if first in plain and second in plain:
                return plain[first], plain[second], "by their names"
    else:
        require_text(table, [pair])
    by_name = next((plain[word] for word in _TEXTS if word in plain), None)
    if by_name is not None:
        return by_name, pair, "by its name"
    wordy = [name for name in names if _looks_wordy(table, name)] or names
    if len(wordy) == 1:
        return wordy[0], pair, "the only column of texts"
    if wordy:
        choices = ", ".join(f"'{name}'" for name in wordy[:8])
        complain(
            [
                f"{table.name}: several columns could hold the text: {choices}. Say which: "
                f"--text NAME (and --text-pair NAME for a pair of texts)"
            ]
        )
    besides = "" if label is None else f" besides the label '{label}'"
    _complain_of_none(table, f"no column of texts{besides}", table.columns.column_names, "--text")


def _complain_of_none(table: Table, what: str, names: Sequence[str], option: str) -> NoReturn:
    """What is there instead: of a csv file, whose header may be missing, the names; of others the
    types too.
    """
    if table.path.suffix.lower() in (".csv", ".tsv"):
        listed, header = (
            ", ".join(names[:12]),
            " The first line of the file must hold the column names, such as: text,label",
        )
    else:
        listed, header = ", ".join(f"{name}: {table.columns[name].type}" for name in names[:12]), ""
    complain([f"{table.name}: {what} (columns: {listed}). Say which: {option} NAME.{header}"])


def require_text(table: Table, names: Sequence[str | None]) -> None:
    """Raises DataError where one of these columns holds anything but text."""
    wrong = [name for name in names if name is not None and not _is_text(table, name)]
    if wrong:
        expected = "expected text. Name another column with --text or --text-pair."
        complain(
            [
                f"{table.name}: column '{name}' holds {table.columns[name].type}, {expected}"
                for name in wrong
            ]
        )


def _is_text(table: Table, name: str) -> bool:
    kind = table.columns[name].type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _looks_wordy(table: Table, name: str) -> bool:
    head = [value for value in table.columns[name].slice(0, 200).to_pylist() if value]
    return bool(head) and sum(" " in value.strip() for value in head) > 0.5 * len(head)


def _looks_categorical(table: Table, name: str) -> bool:
    """Few different values that recur, short ones: no id, no text."""
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
    if _is_text(table, name) and n_distinct <= max(20, 0.1 * len(table)):
        longest = max((len(value) for value in pc.unique(column).to_pylist() if value), default=0)
        return longest <= 60 and n_distinct < max(2, 0.7 * len(table))
    if _is_text(table, name):
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

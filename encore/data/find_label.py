"""Finds the label column of a table; where two could be it, an error requires its name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Container, Sequence
from typing import NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from encore.data.columns import holds_text
from encore.data.label_cells import (
    INTEGER,
    NUMBER,
    WRITTEN_NUMBER,
    distinct_values,
    is_label_type,
    natural_order,
    without_zeros,
)
from encore.data.table import Table, reject
from encore.errors import DataError, Problem

__all__ = [
    "require_name",
    "find_label",
    "names_of_labels",
    "plain_name",
    "reject_all_columns",
    "require_header",
]

_LABEL = ("label", "labels")  # one column of this name is the label, whatever else there is
# The first group with a column in the table is what counts; two of one group are equals.
_LABELS = (
    _LABEL,
    (
        "gold_label",
        "label_text",
        "label_name",
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
# Columns about a row, of which few are the label: beside a better candidate, they are ignored.
_ABOUT = (
    "split",
    "fold",
    "set",
    "partition",
    "lang",
    "language",
    "locale",
    "source",
    "origin",
    "author",
    "user",
    "username",
    "url",
    "link",
    "date",
    "time",
    "year",
    "month",
    "day",
    "annotator",
    "annotators",
    "worker",
    "version",
)
_IDS = ("id", "idx", "index", "guid", "uid", "uuid", "nr", "no", "row")
_NAMES_OF = ("{}_name", "{}_text", "{}_names", "{}_str", "{}_string", "{}_title", "{}_label")
_UNNAMED = re.compile(r"column_\d+")  # what `read_table` calls a column without a name
_MARKS = (frozenset(("0", "1")), frozenset(("false", "true")))
_ANSWERS = (*_MARKS, frozenset(("no", "yes")), frozenset(("n", "y")))
_MOST_CLASSES = 20  # of an unnamed column that is a candidate beside a named one
_MOST_COLUMNS = 40  # in a command to copy


def find_label(
    table: Table, taken: Sequence[str | None], texts: Container[str] = ()
) -> tuple[str, str]:
    """The label column and how it was found. taken: columns that serve as something else. texts:
    names in lower case that columns of texts usually have.

    Raises DataError where several columns could be the label, and where none could.
    """
    names = [name for name in table.columns.column_names if name not in taken]
    named = next(
        (
            found
            for group in _LABELS
            if (found := [name for name in names if plain_name(name) in group])
        ),
        [],
    )
    if len(named) == 1 and plain_name(named[0]) in _LABEL:
        return named[0], "by its name"
    if named:
        others = [name for name in names if name not in named and plain_name(name) not in texts]
        pool = [*named, *_rivals(table, named, others)]
    else:
        pool = [name for name in names if _looks_categorical(table, name)]
    pool = [name for name in names if name in pool and not _names_another(table, name, pool)]
    if len(pool) == 1:
        return pool[0], "by its name" if named else "the only column with few different values"
    for name in pool:
        require_header(table, name, "a guess")
    if pool:
        _reject_rivals(table, pool)
    reject_all_columns(table, "no column looks like a label", names, "label")


def _rivals(table: Table, named: Sequence[str], others: Sequence[str]) -> list[str]:
    """Columns that could be the label although others have a label's name: those with two answers
    (yes and no, 0 and 1), and where the named ones hold fractions, all that hold classes.
    """
    amounts = all(_holds_fractions(table, name) for name in named)
    return [
        name
        for name in others
        if plain_name(name) not in (*_ABOUT, *_IDS)
        and (_answers(table, name) in _ANSWERS or (amounts and _looks_like_classes(table, name)))
    ]


def _reject_rivals(table: Table, pool: Sequence[str]) -> NoReturn:
    """Raise DataError: name the columns that could be the label, and the options to choose."""
    marks = [name for name in pool if _answers(table, name) in _MARKS]
    choices = ", ".join(f"'{name}' ({_sample(table, name)})" for name in pool[:6])
    more = f", and {len(pool) - 6} more" if len(pool) > 6 else ""
    message = f"several columns could hold the label: {choices}{more}."
    if len(marks) < 2 or len(marks) > _MOST_COLUMNS or any("," in name for name in marks):
        require_name(table, message, "label")
    every = "all of them are" if len(marks) == len(pool) else f"the {len(marks)} with 0 and 1 are"
    raise DataError(
        Problem(
            where=table.name,
            message=message,
            remedy=f"Say which: --label NAME. If {every} labels of one task, name them together:",
            setting="data.label",
            change=shlex.quote(",".join(marks)),
        )
    )


def names_of_labels(table: Table, label: str) -> tuple[str, dict[str, str]] | None:
    """The column beside `label` that names its values ('label_name' beside 'label'), and {value:
    name} in the order of the values; None where there is none, or where a value has two names.
    """
    usual = [pattern.format(plain_name(label)) for pattern in _NAMES_OF]
    for name in table.columns.column_names:
        if plain_name(name) in usual and (found := _naming(table, label, name)):
            return name, found
    return None


def _naming(table: Table, label: str, name: str) -> dict[str, str] | None:
    """{value of `label`: its name in the column `name`}, if the values are whole numbers and each
    has one name, which no other has.
    """
    columns = table.columns
    if not holds_text(table, name) or not is_label_type(columns[label].type):
        return None
    if pa.types.is_list(columns[label].type):
        return None
    values, words = distinct_values(columns[label]), distinct_values(columns[name])
    pairs = {
        (values.words[value], words.words[word])
        for value, word in set(zip(values.codes.tolist(), words.codes.tolist(), strict=True))
        if value >= 0 and word >= 0 and values.words[value] and words.words[word]
    }
    found = {without_zeros(value): word for value, word in pairs}
    one_to_one = len(found) == len(pairs) == len(set(found.values()))
    if not (one_to_one and len(found) > 1 and all(map(INTEGER.fullmatch, found))):
        return None
    return {value: found[value] for value in natural_order(list(found))}


def _names_another(table: Table, name: str, pool: Sequence[str]) -> bool:
    """True for a column that only names the values of another candidate."""
    return any(
        plain_name(name) == pattern.format(plain_name(other))
        and _naming(table, other, name) is not None
        for other in pool
        if other != name
        for pattern in _NAMES_OF
    )


def plain_name(name: str) -> str:
    """A column's name in lower case, with '_' between its words."""
    return re.sub(r"[\s\-.]+", "_", name.strip().lower())


def require_header(table: Table, label: str, why: str) -> None:
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


def require_name(table: Table, message: str, role: str, hint: str = "") -> NoReturn:
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


def reject_all_columns(table: Table, what: str, names: Sequence[str], role: str) -> NoReturn:
    """List the columns that are there: of a csv file, whose header may be missing, the names; of
    others the types too.
    """
    if table.path.suffix.lower() in (".csv", ".tsv", ".xlsx", ".xls"):
        listed = ", ".join(names[:12])
        hint = "The first line of the file must hold the column names, such as: text,label."
    else:
        listed, hint = ", ".join(f"{name}: {table.columns[name].type}" for name in names[:12]), ""
    require_name(table, f"{what} (columns: {listed}).", role, hint)


def _looks_categorical(table: Table, name: str) -> bool:
    """True for few different values that recur, short ones: no id, no text."""
    column = table.columns[name]
    if not is_label_type(column.type):
        return False
    if pa.types.is_list(column.type):
        return True
    if plain_name(name) in _IDS or _UNNAMED.fullmatch(name):
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


def _looks_like_classes(table: Table, name: str) -> bool:
    """True for a few short words that recur: no counts, no amounts."""
    column = table.columns[name]
    if not is_label_type(column.type) or pa.types.is_list(column.type):
        return False
    if pc.count_distinct(column).as_py() > _MOST_CLASSES + 1:  # one more: null
        return False
    words = [word for word in distinct_values(column).words if word]
    if not 2 <= len(words) <= 0.5 * len(table):
        return False
    return not any(map(NUMBER.fullmatch, words)) and max(map(len, words)) <= 60


def _holds_fractions(table: Table, name: str) -> bool:
    column = table.columns[name]
    if not is_label_type(column.type) or pa.types.is_list(column.type):
        return False
    words = [word for word in distinct_values(column.slice(0, 2000)).words if word]
    numbers = [word for word in words if NUMBER.fullmatch(word)]
    return len(numbers) > 0.9 * len(words) and not all(
        INTEGER.fullmatch(without_zeros(number)) for number in numbers
    )


def _answers(table: Table, name: str) -> frozenset[str]:
    """The different values of a column in lower case, if there are two; nothing else."""
    column = table.columns[name]
    if not is_label_type(column.type) or pa.types.is_list(column.type):
        return frozenset()
    if pc.count_distinct(column.slice(0, 1000)).as_py() > 6:
        return frozenset()
    words = {without_zeros(word).lower() for word in distinct_values(column).words if word}
    return frozenset(words if len(words) == 2 else ())


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

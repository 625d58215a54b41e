"""Infers which columns hold the texts and the label where that is clear; where it is not, an error
requires their names. Between equal candidates nothing is guessed.
"""

from __future__ import annotations

from dataclasses import replace

from encore.data.columns import Columns, holds_text, require_text
from encore.data.find_label import (
    find_label,
    plain_name,
    reject_all_columns,
    require_header,
    require_name,
)
from encore.data.groups import propose_groups
from encore.data.label_columns import label_columns, with_label_column
from encore.data.labels import LabelVocabulary, read_vocabulary
from encore.data.settings import DataSettings
from encore.data.table import Table, join_limited, reject_all
from encore.errors import Complaints, DataError, Problem, did_you_mean
from encore.types import Note

__all__ = ["infer_columns", "infer_texts"]

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
_TEXT_NAMES = frozenset((*_TEXTS, *(name for pair in _PAIRS for name in pair)))


def infer_columns(table: Table, settings: DataSettings) -> Columns:
    """Find the columns that `settings` (text, text_pair, label) leave out, and what the labels are
    (kind, labels).

    Raises DataError with all problems: a named column does not exist, two columns are equally
    likely, the labels have one class only, or nearly every row has a label of its own.
    """
    if settings.kind == "unlabelled":
        return infer_texts(table, settings)
    _check_named(table, settings)
    complaints = Complaints()
    label: str | None = settings.label
    label_why = "given"
    words: LabelVocabulary | None = None
    with complaints.collecting():
        if label is None:
            taken = [settings.text, settings.text_pair]
            label, label_why = find_label(table, taken, _TEXT_NAMES)
            require_header(table, label, label_why)
        words = read_vocabulary(with_label_column(table, label), label, settings)
    with complaints.collecting():
        text, pair, text_why = _find_texts(table, settings, label)
    complaints.raise_any()
    assert words is not None
    found = Columns(
        text,
        pair,
        label,
        words.kind,
        words.labels,
        words.ordered,
        words.cells,
        words.notes,
        separator=settings.label_separator,
        merge_labels=settings.merge_labels,
        group=settings.group,
    )
    which = f"label = '{label}' ({label_why}); {_described(found)}"
    return _announced(table, found, text_why, which, words.named_by)


def infer_texts(table: Table, settings: DataSettings) -> Columns:
    """Find the columns of texts alone, as a task without labels reads them. Raises DataError."""
    _check_named(table, replace(settings, label=None))
    text, pair, why = _find_texts(table, settings, settings.label)
    negative = settings.negative if settings.kind == "unlabelled" else None
    if negative is not None:
        require_text(table, None, negative)
        if pair is None:
            raise DataError(
                Problem(
                    where=table.name,
                    setting="data.negative",
                    message="there are single texts, to which a text cannot fail to belong.",
                    remedy="Name the text that does:",
                    change="data.text_pair=NAME",
                )
            )
    found = Columns(text, pair, None, "unlabelled", negative=negative, group=settings.group)
    return _announced(table, found, why, "no labels")


def _announced(
    table: Table, found: Columns, text_why: str, labels: str, named_by: str | None = None
) -> Columns:
    """The columns with the note on them in front of the others. Raises DataError where the group is
    one of them.
    """
    names = table.columns.column_names
    labelled = label_columns(names, found.label)
    if found.group in (found.text, found.text_pair, found.negative, *labelled) and found.group:
        message = f"column '{found.group}' is read already, as a text or a label."
        remedy = "Name another column:"
        problem = Problem(where=table.name, message=message, remedy=remedy)
        raise DataError(replace(problem, setting="data.group", change="NAME"))
    own = (found.text, found.text_pair, found.negative, found.group)
    used = (*own, named_by, *labelled)
    unused = [name for name in names if name not in used]
    second = f", text_pair = '{found.text_pair}'" if found.text_pair else ""
    second += f", negative = '{found.negative}'" if found.negative else ""
    if found.group:
        labels += f"; group = '{found.group}'"
    rest = f"; not used: {', '.join(unused)}" if unused else ""
    line = Note(f"columns: text = '{found.text}'{second} ({text_why}), {labels}{rest}")
    proposed = () if found.group else propose_groups(table, unused)
    return replace(found, notes=(line, *proposed, *found.notes))


_ROLES = {
    "text": "the text",
    "text_pair": "the second text",
    "negative": "the text that does not belong",
    "label": "the label",
    "group": "the group",
}


def _check_named(table: Table, settings: DataSettings) -> None:
    """Raise DataError where a named column does not exist or is named twice."""
    names = table.columns.column_names
    given = [
        (role, name)
        for role in ("text", "text_pair", "negative", "group")
        if (name := getattr(settings, role)) is not None
    ] + [("label", name) for name in label_columns(names, settings.label)]
    problems = [
        Problem(
            where=table.name,
            setting=f"data.{role}",
            message=f"no column '{name}' ({_ROLES[role]}).",
            remedy=f"{did_you_mean(name, names)} Name one:",
            change="NAME",
        )
        for role, name in given
        if name not in names
    ]
    if not problems and len({name for _, name in given}) < len(given):
        twice = " and ".join(f"{_ROLES[role]} ('{name}')" for role, name in given)
        problems = [Problem(where=table.name, message=f"one column cannot be both {twice}.")]
    if problems:
        reject_all(problems)


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
        if name not in (*label_columns(table.columns.column_names, label), label, pair)
        and holds_text(table, name)
    ]
    plain = {plain_name(name): name for name in reversed(names)}
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
        require_name(table, f"several columns could hold the text: {choices}. {hint}", "text")
    besides = "" if label is None else f" besides the label '{label}'"
    reject_all_columns(table, f"no column of texts{besides}", table.columns.column_names, "text")


def _looks_wordy(table: Table, name: str) -> bool:
    head = [value for value in table.columns[name].slice(0, 200).to_pylist() if value]
    return bool(head) and sum(" " in value.strip() for value in head) > 0.5 * len(head)

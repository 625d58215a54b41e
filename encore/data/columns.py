"""Which column is the text, which the label, and what the labels are: inferred where nobody says, announced always, never guessed between equals."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from encore.data.read import SKIP, Table, complain, place
from encore.errors import did_you_mean
from encore.types import LabelSpace, TaskKind

__all__ = ["Columns", "infer_columns", "naturally", "read_targets", "require_text", "with_labels"]

_PAIRS = (
    ("text_a", "text_b"), ("text", "text_pair"), ("text1", "text2"), ("text_1", "text_2"),
    ("sentence1", "sentence2"), ("sentence_1", "sentence_2"), ("sentence_a", "sentence_b"), ("sent1", "sent2"),
    ("question1", "question2"), ("question_1", "question_2"), ("question_a", "question_b"),
    ("premise", "hypothesis"), ("anchor", "positive"), ("query", "passage"), ("query", "document"),
    ("question", "sentence"), ("question", "passage"), ("question", "answer"),
)  # fmt: skip
_TEXTS = (
    "text", "sentence", "review", "review_text", "review_body", "reviewtext", "comment", "comment_text", "content", "body", "message", "tweet", "document",
    "utterance", "post", "description", "abstract", "question", "query", "headline", "summary", "title",
)  # fmt: skip
_LABELS = (  # the first group that has exactly one column in the table wins; two of one group are equals
    ("label", "labels"),
    (
        "gold_label", "class", "target", "targets", "sentiment", "stars", "star_rating", "rating", "ratings", "score", "similarity", "y",
        "is_duplicate", "duplicate", "same", "same_question",
    ),
    ("category", "categories", "intent", "topic", "topics", "tags", "emotion", "emotions", "stance", "polarity"),
)  # fmt: skip
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_INTEGER = re.compile(r"[+-]?\d+")
_WHOLE = re.compile(r"([+-]?\d+)\.0+")
_WRITTEN = re.compile(r"[+-]?[$€£]? ?[+-]?(?:\d{1,3}(?:[.,'\s]\d{3})+|\d+)(?:[.,]\d+)?\s?[%$€£]?")  # '3,5', '45 %', '1.234,50 €': numbers to people
_UNNAMED = re.compile(r"column_\d+")  # what `read_table` calls a column without a name
_SPELLED = frozenset(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"])
_MISSING = frozenset(("nan", "na", "n/a", "#n/a", "null"))
_ABSENT = _MISSING | {"none", "inf", "-inf", "+inf", "infinity", "-infinity", "?", "-"}
_MOST_CLASSES_OF_NUMBERS = 20


@dataclass(frozen=True)
class Columns:
    """Where the parts of an example stand in a table, and what its labels mean.

    label: None in an unlabelled task. labels: the names in the order of the score columns; () for regression. cells: what a label cell may hold → index of its
    name.
    """

    text: str
    text_pair: str | None
    label: str | None
    kind: TaskKind
    labels: tuple[str, ...] = ()
    ordered: bool = False
    cells: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def space(self) -> LabelSpace:
        return LabelSpace(self.kind, self.labels, self.ordered)


@dataclass(frozen=True)
class _Words:
    """A label column as few distinct words and one code per row (-1: no value)."""

    words: tuple[str, ...]
    codes: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.words))


def naturally(words: Sequence[str]) -> list[str]:
    """Sorted as people sort: '10' after '9', 'v10' after 'v9', -1 before 0.

    >>> naturally(["10", "9", "-1"])
    ['-1', '9', '10']
    """
    if all(_NUMBER.fullmatch(word) for word in words):
        return sorted(words, key=lambda word: (float(word), word))
    return sorted(
        words, key=lambda word: ([(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in re.findall(r"\d+|\D+", word)], word)
    )


# ---------------------------------------------------------------------------------------------------------------- inference


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

    `labels`: the names in the order wanted, or {what a cell holds: its name}. Raises DataError where a named column does not exist, where two columns are
    equally likely, where the labels have one class only, or where nearly every row has a label of its own.
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
        missing = [f"{table.name}: {', '.join(f'{option} {value}' for option, value in options.items() if value)}: one column cannot serve twice."]
    if missing:
        complain(missing)
    if kind == "unlabelled":
        text_found, pair_found, text_why = _find_texts(table, text, text_pair, None)
        found, which = Columns(text_found, pair_found, None, kind), "no labels"
    else:
        label_found, label_why = (label, "given") if label is not None else _find_label(table, [text, text_pair])
        _require_header(table, label_found, label_why)
        text_found, pair_found, text_why = _find_texts(table, text, text_pair, label_found)
        found = with_labels(table, text=text_found, text_pair=pair_found, label=label_found, kind=kind, labels=labels)
        which = f"label = '{label_found}' ({label_why}); {_described(found)}"
    pair = f", text_pair = '{pair_found}'" if pair_found else ""
    unused = [name for name in names if name not in (found.text, found.text_pair, found.label)]
    line = f"columns: text = '{text_found}'{pair} ({text_why}), {which}" + (f"; not used: {', '.join(unused)}" if unused else "")
    return replace(found, notes=(line, *found.notes))


def _require_header(table: Table, label: str, why: str) -> None:
    """A column that is called what its own cells hold had its first row taken for its name."""
    if why not in ("given", "by its name") and _is_text(table, label) and label in _words(table.columns[label]).words:
        complain(
            [
                f"{table.name}: the first line looks like a row, not like column names: '{label}' is also what the rows below hold. "
                "Put the column names on top, such as: text,label"
            ]
        )


def _described(columns: Columns) -> str:
    if columns.kind == "regression":
        return "a number per row (regression)"
    names = ", ".join(repr(name) if "," in name else name for name in columns.labels[:12]) + (", …" if len(columns.labels) > 12 else "")
    what = {"binary": "two classes", "multiclass": f"{len(columns.labels)} classes", "multilabel": f"any of {len(columns.labels)} labels"}[columns.kind]
    positive = f" (positive: {columns.labels[1]})" if columns.kind == "binary" else ""
    return f"{what}: {names}{positive}"


def _plain(name: str) -> str:
    return re.sub(r"[\s\-.]+", "_", name.strip().lower())


def _find_label(table: Table, taken: Sequence[str | None]) -> tuple[str, str]:
    names = [name for name in table.columns.column_names if name not in taken]
    by_name = next((found for group in _LABELS if (found := [name for name in names if _plain(name) in group])), [])
    if len(by_name) == 1:
        return by_name[0], "by its name"
    pool = by_name or [name for name in names if _looks_categorical(table, name)]
    if len(pool) == 1:
        return pool[0], "the only column with few different values"
    for name in pool:
        _require_header(table, name, "a guess")
    if pool:
        choices = ", ".join(f"'{name}' ({_sample(table, name)})" for name in pool[:6])
        complain([f"{table.name}: several columns could hold the label: {choices}. Say which: --label NAME"])
    _complain_of_none(table, "no column looks like a label", names, "--label")


def _find_texts(table: Table, text: str | None, pair: str | None, label: str | None) -> tuple[str, str | None, str]:
    if text is not None:
        require_text(table, [text, pair])
        return text, pair, "given"
    names = [name for name in table.columns.column_names if name not in (label, pair) and _is_text(table, name)]
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
        complain([f"{table.name}: several columns could hold the text: {choices}. Say which: --text NAME (and --text-pair NAME for a pair of texts)"])
    besides = "" if label is None else f" besides the label '{label}'"
    _complain_of_none(table, f"no column of texts{besides}", table.columns.column_names, "--text")


def _complain_of_none(table: Table, what: str, names: Sequence[str], option: str) -> NoReturn:
    """What is there instead: of a csv file, whose header may be missing, the names; of others the types too."""
    if table.path.suffix.lower() in (".csv", ".tsv"):
        listed, header = ", ".join(names[:12]), " The first line of the file must hold the column names, such as: text,label"
    else:
        listed, header = ", ".join(f"{name}: {table.columns[name].type}" for name in names[:12]), ""
    complain([f"{table.name}: {what} (columns: {listed}). Say which: {option} NAME.{header}"])


def require_text(table: Table, names: Sequence[str | None]) -> None:
    """Raises DataError where one of these columns holds anything but text."""
    wrong = [name for name in names if name is not None and not _is_text(table, name)]
    if wrong:
        expected = "expected text. Name another column with --text or --text-pair."
        complain([f"{table.name}: column '{name}' holds {table.columns[name].type}, {expected}" for name in wrong])


def _is_text(table: Table, name: str) -> bool:
    kind = table.columns[name].type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_label_type(kind: pa.DataType) -> bool:
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return plain or (pa.types.is_list(kind) and pa.types.is_string(kind.value_type))


def _require_label(table: Table, name: str) -> None:
    kind = table.columns[name].type
    if not _is_label_type(kind):
        complain([f"{table.name}: column '{name}' holds {kind}, expected words, numbers, or lists of words. Name another column with --label."])


def _looks_wordy(table: Table, name: str) -> bool:
    head = [value for value in table.columns[name].slice(0, 200).to_pylist() if value]
    return bool(head) and sum(" " in value.strip() for value in head) > 0.5 * len(head)


def _looks_categorical(table: Table, name: str) -> bool:
    """Few different values that recur, short ones: no id, no text."""
    column = table.columns[name]
    if not _is_label_type(column.type):
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
        return bool(head) and all(_NUMBER.fullmatch(value) or _WRITTEN.fullmatch(value) for value in head) and not all(map(_INTEGER.fullmatch, head))
    return n_distinct < max(2, 0.7 * len(table))


def _sample(table: Table, name: str) -> str:
    column = table.columns[name]
    if pa.types.is_nested(column.type):
        return "lists"
    words = naturally([str(value) for value in pc.unique(column.slice(0, 2000)).to_pylist() if value not in (None, "")])
    return ", ".join(words[:4]) + (", …" if len(words) > 4 else "")


# ---------------------------------------------------------------------------------------------------------------- labels


def with_labels(
    table: Table, *, text: str, text_pair: str | None, label: str, kind: TaskKind | None = None, labels: Sequence[str] | Mapping[str, str] | None = None
) -> Columns:
    """The columns as named, with the kind of task and the label names read from the label column."""
    where = f"{table.name}: column '{label}'"
    column = table.columns[label]
    _require_label(table, label)
    is_list = pa.types.is_list(column.type)
    notes: list[str] = []
    if kind == "multilabel" or (kind is None and (is_list or _is_split(column))):
        counts = _part_counts(column)
        if labels is None:
            names = tuple(naturally(list(counts)))
            cells = {name: index for index, name in enumerate(names)}
        else:
            names, cells = _given(labels)
        if len(names) < 2:
            complain([f"{where}: expected two labels or more, got {', '.join(names) or 'none'}. Separate the labels of a cell with ';'."])
        return Columns(text, text_pair, label, "multilabel", names, False, cells)
    if is_list:
        complain([f"{where} holds lists: that is multilabel, not {kind}. Leave the kind out, or give one value per row."])
    found = _words(column)
    if labels is not None:
        names, cells = _given(labels)
        chosen = _class_kind(where, names, kind)
        return Columns(text, text_pair, label, chosen, names, _all_numbers(names), cells, tuple(notes))
    words = found.words
    counts_by_word = dict(zip(words, found.counts.tolist(), strict=True))
    present = {word: count for word, count in counts_by_word.items() if word and count}
    if not present:
        complain([f"{where} is empty in every row."])
    numbers = {word: count for word, count in present.items() if _NUMBER.fullmatch(word) and math.isfinite(float(word))}
    others = {word: count for word, count in present.items() if word not in numbers}
    if numbers and others and (pa.types.is_floating(column.type) or _are_mistakes(numbers, others)):
        present = numbers
    elif kind in (None, "regression"):
        _refuse_written(where, others)
    if kind == "regression":
        return Columns(text, text_pair, label, "regression")
    is_numeric = present is numbers or not others
    if is_numeric and kind is None:
        whole = all(float(word).is_integer() for word in present)
        if not whole:
            return Columns(text, text_pair, label, "regression", notes=(f"'{label}' holds fractions: data.kind=multiclass has a class for each",))
        if len({float(word) for word in present}) > _MOST_CLASSES_OF_NUMBERS:
            note = f"'{label}' holds {len(present):,} different whole numbers: data.kind=multiclass has a class for each"
            return Columns(text, text_pair, label, "regression", notes=(note,))
    if is_numeric and all(float(word).is_integer() for word in present):
        present = _merged(present)
    names = tuple(naturally(list(present)))
    n_rows = sum(present.values())
    if kind is None and len(names) > 20 and len(names) > 0.5 * n_rows:
        complain(
            [f"{where} has {len(names):,} different values in {n_rows:,} rows: that is an id or free text, not a label. Say which column is: --label NAME"]
        )
    chosen = _class_kind(where, names, kind)
    notes += _odd_labels(label, present)
    one = next((name for name in names if len(_parts(name, ",")) > 1), None)
    if kind is None and one is not None and _is_split(column, ","):
        notes.append(f"'{label}': {one!r} counts as one label; with ';' in the place of commas it would be several")
    return Columns(text, text_pair, label, chosen, names, _all_numbers(names), {name: index for index, name in enumerate(names)}, tuple(notes))


def _refuse_written(where: str, others: Mapping[str, int]) -> None:
    """'1,234' is 1234 to some and 1.234 to others, and '45 %' 45 or 0.45: asked, not guessed."""
    words = [word for word in others if word.casefold() not in _ABSENT]
    if words and all(map(_WRITTEN.fullmatch, words)):
        listed = ", ".join(map(repr, words[:3])) + (", …" if len(words) > 3 else "")
        complain(
            [
                f"{where}: expected numbers written with digits and a decimal point alone, such as 3.5, got {listed}. "
                "Write them so in the file, or pass data.kind=multiclass to have a class for each."
            ]
        )


def _class_kind(where: str, names: Sequence[str], kind: TaskKind | None) -> TaskKind:
    if len(names) < 2:
        complain([f"{where} holds one class only ({', '.join(names)}); expected two or more. Add rows of another class, or name another column with --label."])
    if kind == "binary" and len(names) != 2:
        complain(
            [f"{where}: binary has two labels, got {len(names)}: {', '.join(names[:12])}. Leave the kind out, or merge labels with data.labels={{cell: name}}."]
        )
    return "multiclass" if kind == "multiclass" or len(names) > 2 else "binary"


def _given(labels: Sequence[str] | Mapping[str, str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Names in the order given, and what a cell may hold. In a mapping, cells may share a name; a name itself is a cell too."""
    if isinstance(labels, Mapping):
        names = tuple(dict.fromkeys(str(name) for name in labels.values()))
        cells = {name: index for index, name in enumerate(names)}
        cells.update({str(cell): names.index(str(name)) for cell, name in labels.items()})
        return names, cells
    names = tuple(str(name) for name in labels)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        complain([f"labels: '{name}' is listed twice." for name in twice])
    return names, {name: index for index, name in enumerate(names)}


def _all_numbers(names: Sequence[str]) -> bool:
    return bool(names) and all(_NUMBER.fullmatch(name) for name in names)


def _are_mistakes(numbers: Mapping[str, int], others: Mapping[str, int]) -> bool:
    """Whether the few cells that are no numbers, in a column of numbers, are slips ('five' among 1–5) rather than classes ('unknown' among 0 and 1, often)."""
    n_others, n_numbers = sum(others.values()), sum(numbers.values())
    if len(numbers) < 2:
        return False
    if n_others < 0.05 * (n_others + n_numbers):
        return True
    slips = all(word.lower() in _SPELLED | _ABSENT or count == 1 for word, count in others.items())
    return slips and n_others < 0.25 * (n_others + n_numbers)


def _merged(counts: Mapping[str, int]) -> dict[str, int]:
    """'1.0' (what pandas writes when a value is missing) and '1' are one label."""
    merged: dict[str, int] = {}
    for word, count in counts.items():
        name = _whole(word)
        merged[name] = merged.get(name, 0) + count
    return merged


def _whole(word: str) -> str:
    match = _WHOLE.fullmatch(word)
    return match.group(1) if match else word


def _odd_labels(label: str, counts: Mapping[str, int]) -> list[str]:
    def shown(word: str) -> str:
        return f"{word!r} ({counts[word]:,} row{'s' if counts[word] > 1 else ''})"

    folded: dict[str, list[str]] = {}
    for word in counts:
        folded.setdefault(word.casefold(), []).append(word)
    notes = [
        f"'{label}': {' and '.join(map(shown, same))} differ only in capitals and are kept apart (data.labels={{cell: name}} merges them)"
        for same in folded.values()
        if len(same) > 1
    ]
    notes += [f"'{label}': {shown(word)} counts as a class; empty those cells if they have no label" for word in counts if word.casefold() in _MISSING]
    rare = [word for word, count in counts.items() if count == 1]
    if rare:
        listed = ", ".join(repr(word) for word in naturally(rare)[:5]) + (", …" if len(rare) > 5 else "")
        notes.append(f"'{label}': {len(rare)} label{'s occur' if len(rare) > 1 else ' occurs'} in one row only ({listed})")
    return notes


def _words(column: pa.ChunkedArray) -> _Words:
    """Distinct label words, blanks around them dropped. Whole floats are written as whole numbers."""
    kind = column.type
    if pa.types.is_floating(kind):
        values = column.cast(pa.float64()).combine_chunks()
        encoded = pc.dictionary_encode(values)
        raw = [str(int(value)) if math.isfinite(value) and value.is_integer() else repr(value) for value in encoded.dictionary.to_pylist()]
    else:
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            column = column.cast(pa.string())
        encoded = pc.dictionary_encode(_one(column))
        raw = [value.strip() for value in encoded.dictionary.to_pylist()]
    words = tuple(dict.fromkeys(raw))
    index = {word: position for position, word in enumerate(words)}
    lookup = np.array([index[word] for word in raw] + [-1], dtype=np.int64)
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return _Words(words, lookup[codes])


def _one(column: pa.ChunkedArray) -> pa.Array:
    joined = column.combine_chunks()
    return joined if isinstance(joined, pa.Array) else pa.concat_arrays(joined.chunks)


def _is_split(column: pa.ChunkedArray, mark: str = ";") -> bool:
    """Whether the cells are lists of labels: JSON lists, or ';'-separated words most of which occur in other cells too (a sentence's halves do not)."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return False
    words = _words(column).words
    if any(_json_list(word) is not None for word in words):
        return True
    parts_of = [_parts(word, mark) for word in words if word]
    in_lists = {part for parts in parts_of if len(parts) > 1 for part in parts}
    n_cells = Counter(part for parts in parts_of for part in set(parts))
    shared = sum(n_cells[part] > 1 for part in in_lists)
    return bool(in_lists) and max(map(len, n_cells)) <= 60 and shared >= 0.5 * len(in_lists)


def _json_list(cell: str) -> list[str] | None:
    if not (cell.startswith("[") and cell.endswith("]")):
        return None
    try:
        values = json.loads(cell)
    except ValueError:
        return None
    return [str(value).strip() for value in values] if isinstance(values, list) and all(isinstance(value, str | int) for value in values) else None


def _parts(cell: str, mark: str = ";") -> list[str]:
    listed = _json_list(cell)
    return [part for part in (listed if listed is not None else map(str.strip, cell.split(mark))) if part]


def _part_counts(column: pa.ChunkedArray) -> dict[str, int]:
    counts: dict[str, int] = {}
    if pa.types.is_list(column.type):
        items = _words(pc.list_flatten(column))
        return {word: count for word, count in zip(items.words, items.counts.tolist(), strict=True) if word}
    found = _words(column)
    for word, count in zip(found.words, found.counts.tolist(), strict=True):
        for part in _parts(word):
            counts[part] = counts.get(part, 0) + count
    return counts


# ---------------------------------------------------------------------------------------------------------------- targets


def read_targets(table: Table, columns: Columns) -> tuple[np.ndarray | None, dict[int, str]]:
    """The label column as targets, and {row: what is wrong with it}.

    Targets: (rows,) int64 for classes, (rows, labels) float32 of 0 and 1 for multilabel, (rows,) float32 for regression; a wrong row holds 0. None
    without labels.
    """
    if columns.label is None:
        return None, {}
    column = table.columns[columns.label]
    _require_label(table, columns.label)
    is_list = pa.types.is_list(column.type)
    if is_list and columns.kind != "multilabel":
        complain([f"{table.name}: column '{columns.label}' holds lists; expected one value per row, as the training labels are."])
    if columns.kind == "multilabel":
        return _multilabel(table, columns, column, is_list=is_list)
    found = _words(column)
    wrong = {word: _complaint(word, columns) for word in found.words}
    values = np.array([0.0 if wrong[word] else _value(word, columns) for word in found.words] + [0.0])
    problems: dict[int, str] = {}
    bad_codes = [code for code, word in enumerate(found.words) if wrong[word]] + [-1]
    for row in np.flatnonzero(np.isin(found.codes, bad_codes)).tolist():
        word = found.words[found.codes[row]] if found.codes[row] >= 0 else ""
        problems[row] = f"{place(table, row)} column '{columns.label}': {_complaint(word, columns)}. {SKIP}"
    targets = values[found.codes]
    return targets.astype(np.float32 if columns.kind == "regression" else np.int64), problems


def _value(word: str, columns: Columns) -> float:
    if columns.kind == "regression":
        return float(word)
    return columns.cells[word] if word in columns.cells else columns.cells[_whole(word)]


def _complaint(word: str, columns: Columns) -> str | None:
    got = repr(word) if word else "nothing (the cell is empty)"
    if columns.kind == "regression":
        fine = _NUMBER.fullmatch(word) and abs(float(word)) <= float(np.finfo(np.float32).max)
        return None if fine else f"expected a finite number, got {got}"
    if word in columns.cells or _whole(word) in columns.cells:
        return None
    return f"expected {_one_of(columns)}, got {got}"


def _one_of(columns: Columns) -> str:
    names = columns.labels[:12]
    cells = [cell for cell in columns.cells if cell not in columns.labels]
    ids = f" (or {', '.join(cells[:12])})" if cells else ""
    return f"one of {', '.join(names)}{', …' if len(columns.labels) > 12 else ''}{ids}"


def _multilabel(table: Table, columns: Columns, column: pa.ChunkedArray, *, is_list: bool) -> tuple[np.ndarray, dict[int, str]]:
    targets = np.zeros((len(column), len(columns.labels)), dtype=np.float32)
    problems: dict[int, str] = {}

    def mark(row: int, parts: Sequence[str]) -> None:
        unknown = [part for part in parts if part not in columns.cells]
        targets[row, [columns.cells[part] for part in parts if part in columns.cells]] = 1.0
        if unknown:
            targets[row] = 0.0
            known = ", ".join(columns.labels[:12]) + (", …" if len(columns.labels) > 12 else "")
            problems[row] = f"{place(table, row)} column '{columns.label}': expected any of {known}, got {unknown[0]!r}. {SKIP}"

    if is_list:
        for row, items in enumerate(value for chunk in column.chunks for value in chunk.to_pylist()):
            if items is None:
                problems[row] = f"{place(table, row)} column '{columns.label}': expected a list of labels (it may be empty), got nothing. {SKIP}"
            else:
                mark(row, [part for part in (str(item).strip() for item in items if item is not None) if part])
        return targets, problems
    found = _words(column)
    parts_of = [_parts(word) for word in found.words]
    for row, code in enumerate(found.codes.tolist()):
        if code < 0:
            problems[row] = f"{place(table, row)} column '{columns.label}': expected labels (an empty cell is fine: none), got null. {SKIP}"
        else:
            mark(row, parts_of[code])
    return targets, problems

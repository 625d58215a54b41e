"""Determines the kind of task and its labels from a column, and turns cells into targets."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from encore.data.columns import (
    NUMBER,
    WHOLE_NUMBER,
    WRITTEN_NUMBER,
    Columns,
    distinct_values,
    natural_order,
    require_label,
)
from encore.data.table import SKIP, Table, complain, place
from encore.types import TaskKind

__all__ = ["read_targets", "with_labels"]
_SPELLED = frozenset(
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
)
_MISSING = frozenset(("nan", "na", "n/a", "#n/a", "null"))
_ABSENT = _MISSING | {"none", "inf", "-inf", "+inf", "infinity", "-infinity", "?", "-"}
_MOST_CLASSES_OF_NUMBERS = 20


# ------------------------------------------------------------------------------------------- labels


def with_labels(
    table: Table,
    *,
    text: str,
    text_pair: str | None,
    label: str,
    kind: TaskKind | None = None,
    labels: Sequence[str] | Mapping[str, str] | None = None,
) -> Columns:
    """The columns as named, with the kind of task and the label names read from the label
    column.
    """
    where = f"{table.name}: column '{label}'"
    column = table.columns[label]
    require_label(table, label)
    is_list = pa.types.is_list(column.type)
    notes: list[str] = []
    if kind == "multilabel" or (kind is None and (is_list or _is_split(column))):
        counts = _part_counts(column)
        if labels is None:
            names = tuple(natural_order(list(counts)))
            cells = {name: index for index, name in enumerate(names)}
        else:
            names, cells = _given(labels)
        if len(names) < 2:
            complain(
                [
                    f"{where}: expected two labels or more, got {', '.join(names) or 'none'}. "
                    f"Separate the labels of a cell with ';'."
                ]
            )
        return Columns(text, text_pair, label, "multilabel", names, False, cells)
    if is_list:
        complain(
            [
                f"{where} holds lists: that is multilabel, not {kind}. Leave the kind out, or "
                f"give one value per row."
            ]
        )
    found = distinct_values(column)
    if labels is not None:
        names, cells = _given(labels)
        chosen = _class_kind(where, names, kind)
        return Columns(
            text, text_pair, label, chosen, names, _all_numbers(names), cells, tuple(notes)
        )
    words = found.words
    counts_by_word = dict(zip(words, found.counts.tolist(), strict=True))
    present = {word: count for word, count in counts_by_word.items() if word and count}
    if not present:
        complain([f"{where} is empty in every row."])
    numbers = {
        word: count
        for word, count in present.items()
        if NUMBER.fullmatch(word) and math.isfinite(float(word))
    }
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
            return Columns(
                text,
                text_pair,
                label,
                "regression",
                notes=(f"'{label}' holds fractions: data.kind=multiclass has a class for each",),
            )
        if len({float(word) for word in present}) > _MOST_CLASSES_OF_NUMBERS:
            note = (
                f"'{label}' holds {len(present):,} different whole numbers: "
                f"data.kind=multiclass has a class for each"
            )
            return Columns(text, text_pair, label, "regression", notes=(note,))
    if is_numeric and all(float(word).is_integer() for word in present):
        present = _merged(present)
    names = tuple(natural_order(list(present)))
    n_rows = sum(present.values())
    if kind is None and len(names) > 20 and len(names) > 0.5 * n_rows:
        complain(
            [
                f"{where} has {len(names):,} different values in {n_rows:,} rows: that is an "
                f"id or free text, not a label. Say which column is: --label NAME"
            ]
        )
    chosen = _class_kind(where, names, kind)
    notes += _odd_labels(label, present)
    one = next((name for name in names if len(_parts(name, ",")) > 1), None)
    if kind is None and one is not None and _is_split(column, ","):
        notes.append(
            f"'{label}': {one!r} counts as one label; with ';' in the place of commas it would "
            f"be several"
        )
    return Columns(
        text,
        text_pair,
        label,
        chosen,
        names,
        _all_numbers(names),
        {name: index for index, name in enumerate(names)},
        tuple(notes),
    )


def _refuse_written(where: str, others: Mapping[str, int]) -> None:
    """'1,234' is 1234 to some and 1.234 to others, and '45 %' 45 or 0.45: asked, not guessed."""
    words = [word for word in others if word.casefold() not in _ABSENT]
    if words and all(map(WRITTEN_NUMBER.fullmatch, words)):
        listed = ", ".join(map(repr, words[:3])) + (", …" if len(words) > 3 else "")
        complain(
            [
                f"{where}: expected numbers written with digits and a decimal point alone, "
                f"such as 3.5, got {listed}. "
                "Write them so in the file, or pass data.kind=multiclass to have a class for each."
            ]
        )


def _class_kind(where: str, names: Sequence[str], kind: TaskKind | None) -> TaskKind:
    if len(names) < 2:
        complain(
            [
                f"{where} holds one class only ({', '.join(names)}); expected two or more. Add "
                f"rows of another class, or name another column with --label."
            ]
        )
    if kind == "binary" and len(names) != 2:
        complain(
            [
                f"{where}: binary has two labels, got {len(names)}: {', '.join(names[:12])}. "
                f"Leave the kind out, or merge labels with data.labels={{cell: name}}."
            ]
        )
    return "multiclass" if kind == "multiclass" or len(names) > 2 else "binary"


def _given(labels: Sequence[str] | Mapping[str, str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Names in the order given, and what a cell may hold. In a mapping, cells may share a name; a
    name itself is a cell too.
    """
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
    return bool(names) and all(NUMBER.fullmatch(name) for name in names)


def _are_mistakes(numbers: Mapping[str, int], others: Mapping[str, int]) -> bool:
    """Whether the few cells that are no numbers, in a column of numbers, are slips ('five' among
    1–5) rather than classes ('unknown' among 0 and 1, often).
    """
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
    match = WHOLE_NUMBER.fullmatch(word)
    return match.group(1) if match else word


def _odd_labels(label: str, counts: Mapping[str, int]) -> list[str]:
    def shown(word: str) -> str:
        return f"{word!r} ({counts[word]:,} row{'s' if counts[word] > 1 else ''})"

    folded: dict[str, list[str]] = {}
    for word in counts:
        folded.setdefault(word.casefold(), []).append(word)
    notes = [
        f"'{label}': {' and '.join(map(shown, same))} differ only in capitals and are kept "
        f"apart (data.labels={{cell: name}} merges them)"
        for same in folded.values()
        if len(same) > 1
    ]
    notes += [
        f"'{label}': {shown(word)} counts as a class; empty those cells if they have no label"
        for word in counts
        if word.casefold() in _MISSING
    ]
    rare = [word for word, count in counts.items() if count == 1]
    if rare:
        listed = ", ".join(repr(word) for word in natural_order(rare)[:5]) + (
            ", …" if len(rare) > 5 else ""
        )
        notes.append(
            f"'{label}': {len(rare)} label{'s occur' if len(rare) > 1 else ' occurs'} in one "
            f"row only ({listed})"
        )
    return notes


def _is_split(column: pa.ChunkedArray, mark: str = ";") -> bool:
    """Whether the cells are lists of labels: JSON lists, or ';'-separated words most of which occur
    in other cells too (a sentence's halves do not).
    """
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return False
    words = distinct_values(column).words
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
    return (
        [str(value).strip() for value in values]
        if isinstance(values, list) and all(isinstance(value, str | int) for value in values)
        else None
    )


def _parts(cell: str, mark: str = ";") -> list[str]:
    listed = _json_list(cell)
    return [
        part
        for part in (listed if listed is not None else map(str.strip, cell.split(mark)))
        if part
    ]


def _part_counts(column: pa.ChunkedArray) -> dict[str, int]:
    counts: dict[str, int] = {}
    if pa.types.is_list(column.type):
        items = distinct_values(pc.list_flatten(column))
        return {
            word: count
            for word, count in zip(items.words, items.counts.tolist(), strict=True)
            if word
        }
    found = distinct_values(column)
    for word, count in zip(found.words, found.counts.tolist(), strict=True):
        for part in _parts(word):
            counts[part] = counts.get(part, 0) + count
    return counts


# ------------------------------------------------------------------------------------------ targets


def read_targets(table: Table, columns: Columns) -> tuple[np.ndarray | None, dict[int, str]]:
    """The label column as targets, and {row: what is wrong with it}.

    Targets: (rows,) int64 for classes, (rows, labels) float32 of 0 and 1 for multilabel, (rows,)
    float32 for regression; a wrong row holds 0. None without labels.
    """
    if columns.label is None:
        return None, {}
    column = table.columns[columns.label]
    require_label(table, columns.label)
    is_list = pa.types.is_list(column.type)
    if is_list and columns.kind != "multilabel":
        complain(
            [
                f"{table.name}: column '{columns.label}' holds lists; expected one value per "
                f"row, as the training labels are."
            ]
        )
    if columns.kind == "multilabel":
        return _multilabel(table, columns, column, is_list=is_list)
    found = distinct_values(column)
    wrong = {word: _complaint(word, columns) for word in found.words}
    values = np.array(
        [0.0 if wrong[word] else _value(word, columns) for word in found.words] + [0.0]
    )
    problems: dict[int, str] = {}
    bad_codes = [code for code, word in enumerate(found.words) if wrong[word]] + [-1]
    for row in np.flatnonzero(np.isin(found.codes, bad_codes)).tolist():
        word = found.words[found.codes[row]] if found.codes[row] >= 0 else ""
        problems[row] = (
            f"{place(table, row)} column '{columns.label}': {_complaint(word, columns)}. {SKIP}"
        )
    targets = values[found.codes]
    return targets.astype(np.float32 if columns.kind == "regression" else np.int64), problems


def _value(word: str, columns: Columns) -> float:
    if columns.kind == "regression":
        return float(word)
    return columns.cells[word] if word in columns.cells else columns.cells[_whole(word)]


def _complaint(word: str, columns: Columns) -> str | None:
    got = repr(word) if word else "nothing (the cell is empty)"
    if columns.kind == "regression":
        fine = NUMBER.fullmatch(word) and abs(float(word)) <= float(np.finfo(np.float32).max)
        return None if fine else f"expected a finite number, got {got}"
    if word in columns.cells or _whole(word) in columns.cells:
        return None
    return f"expected {_one_of(columns)}, got {got}"


def _one_of(columns: Columns) -> str:
    names = columns.labels[:12]
    cells = [cell for cell in columns.cells if cell not in columns.labels]
    ids = f" (or {', '.join(cells[:12])})" if cells else ""
    return f"one of {', '.join(names)}{', …' if len(columns.labels) > 12 else ''}{ids}"


def _multilabel(
    table: Table, columns: Columns, column: pa.ChunkedArray, *, is_list: bool
) -> tuple[np.ndarray, dict[int, str]]:
    targets = np.zeros((len(column), len(columns.labels)), dtype=np.float32)
    problems: dict[int, str] = {}

    def mark(row: int, parts: Sequence[str]) -> None:
        unknown = [part for part in parts if part not in columns.cells]
        targets[row, [columns.cells[part] for part in parts if part in columns.cells]] = 1.0
        if unknown:
            targets[row] = 0.0
            known = ", ".join(columns.labels[:12]) + (", …" if len(columns.labels) > 12 else "")
            problems[row] = (
                f"{place(table, row)} column '{columns.label}': expected any of {known}, got "
                f"{unknown[0]!r}. {SKIP}"
            )

    if is_list:
        for row, items in enumerate(
            value for chunk in column.chunks for value in chunk.to_pylist()
        ):
            if items is None:
                problems[row] = (
                    f"{place(table, row)} column '{columns.label}': expected a list of labels "
                    f"(it may be empty), got nothing. {SKIP}"
                )
            else:
                mark(
                    row,
                    [
                        part
                        for part in (str(item).strip() for item in items if item is not None)
                        if part
                    ],
                )
        return targets, problems
    found = distinct_values(column)
    parts_of = [_parts(word) for word in found.words]
    for row, code in enumerate(found.codes.tolist()):
        if code < 0:
            problems[row] = (
                f"{place(table, row)} column '{columns.label}': expected labels (an empty cell "
                f"is fine: none), got null. {SKIP}"
            )
        else:
            mark(row, parts_of[code])
    return targets, problems

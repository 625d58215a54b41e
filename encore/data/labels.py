"""Determines the kind of task and the label names from a label column."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from encore.data.columns import require_label
from encore.data.label_cells import (
    NUMBER,
    WRITTEN_NUMBER,
    distinct_values,
    holds_lists,
    label_counts,
    natural_order,
    split_cell,
    without_zeros,
)
from encore.data.settings import DataSettings
from encore.data.table import Table, join_limited, plural, reject, reject_all
from encore.errors import DataError, Problem
from encore.types import Note, TaskKind

__all__ = ["LabelVocabulary", "read_vocabulary"]

_SPELLED = frozenset(
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
)
_MISSING = frozenset(("nan", "na", "n/a", "#n/a", "null"))
_ABSENT = _MISSING | {"none", "inf", "-inf", "+inf", "infinity", "-infinity", "?", "-"}
_MOST_CLASSES_OF_NUMBERS = 20
_MOST_LISTED = 12


@dataclass(frozen=True)
class LabelVocabulary:
    """The kind of a task, its label names, and the cells of each.

    labels: in the order of the score columns; () for regression. ordered: the names are numbers.
    cells: what a label cell may hold → index of its name. notes: what was inferred.
    """

    kind: TaskKind
    labels: tuple[str, ...] = ()
    ordered: bool = False
    cells: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()


def read_vocabulary(table: Table, label: str, settings: DataSettings) -> LabelVocabulary:
    """Determine the labels from the column `label`, as far as `settings` (kind, labels) do not.

    Raises DataError: no values, fewer than two classes, nearly a class per row, numbers written
    ambiguously, or cells that contradict the settings.
    """
    column = table.columns[label]
    require_label(table, label)
    kind, is_list = settings.kind, pa.types.is_list(column.type)
    if kind == "multilabel" or (kind is None and (is_list or holds_lists(column))):
        return _multilabel(table.name, label, column, settings.labels)
    where = f"column '{label}'"
    if is_list:
        reject(
            table.name,
            f"{where} holds lists: that is multilabel, not {kind}.",
            "Leave the kind out, or give one value per row.",
        )
    if settings.labels is not None:
        names, cells = _given_labels(settings.labels)
        chosen = _class_kind(table.name, where, names, kind)
        return LabelVocabulary(chosen, names, _all_numbers(names), cells)
    found = distinct_values(column)
    counts = dict(zip(found.words, found.counts.tolist(), strict=True))
    present = {word: count for word, count in counts.items() if word and count}
    if not present:
        reject(table.name, f"{where} is empty in every row.")
    present = _without_slips(
        table.name, label, present, kind, is_floating=pa.types.is_floating(column.type)
    )
    is_numeric = all(map(_is_number, present))
    if kind == "regression":
        return LabelVocabulary("regression")
    if is_numeric and kind is None and (note := _why_regression(label, present)):
        return LabelVocabulary("regression", notes=(note,))
    if is_numeric and all(float(word).is_integer() for word in present):
        present = _merge_whole_numbers(present)
    return _classes(table.name, label, column, present, kind)


def _multilabel(
    file: str,
    label: str,
    column: pa.ChunkedArray,
    labels: Sequence[str] | Mapping[str, str] | None,
) -> LabelVocabulary:
    if labels is None:
        names = tuple(natural_order(list(label_counts(column))))
        cells = {name: index for index, name in enumerate(names)}
    else:
        names, cells = _given_labels(labels)
    if len(names) < 2:
        reject(
            file,
            f"column '{label}': expected two labels or more, got {', '.join(names) or 'none'}.",
            "Separate the labels of a cell with ';'.",
        )
    return LabelVocabulary("multilabel", names, False, cells)


def _without_slips(
    file: str,
    label: str,
    present: Mapping[str, int],
    kind: TaskKind | None,
    *,
    is_floating: bool,
) -> dict[str, int]:
    """{word: rows} without the few words in a column of numbers, whose rows are then wrong."""
    numbers = {word: count for word, count in present.items() if _is_number(word)}
    others = {word: count for word, count in present.items() if word not in numbers}
    if numbers and others and (is_floating or _are_slips(numbers, others)):
        return numbers
    if kind in (None, "regression"):
        _reject_written_numbers(file, label, others)
    return dict(present)


def _is_number(word: str) -> bool:
    return NUMBER.fullmatch(word) is not None and math.isfinite(float(word))


def _why_regression(label: str, numbers: Mapping[str, int]) -> Note | None:
    """A note on why a column of numbers is a regression; None where its values are classes."""
    instead = "data.kind=multiclass has a class for each"
    if not all(float(word).is_integer() for word in numbers):
        return Note(f"'{label}' holds fractions: {instead}")
    if len({float(word) for word in numbers}) > _MOST_CLASSES_OF_NUMBERS:
        return Note(f"'{label}' holds {len(numbers):,} different whole numbers: {instead}")
    return None


def _classes(
    file: str,
    label: str,
    column: pa.ChunkedArray,
    present: Mapping[str, int],
    kind: TaskKind | None,
) -> LabelVocabulary:
    where = f"column '{label}'"
    names = tuple(natural_order(list(present)))
    n_rows = sum(present.values())
    if kind is None and len(names) > 20 and len(names) > 0.5 * n_rows:
        raise DataError(
            Problem(
                where=file,
                message=f"{where} has {len(names):,} different values in {n_rows:,} rows: that is "
                f"an id or free text, not a label.",
                remedy="Name the label column:",
                setting="data.label",
                change="NAME",
            )
        )
    chosen = _class_kind(file, where, names, kind)
    notes = _odd_labels(label, present)
    with_commas = next((name for name in names if len(split_cell(name, ",")) > 1), None)
    if kind is None and with_commas is not None and holds_lists(column, ","):
        notes.append(
            Note(
                f"'{label}': {with_commas!r} counts as one label; with ';' in the place of commas "
                f"it would be several"
            )
        )
    cells = {name: index for index, name in enumerate(names)}
    return LabelVocabulary(chosen, names, _all_numbers(names), cells, tuple(notes))


def _reject_written_numbers(file: str, label: str, others: Mapping[str, int]) -> None:
    """'1,234' is 1234 to some and 1.234 to others, and '45 %' 45 or 0.45: never guessed."""
    words = [word for word in others if word.casefold() not in _ABSENT]
    if words and all(map(WRITTEN_NUMBER.fullmatch, words)):
        raise DataError(
            Problem(
                where=file,
                column=label,
                expected="numbers written with digits and a decimal point alone, such as 3.5",
                got=join_limited([repr(word) for word in words], 3),
                remedy="Write them so in the file, or have a class for each:",
                setting="data.kind",
                change="multiclass",
            )
        )


def _class_kind(file: str, where: str, names: Sequence[str], kind: TaskKind | None) -> TaskKind:
    if len(names) < 2:
        raise DataError(
            Problem(
                where=file,
                message=f"{where} holds one class only ({', '.join(names)}); expected two or more.",
                remedy="Add rows of another class, or name another column:",
                setting="data.label",
                change="NAME",
            )
        )
    if kind == "binary" and len(names) != 2:
        raise DataError(
            Problem(
                where=file,
                message=f"{where}: binary has two labels, got {len(names)}: "
                f"{', '.join(names[:_MOST_LISTED])}.",
                remedy="Leave the kind out, or merge labels:",
                setting="data.labels",
                change="{cell: name}",
            )
        )
    return "multiclass" if kind == "multiclass" or len(names) > 2 else "binary"


def _given_labels(
    labels: Sequence[str] | Mapping[str, str],
) -> tuple[tuple[str, ...], dict[str, int]]:
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
        reject_all(
            Problem(setting="data.labels", message=f"'{name}' is listed twice.") for name in twice
        )
    return names, {name: index for index, name in enumerate(names)}


def _all_numbers(names: Sequence[str]) -> bool:
    return bool(names) and all(NUMBER.fullmatch(name) for name in names)


def _are_slips(numbers: Mapping[str, int], others: Mapping[str, int]) -> bool:
    """True if the few cells that are no numbers, in a column of numbers, are slips ('five' among
    1–5) rather than classes ('unknown' among 0 and 1, often).
    """
    n_others, n_numbers = sum(others.values()), sum(numbers.values())
    if len(numbers) < 2:
        return False
    if n_others < 0.05 * (n_others + n_numbers):
        return True
    slips = all(word.lower() in _SPELLED | _ABSENT or count == 1 for word, count in others.items())
    return slips and n_others < 0.25 * (n_others + n_numbers)


def _merge_whole_numbers(counts: Mapping[str, int]) -> dict[str, int]:
    """{label: rows} with '1.0' and '1' as one label."""
    merged: dict[str, int] = {}
    for word, count in counts.items():
        name = without_zeros(word)
        merged[name] = merged.get(name, 0) + count
    return merged


def _odd_labels(label: str, counts: Mapping[str, int]) -> list[Note]:
    """Notes on labels that look like mistakes: capitals, missing values, one row only."""

    def shown(word: str) -> str:
        return f"{word!r} ({plural(counts[word], 'row')})"

    folded: dict[str, list[str]] = {}
    for word in counts:
        folded.setdefault(word.casefold(), []).append(word)
    notes = [
        Note(
            f"'{label}': {' and '.join(map(shown, same))} differ only in capitals and are kept "
            f"apart (data.labels={{cell: name}} merges them)"
        )
        for same in folded.values()
        if len(same) > 1
    ]
    notes += [
        Note(f"'{label}': {shown(word)} counts as a class; empty those cells if they have no label")
        for word in counts
        if word.casefold() in _MISSING
    ]
    rare = [word for word, count in counts.items() if count == 1]
    if rare:
        listed = join_limited([repr(word) for word in natural_order(rare)], 5)
        occur = "labels occur" if len(rare) > 1 else "label occurs"
        notes.append(Note(f"'{label}': {len(rare)} {occur} in one row only ({listed})"))
    return notes

"""Determines the kind of task and the label names from a label column."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from encore.data.columns import require_label
from encore.data.find_label import names_of_labels, plain_name
from encore.data.label_cells import (
    NUMBER,
    WRITTEN_NUMBER,
    distinct_values,
    fold_label,
    holds_lists,
    label_counts,
    natural_order,
    split_cell,
    without_zeros,
)
from encore.data.settings import DataSettings
from encore.data.table import Table, join_limited, plural, reject, reject_all
from encore.errors import DataError, Problem, format_given
from encore.types import Note, TaskKind

__all__ = ["LabelVocabulary", "read_vocabulary"]

_SPELLED = frozenset(
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
)
_MISSING = frozenset(("nan", "na", "n/a", "#n/a", "null"))
_ABSENT = _MISSING | {"none", "inf", "-inf", "+inf", "infinity", "-infinity", "?", "-"}
_MOST_CLASSES_OF_NUMBERS = 200
_LARGE = 1_000_000_000  # whole numbers from here on are rather identifiers than amounts
# Words in the names of columns whose numbers have an order.
_ORDERED = frozenset(("star", "stars", "rating", "ratings", "level", "levels", "grade", "score"))
_MOST_LISTED = 12


@dataclass(frozen=True)
class LabelVocabulary:
    """The kind of a task, its label names, and the cells of each.

    labels: in the order of the score columns; () for regression. ordered: they have an order, as
    stars have. cells: what a label cell may hold → index of its name. notes: what was inferred.
    named_by: the column that names the values of the label column, if there is one.
    """

    kind: TaskKind
    labels: tuple[str, ...] = ()
    ordered: bool = False
    cells: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    named_by: str | None = None


def read_vocabulary(table: Table, label: str, settings: DataSettings) -> LabelVocabulary:
    """Determine the labels from the column `label`, as far as `settings` (kind, labels) do not.

    Raises DataError: no values, fewer than two classes, nearly a class per row, numbers written
    ambiguously, or cells that contradict the settings.
    """
    column = table.columns[label]
    require_label(table, label)
    kind, is_list, mark = settings.kind, pa.types.is_list(column.type), settings.label_separator
    if kind == "multilabel" or (kind is None and (is_list or holds_lists(column, mark))):
        return _multilabel(table.name, label, column, settings)
    where = f"column '{label}'"
    if is_list:
        reject(
            table.name,
            f"{where} holds lists: that is multilabel, not {kind}.",
            "Leave the kind out, or give one value per row.",
        )
    naming = None if kind == "regression" else names_of_labels(table, label)
    if settings.labels is not None or naming is not None:
        given = settings.labels
        names, cells = _given_labels(naming[1] if given is None and naming else given or ())
        chosen = _class_kind(table.name, where, names, kind)
        ordered = _are_ordered(table.name, label, names, settings)
        vocabulary = LabelVocabulary(chosen, names, ordered, cells)
        return vocabulary if given is not None or not naming else _named(vocabulary, label, *naming)
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
    if is_numeric and kind is None and (note := _why_regression(table.name, label, present)):
        return LabelVocabulary("regression", notes=(note,))
    if is_numeric and all(float(word).is_integer() for word in present):
        present = _merge_whole_numbers(present)
    return _classes(table.name, label, column, present, settings)


def _named(
    vocabulary: LabelVocabulary, label: str, named_by: str, names: Mapping[str, str]
) -> LabelVocabulary:
    """The vocabulary with the column that names its values."""
    listed = join_limited([f"{value} = {name}" for value, name in names.items()], 6)
    note = Note(f"'{named_by}' names the values of '{label}': {listed}")
    return replace(vocabulary, notes=(note,), named_by=named_by)


def _are_ordered(file: str, label: str, names: Sequence[str], settings: DataSettings) -> bool:
    """True where the user says so, and for numbers in a column of stars, ratings or levels. Raises
    DataError where the order of the user's words is unknown.
    """
    if settings.ordered is None:
        return _all_numbers(names) and not _ORDERED.isdisjoint(plain_name(label).split("_"))
    if settings.ordered and settings.labels is None and not _all_numbers(names):
        raise DataError(
            Problem(
                where=file,
                message=f"the labels of '{label}' are ordered (data.ordered) and words, so their "
                f"order is unknown.",
                remedy="List them from the lowest to the highest:",
                setting="data.labels",
                change=f"[{', '.join(names)}]",
            )
        )
    return settings.ordered


def _multilabel(
    file: str, label: str, column: pa.ChunkedArray, settings: DataSettings
) -> LabelVocabulary:
    notes: list[Note] = []
    if settings.labels is None:
        counts = label_counts(column, settings.label_separator)
        names, cells = _names_and_cells(counts, merge=settings.merge_labels)
        notes = [] if settings.merge_labels else _other_spellings(label, counts)
    else:
        names, cells = _given_labels(settings.labels)
    if len(names) < 2:
        reject(
            file,
            f"column '{label}': expected two labels or more, got {', '.join(names) or 'none'}.",
            f"Separate the labels of a cell with '{settings.label_separator}'.",
        )
    return LabelVocabulary("multilabel", names, False, cells, tuple(notes))


def _names_and_cells(
    counts: Mapping[str, int], *, merge: bool
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Label names in their order, and {word: index of its name}. merge: words that differ in
    capitals and blanks share the name that is the most frequent of them.
    """
    name_of = {word: word for word in counts}
    if merge:
        best: dict[str, str] = {}
        for word in sorted(counts, key=lambda word: (-counts[word], word)):
            best.setdefault(fold_label(word), word)
        name_of = {word: best[fold_label(word)] for word in counts}
    names = tuple(natural_order(list(dict.fromkeys(name_of.values()))))
    index = {name: position for position, name in enumerate(names)}
    return names, {word: index[name] for word, name in name_of.items()}


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


def _why_regression(file: str, label: str, numbers: Mapping[str, int]) -> Note | None:
    """A note on why a column of numbers is a regression; None where its values are classes. Raises
    DataError for identifiers.
    """
    instead = "data.kind=multiclass has a class for each"
    if not all(float(word).is_integer() for word in numbers):
        return Note(f"'{label}' holds fractions: {instead}")
    n_values = len({float(word) for word in numbers})
    if _are_identifiers(numbers):
        raise DataError(
            Problem(
                where=file,
                message=f"column '{label}' holds a number of its own in each row, as identifiers "
                f"do. Name another column with --label, or add data.kind=regression if they are "
                f"amounts.",
            )
        )
    if n_values > _MOST_CLASSES_OF_NUMBERS or _is_one_per_row(n_values, numbers):
        return Note(f"'{label}' holds {n_values:,} different whole numbers: {instead}")
    return None


def _are_identifiers(numbers: Mapping[str, int]) -> bool:
    """True for whole numbers that no two rows share and that count the rows, or are too large for
    amounts.
    """
    if len(numbers) <= 20 or max(numbers.values()) > 1:
        return False
    values = [int(float(word)) for word in numbers]
    return max(values) - min(values) + 1 == len(values) or min(values) >= _LARGE


def _is_one_per_row(n_values: int, counts: Mapping[str, int]) -> bool:
    """True where most values hardly recur, as ids, free text and amounts do."""
    return n_values > 20 and n_values > 0.5 * sum(counts.values())


def _classes(
    file: str,
    label: str,
    column: pa.ChunkedArray,
    present: Mapping[str, int],
    settings: DataSettings,
) -> LabelVocabulary:
    where, kind = f"column '{label}'", settings.kind
    names, cells = _names_and_cells(present, merge=settings.merge_labels)
    if kind is None and _is_one_per_row(len(names), present):
        raise DataError(
            Problem(
                where=file,
                message=f"{where} has {len(names):,} different values in "
                f"{sum(present.values()):,} rows: that is an id or free text, not a label.",
                remedy="Name the label column:",
                setting="data.label",
                change="NAME",
            )
        )
    with_commas = next((name for name in names if len(split_cell(name, ",")) > 1), None)
    if kind is None and with_commas is not None and holds_lists(column, ","):
        raise DataError(
            Problem(
                where=file,
                message=f"{where} holds lists, such as {format_given(with_commas)}.",
                remedy="Add data.label_separator=, for several labels in a cell, or "
                "data.kind=multiclass to count each list as one label.",
            )
        )
    chosen = _class_kind(file, where, names, kind)
    by_name = dict.fromkeys(names, 0)
    for word, count in present.items():
        by_name[names[cells[word]]] += count
    notes = _odd_labels(label, by_name)
    if not settings.merge_labels:
        notes = _other_spellings(label, present) + notes
    if kind is None and len(names) > 20 and _all_numbers(names):
        notes.append(
            Note(
                f"'{label}': each of {len(names)} whole numbers is a class; add "
                f"data.kind=regression if they are amounts"
            )
        )
    ordered = _are_ordered(file, label, names, settings)
    return LabelVocabulary(chosen, names, ordered, cells, tuple(notes))


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
    name itself is a cell too. Its names are in the order of their cells, as without a mapping: two
    spellings that become one do not make the other class the positive one.
    """
    if isinstance(labels, Mapping):
        name_of = {str(cell): str(name) for cell, name in labels.items()}
        names = tuple(dict.fromkeys(name_of[cell] for cell in natural_order(list(name_of))))
        cells = {name: index for index, name in enumerate(names)}
        cells.update({cell: names.index(name) for cell, name in name_of.items()})
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


def _other_spellings(label: str, counts: Mapping[str, int]) -> list[Note]:
    """Notes on labels that differ only in capitals and blanks."""
    folded: dict[str, list[str]] = {}
    for word in counts:
        folded.setdefault(fold_label(word), []).append(word)
    return [
        Note(
            f"'{label}': {' and '.join(_with_rows(word, counts) for word in same)} differ only in "
            f"capitals or blanks and are kept apart; add --merge-labels to make them one label"
        )
        for same in folded.values()
        if len(same) > 1
    ]


def _with_rows(word: str, counts: Mapping[str, int]) -> str:
    return f"{word!r} ({plural(counts[word], 'row')})"


def _odd_labels(label: str, counts: Mapping[str, int]) -> list[Note]:
    """Notes on labels that look like mistakes: missing values, one row only."""
    notes = [
        Note(
            f"'{label}': {_with_rows(word, counts)} counts as a class; empty those cells if they "
            f"have no label"
        )
        for word in counts
        if word.casefold() in _MISSING
    ]
    rare = [word for word, count in counts.items() if count == 1]
    if rare:
        listed = join_limited([repr(word) for word in natural_order(rare)], 5)
        occur = "labels occur" if len(rare) > 1 else "label occurs"
        notes.append(Note(f"'{label}': {len(rare)} {occur} in one row only ({listed})"))
    return notes

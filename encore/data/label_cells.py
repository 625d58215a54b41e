"""Reads the cells of a label column: distinct values, lists of labels, numbers."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "DistinctValues",
    "INTEGER",
    "NUMBER",
    "WRITTEN_NUMBER",
    "distinct_values",
    "fold_label",
    "holds_lists",
    "is_label_type",
    "label_counts",
    "natural_order",
    "split_cell",
    "without_zeros",
]

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
INTEGER = re.compile(r"[+-]?\d+")
# '3,5', '45 %', '1.234,50 €': numbers to people, and to programs not one in particular.
WRITTEN_NUMBER = re.compile(
    r"[+-]?[$€£]? ?[+-]?(?:\d{1,3}(?:[.,'\s]\d{3})+|\d+)(?:[.,]\d+)?\s?[%$€£]?"
)
_WHOLE_NUMBER = re.compile(r"([+-]?\d+)\.0+")
_LONGEST_LABEL = 60


@dataclass(frozen=True)
class DistinctValues:
    """A label column as few distinct words and one code per row (-1: no value)."""

    words: tuple[str, ...]
    codes: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """(words,) int64: in how many rows each word occurs."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.words))


def distinct_values(column: pa.ChunkedArray) -> DistinctValues:
    """The distinct words of a column, blanks around them dropped; whole floats are written as
    whole numbers.
    """
    kind = column.type
    if pa.types.is_floating(kind):
        values = column.cast(pa.float64()).combine_chunks()
        encoded = pc.dictionary_encode(values)
        raw = [
            str(int(value)) if math.isfinite(value) and value.is_integer() else repr(value)
            for value in encoded.dictionary.to_pylist()
        ]
    else:
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            column = column.cast(pa.string())
        encoded = pc.dictionary_encode(_single_array(column))
        raw = [value.strip() for value in encoded.dictionary.to_pylist()]
    words = tuple(dict.fromkeys(raw))
    index = {word: position for position, word in enumerate(words)}
    lookup = np.array([index[word] for word in raw] + [-1], dtype=np.int64)
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return DistinctValues(words, lookup[codes])


def _single_array(column: pa.ChunkedArray) -> pa.Array:
    joined = column.combine_chunks()
    return joined if isinstance(joined, pa.Array) else pa.concat_arrays(joined.chunks)


def is_label_type(kind: pa.DataType) -> bool:
    """True for words, numbers, booleans and lists of words."""
    plain = (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
    )
    return plain or (pa.types.is_list(kind) and pa.types.is_string(kind.value_type))


def natural_order(words: Sequence[str]) -> list[str]:
    """Sorted as people sort: '10' after '9', 'v10' after 'v9', -1 before 0.

    >>> natural_order(["10", "9", "-1"])
    ['-1', '9', '10']
    """
    if all(NUMBER.fullmatch(word) for word in words):
        return sorted(words, key=lambda word: (float(word), word))
    return sorted(
        words,
        key=lambda word: (
            [
                (0, int(part), "") if part.isdecimal() else (1, 0, part.casefold())
                for part in re.findall(r"\d+|\D+", word)
            ],
            word,
        ),
    )


def without_zeros(word: str) -> str:
    """'1.0', which pandas writes when a value is missing, as '1'; any other word as it is."""
    match = _WHOLE_NUMBER.fullmatch(word)
    return match.group(1) if match else word


def fold_label(word: str) -> str:
    """The label without what spellings of it differ in: capitals and blanks.

    >>> fold_label("So  Good ")
    'so good'
    """
    return " ".join(word.casefold().split())


def holds_lists(column: pa.ChunkedArray, mark: str = ";") -> bool:
    """True if the cells are lists of labels: JSON lists, or words with `mark` between, most of
    which occur in other cells too (a sentence's halves do not).
    """
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return False
    words = distinct_values(column).words
    if any(_json_list(word) is not None for word in words):
        return True
    parts_of = [split_cell(word, mark) for word in words if word]
    in_lists = {part for parts in parts_of if len(parts) > 1 for part in parts}
    n_cells = Counter(part for parts in parts_of for part in set(parts))
    shared = sum(n_cells[part] > 1 for part in in_lists)
    longest = max(map(len, n_cells), default=0)
    return bool(in_lists) and longest <= _LONGEST_LABEL and shared >= 0.5 * len(in_lists)


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


def split_cell(cell: str, mark: str = ";") -> list[str]:
    """The labels in a cell: the items of a JSON list, or the words between marks."""
    listed = _json_list(cell)
    parts = listed if listed is not None else map(str.strip, cell.split(mark))
    return [part for part in parts if part]


def label_counts(column: pa.ChunkedArray, mark: str = ";") -> dict[str, int]:
    """{label: in how many cells it occurs} of a column of lists of labels."""
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
        for part in split_cell(word, mark):
            counts[part] = counts.get(part, 0) + count
    return counts

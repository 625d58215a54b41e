"""Which column is the text, which the label, and what the labels are: inferred where nobody says,
announced always, never guessed between equals.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from encore.data.table import Table, complain
from encore.types import LabelSpace, TaskKind

__all__ = [
    "Columns",
    "DistinctValues",
    "INTEGER",
    "NUMBER",
    "WHOLE_NUMBER",
    "WRITTEN_NUMBER",
    "distinct_values",
    "is_label_type",
    "natural_order",
    "require_label",
]
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
INTEGER = re.compile(r"[+-]?\d+")
WHOLE_NUMBER = re.compile(r"([+-]?\d+)\.0+")


@dataclass(frozen=True)
class Columns:
    """Where the parts of an example stand in a table, and what its labels mean.

    label: None in an unlabelled task. labels: the names in the order of the score columns; () for
    regression. cells: what a label cell may hold → index of its name.
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


def natural_order(words: Sequence[str]) -> list[str]:
    """Sorted as people sort: '10' after '9', 'v10' after 'v9', -1 before 0.

    >>> naturally(["10", "9", "-1"])
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


def require_label(table: Table, name: str) -> None:
    kind = table.columns[name].type
    if not is_label_type(kind):
        complain(
            [
                f"{table.name}: column '{name}' holds {kind}, expected words, numbers, or "
                f"lists of words. Name another column with --label."
            ]
        )


WRITTEN_NUMBER = re.compile(
    r"[+-]?[$€£]? ?[+-]?(?:\d{1,3}(?:[.,'\s]\d{3})+|\d+)(?:[.,]\d+)?\s?[%$€£]?"
)  # '3,5', '45 %', '1.234,50 €': numbers to people


@dataclass(frozen=True)
class DistinctValues:
    """A label column as few distinct words and one code per row (-1: no value)."""

    words: tuple[str, ...]
    codes: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.words))


def distinct_values(column: pa.ChunkedArray) -> DistinctValues:
    """Distinct label words, blanks around them dropped. Whole floats are written as whole
    numbers.
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
    plain = (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
    )
    return plain or (pa.types.is_list(kind) and pa.types.is_string(kind.value_type))

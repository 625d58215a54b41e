"""Checks a task's rows: rare classes, contradictory labels, overlap with dev sets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from encore.data.columns import Columns
from encore.data.dataset import Dataset
from encore.data.table import display_path, join_limited, reject
from encore.types import Note, TaskKind

__all__ = [
    "check_test",
    "class_notes",
    "conflict_notes",
    "copies_per_row",
    "overlap_notes",
    "rows_in_both",
]


def check_test(test: Path, others: Sequence[Path], more: Sequence[Path] = ()) -> None:
    """Raise DataError where the test file is not there, or is one of the `others`, the first of
    which is the train file, or of `more`, which are trained on too.
    """
    if not test.is_file():
        reject(
            display_path(test),
            "no such file (data.test).",
            "It is checked now, and opened by `encore evaluate --final` only.",
        )
    same = [other for other in (*others, *more) if other.exists() and os.path.samefile(test, other)]
    if same:
        role = "train" if same[-1] in (others[0], *more) else "dev"
        reject(
            display_path(test),
            f"the test file is also the {role} file.",
            "Give the test rows a file of their own.",
        )


def class_notes(part: Dataset, columns: Columns) -> list[Note]:
    """A note on the labels that no row has: a train set cannot teach them, a dev set cannot measure
    them.
    """
    if columns.kind == "regression" or part.targets is None:
        return []
    counts = (
        part.targets.sum(axis=0)
        if columns.kind == "multilabel"
        else np.bincount(part.targets, minlength=len(columns.labels))
    )
    absent = [
        name for name, count in zip(columns.labels, counts.tolist(), strict=True) if not count
    ]
    if not absent:
        return []
    which = "training row" if part.name == "train" else f"row of {part.name}"
    label = "label" if len(absent) == 1 else "labels"
    return [Note(f"no {which} has the {label} {join_limited(absent, 12)}")]


def conflict_notes(train: Dataset, kind: TaskKind) -> list[Note]:
    """A note on the number of texts with several labels: no model can be right on all their
    rows.
    """
    if kind in ("regression", "multilabel") or train.targets is None:
        return []
    codes = copies_per_row(train)
    seen = np.unique(np.stack([codes, train.targets], axis=1), axis=0)[:, 0]
    n_texts = int((np.bincount(seen) > 1).sum())
    if not n_texts:
        return []
    occur = "text occurs" if n_texts == 1 else "texts occur"
    return [Note(f"{n_texts:,} {occur} with different labels", about=Path(train.path).name)]


def overlap_notes(train: Dataset, part: Dataset) -> list[Note]:
    """A note on the number of rows of `part` with the very text (and second text) of a training
    row: their score is memory, not skill.
    """
    n_same = len(rows_in_both(train, part))
    if not n_same:
        return []
    return [Note(f"{n_same:,} of {len(part):,} rows also occur in the train set", about=part.name)]


def rows_in_both(train: Dataset, part: Dataset) -> np.ndarray:
    """The positions in `part`, ascending, of rows whose text (and second text) is one of `train`
    too.
    """
    at = np.flatnonzero(pc.is_in(part.texts, value_set=pc.unique(train.texts)).to_numpy())
    if len(at) and train.pairs is not None and part.pairs is not None:
        suspects = part.take(at)
        near = train.take(
            np.flatnonzero(pc.is_in(train.texts, value_set=pc.unique(suspects.texts)).to_numpy())
        )
        seen = set(_pairs(near))
        at = at[[pair in seen for pair in _pairs(suspects)]]
    return at


def _pairs(part: Dataset) -> list[tuple[str, str]]:
    assert part.pairs is not None
    return list(zip(part.texts.to_pylist(), part.pairs.to_pylist(), strict=True))


def copies_per_row(dataset: Dataset, *, by_text: bool = False) -> np.ndarray:
    """(rows,) int: equal numbers for rows with the same text (and the same second text, unless
    `by_text`).
    """
    codes = _text_codes(dataset.texts)
    if dataset.pairs is not None and not by_text:
        codes = np.unique(
            codes * (len(codes) + 1) + _text_codes(dataset.pairs), return_inverse=True
        )[1].reshape(-1)
    return codes


def _text_codes(texts: pa.ChunkedArray) -> np.ndarray:
    encoded = pc.dictionary_encode(texts).unify_dictionaries()
    return np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks]).astype(np.int64)

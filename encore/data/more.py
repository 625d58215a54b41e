"""Further training rows of a task: labels that are new in them, and rows that may not be used."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from encore.data.checks import rows_in_both
from encore.data.columns import Columns
from encore.data.dataset import Dataset
from encore.data.label_cells import fold_label, natural_order
from encore.data.settings import DataSettings
from encore.data.table import Table, display_path, join_limited, plural
from encore.data.targets import unknown_labels
from encore.errors import DataError, Problem
from encore.types import Note

__all__ = ["with_more", "with_new_labels"]


def with_new_labels(columns: Columns, more: Sequence[Table], settings: DataSettings) -> Columns:
    """The columns with the labels that only further tables have, table by table, after the others,
    so that each of these keeps its number. Raises DataError where the kind of task allows no more.
    """
    for table in more:
        columns = _widened(columns, table, settings)
    return columns


def _widened(columns: Columns, table: Table, settings: DataSettings) -> Columns:
    words: dict[str, int] = {}
    if columns.kind not in ("regression", "unlabelled"):
        words = unknown_labels(table, columns)
    if not words:
        return columns
    name_of = _names(words, merge=columns.merge_labels)
    counts: Counter[str] = Counter()
    for word, count in words.items():
        counts[name_of[word]] += count
    new = natural_order(list(counts))
    found = join_limited([f"{name} ({plural(counts[name], 'row')})" for name in new], 12)
    if settings.kind == "binary":
        raise DataError(
            Problem(
                where=table.name,
                message=f"binary has two labels, and here are more: {found}.",
                remedy="To widen the task:",
                setting="data.kind",
                change="multiclass",
            )
        )
    names = (*columns.labels, *new)
    return replace(
        columns,
        kind="multiclass" if columns.kind == "binary" else columns.kind,
        labels=names,
        # Ranks are in the order of the names, and a new one may belong between two others.
        ordered=columns.ordered and natural_order(list(names)) == list(names),
        cells={**columns.cells, **{word: names.index(name) for word, name in name_of.items()}},
        notes=(*columns.notes, Note(f"new labels, after the others: {found}", about=table.name)),
    )


def _names(words: Mapping[str, int], *, merge: bool) -> dict[str, str]:
    """{word: its label}. merge: spellings share the label of the most frequent of them."""
    if not merge:
        return {word: word for word in words}
    best: dict[str, str] = {}
    for word in sorted(words, key=lambda word: (-words[word], word)):
        best.setdefault(fold_label(word), word)
    return {word: best[fold_label(word)] for word in words}


def with_more(
    train: Dataset, more: Sequence[Dataset], dev: Iterable[Dataset], only: int
) -> tuple[Dataset, list[Note]]:
    """The train set with further rows after its own, and what was left out: rows that also occur in
    a dev set. only: the number of sets, the last of `more`, that are trained on alone; 0: all.
    Raises DataError where a file has no other rows.
    """
    kept, notes = [], []
    for part in more[-only:] if only else more:
        seen = np.unique(np.concatenate([np.zeros(0, int), *(rows_in_both(d, part) for d in dev)]))
        rest = part.take(np.setdiff1d(np.arange(len(part)), seen))
        file = display_path(part.path)
        if not len(rest):
            raise DataError(
                Problem(where=file, message="every row also occurs in the dev set: none is new.")
            )
        if len(seen):
            left = f"{plural(len(seen), 'row')} also in the dev set left out"
            notes.append(Note(left, about=file))
        kept.append(rest)
    parts = kept if only else [train, *kept]
    whole = _joined(parts)
    added = ", ".join(f"{len(part):,} of {Path(part.path).name}" for part in parts)
    notes.append(Note(f"{len(whole):,} rows: {added}", about="train"))
    return whole, notes


def _joined(parts: Sequence[Dataset]) -> Dataset:
    """The rows of several files as one train set, numbered through."""
    first = parts[0]
    sources = tuple(source for part in parts for source in part.sources)
    if len(sources) == 1:
        return replace(first, name="train")
    digest = hashlib.sha256("\n".join(digest for _, digest, _ in sources).encode()).hexdigest()
    starts = np.cumsum([0, *(int(rows.max()) + 1 for _, _, rows in sources)])
    numbers = [rows + start for (_, _, rows), start in zip(sources, starts[:-1], strict=True)]
    targets = [part.targets for part in parts if part.targets is not None]
    return replace(
        first,
        name="train",
        texts=_chained([part.texts for part in parts]),
        pairs=_chained([part.pairs for part in parts if part.pairs is not None]),
        negatives=_chained([part.negatives for part in parts if part.negatives is not None]),
        groups=_chained([part.groups for part in parts if part.groups is not None]),
        targets=np.concatenate(targets) if targets else None,
        rows=np.concatenate(numbers),
        digest=digest,
        lines=None,
        extra={},
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        files=sources,
    )


def _chained(columns: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray | None:
    """The columns one after the other, with the type of the first."""
    if not columns:
        return None
    kind = columns[0].type
    chunks = [chunk for column in columns for chunk in column.cast(kind).chunks]
    return pa.chunked_array(chunks, type=kind)

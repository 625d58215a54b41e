"""The rows of a task: texts, targets and their origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from encore.data.columns import Columns
from encore.data.settings import Reading
from encore.data.table import display_path, recorded_path
from encore.types import LabelSpace, Note

__all__ = ["Dataset", "TaskData", "describe_task_data"]


@dataclass(frozen=True)
class Dataset:
    """The rows of one split.

    texts, pairs: (rows,) strings, normalised. targets: (rows,) int64 for classes, (rows, labels)
    float32 for multilabel, (rows,) float32 for regression; None where there are none. rows: (rows,)
    int64, the row's number in its file: (digest, row) names an example for ever. lines: (rows,) its
    line, where the file has lines. extra: further columns of the file by name, row by row.
    how_read: the note on the file, its rows, delimiter and encoding; None for texts given directly.
    negatives: (rows,) texts that do not belong to the first ones, None where there are none.
    notes: what qualifies figures and predictions (rows that were left out). files: those that the
    rows are from where there are several: path, digest, and (rows,) int64 numbers in that file.
    groups: (rows,) strings, equal for rows that belong together, null for one that stands alone;
    None where no column says.
    """

    name: str
    texts: pa.ChunkedArray
    pairs: pa.ChunkedArray | None
    targets: np.ndarray | None
    rows: np.ndarray
    digest: str
    path: str
    lines: np.ndarray | None = None
    extra: Mapping[str, pa.ChunkedArray] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    how_read: Note | None = None
    negatives: pa.ChunkedArray | None = None
    files: tuple[tuple[str, str, np.ndarray], ...] = ()
    groups: pa.ChunkedArray | None = None

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def places(self) -> tuple[str, np.ndarray]:
        """The number of each row as a message names it, (rows,) int64, and of what it is the
        number: its line, or its row counted from 1 where the file has no lines.
        """
        return ("row", self.rows + 1) if self.lines is None else ("line", self.lines)

    @property
    def sources(self) -> tuple[tuple[str, str, np.ndarray], ...]:
        """`files`, also where all rows are from one."""
        return self.files or ((self.path, self.digest, self.rows),)

    def take(self, indices: np.ndarray | Sequence[int]) -> Dataset:
        """The rows at `indices` (0-based positions in this dataset), in that order."""
        at = np.asarray(indices, dtype=np.int64)
        arrow = pa.array(at)
        return replace(
            self,
            texts=self.texts.take(arrow),
            pairs=None if self.pairs is None else self.pairs.take(arrow),
            targets=None if self.targets is None else self.targets[at],
            rows=self.rows[at],
            lines=None if self.lines is None else self.lines[at],
            extra={name: column.take(arrow) for name, column in self.extra.items()},
            negatives=None if self.negatives is None else self.negatives.take(arrow),
            groups=None if self.groups is None else self.groups.take(arrow),
        )


@dataclass(frozen=True)
class TaskData:
    """The rows that a task trains on and is scored on.

    metrics: the first decides. notes: everything that was inferred, decided or noticed, announced
    before training. caveats: those notes that qualify the figures, which every table repeats. test:
    never opened by `load_task`.
    """

    name: str
    labels: LabelSpace
    train: Dataset
    dev: Mapping[str, Dataset]
    metrics: tuple[str, ...]
    notes: tuple[Note, ...]
    test: Path | None
    columns: Columns
    normalise: str | None = None
    reading: Reading = field(default_factory=Reading)
    caveats: tuple[Note, ...] = ()


def describe_task_data(data: TaskData) -> dict[str, Any]:
    """The summary that `--dry-run` prints and a run keeps in data.json: per split its file, digest,
    rows and label counts. The test file is named, not opened.
    """
    named = {
        display_path(path): recorded_path(path)
        for part in (data.train, *data.dev.values())
        for path, _, _ in part.sources
    }
    return {
        "task": data.name,
        "kind": data.labels.kind,
        "labels": list(data.labels.names),
        "ordered": data.labels.ordered,
        "columns": {
            "text": data.columns.text,
            "text_pair": data.columns.text_pair,
            "label": data.columns.label,
            "cells": dict(data.columns.cells),
            **({"negative": data.columns.negative} if data.columns.negative else {}),
            **({"group": data.columns.group} if data.columns.group else {}),
        },
        "normalise": data.normalise,
        "metrics": list(data.metrics),
        "splits": {
            part.name: _described(part, data.labels) for part in (data.train, *data.dev.values())
        },
        "test": None if data.test is None else recorded_path(data.test),
        "notes": [
            str(replace(each, about=named.get(each.about, each.about))) for each in data.notes
        ],
    }


def _described(part: Dataset, labels: LabelSpace) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "path": recorded_path(part.path),
        "sha256": part.digest,
        "rows": len(part),
    }
    if part.files:
        summary["files"] = [
            {"path": recorded_path(path), "sha256": digest, "rows": len(rows)}
            for path, digest, rows in part.files
        ]
    targets = part.targets
    if targets is not None and labels.kind == "regression":
        summary["range"] = [float(targets.min()), float(targets.max())]
        summary["mean"] = float(targets.mean(dtype=np.float64))
    elif targets is not None:
        counts = (
            targets.sum(axis=0).astype(int)
            if labels.kind == "multilabel"
            else np.bincount(targets, minlength=len(labels.names))
        )
        summary["label_counts"] = dict(zip(labels.names, counts.tolist(), strict=True))
    return summary

"""Checks of a task's settings and rows: conflicting settings, rare classes, contradictory labels,
overlap with dev sets.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from encore.data import named
from encore.data.columns import Columns
from encore.data.dataset import Dataset
from encore.data.table import complain, display_path
from encore.errors import RecipeError, did_you_mean
from encore.types import TaskKind

__all__ = [
    "check_settings",
    "check_test",
    "class_notes",
    "conflict_note",
    "copies_per_row",
    "overlap_note",
]


# ----------------------------------------------------------------------------------------- settings


def check_settings(
    name: str,
    train: Any,
    dev: Any,
    text: Any,
    text_pair: Any,
    labels: Any,
    kind: Any,
    dev_frac: float,
    train_rows: Any,
    dev_rows: Any,
    normalise: Any,
    on_bad_row: Any,
) -> None:
    problems = []
    if train is None and name in named.NAMED:
        fixed = {"dev": dev, "text": text, "text_pair": text_pair, "labels": labels, "kind": kind}
        problems += [
            f"task '{name}' brings its own data.{key}; leave it out, or name your own file: "
            f"data.train=FILE"
            for key, value in fixed.items()
            if value is not None
        ]
    if isinstance(dev, Mapping):
        problems += [
            f"data.dev.{key}: a dev set cannot be called '{key}'; choose another name"
            for key in dev
            if key in ("train", "test")
        ]
        problems += (
            ["data.dev: expected one dev set or more, got none; leave it out to have one split off"]
            if not dev
            else []
        )
    if not 0.0 < dev_frac < 1.0:
        problems.append(f"data.dev_frac: expected a number between 0 and 1, got {dev_frac}")
    for key, count in (("train_rows", train_rows), ("dev_rows", dev_rows)):
        if count is not None and (not isinstance(count, int) or count < 2):
            problems.append(f"data.{key}: expected a whole number of 2 or more, got {count}")
    if normalise is not None and normalise not in named.NORMALISATIONS:
        problems.append(
            f"data.normalise: no normalisation called '{normalise}'. "
            f"{did_you_mean(str(normalise), named.NORMALISATIONS)}"
        )
    if on_bad_row not in ("fail", "skip"):
        problems.append(f"data.on_bad_row: expected fail or skip, got '{on_bad_row}'")
    if problems:
        raise RecipeError(problems)


def check_test(test: Path, others: Sequence[Path]) -> None:
    if not test.is_file():
        complain(
            [
                f"{display_path(test)}: no such file (data.test). It is checked now, and opened by "
                f"`encore evaluate --final` only."
            ]
        )
    same = [other for other in others if other.exists() and os.path.samefile(test, other)]
    if same:
        complain(
            [
                f"{display_path(test)}: the test file is also the "
                f"{'dev' if same[-1] is not others[0] else 'train'} file. Give the test rows a "
                f"file of their own."
            ]
        )


def class_notes(part: Dataset, columns: Columns) -> list[str]:
    """Labels that no row has: in training nobody learns them, on a dev set no metric knows them."""
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
    which = "training row" if part.name == "train" else f"row of {part.name}"
    listed = ", ".join(absent[:12]) + (", …" if len(absent) > 12 else "")
    return [f"no {which} has the label{'s' if len(absent) > 1 else ''} {listed}"] if absent else []


def conflict_note(train: Dataset, kind: TaskKind) -> list[str]:
    """How many texts the labels disagree on: no model can be right on all their rows."""
    if kind in ("regression", "multilabel") or train.targets is None:
        return []
    codes = copies_per_row(train)
    seen = np.unique(np.stack([codes, train.targets], axis=1), axis=0)[:, 0]
    n_texts = int((np.bincount(seen) > 1).sum())
    return (
        [
            f"{n_texts:,} text{'s occur' if n_texts > 1 else ' occurs'} in "
            f"{display_path(train.path)} "
            f"with different labels"
        ]
        if n_texts
        else []
    )


def overlap_note(train: Dataset, part: Dataset) -> list[str]:
    """How many dev rows have the very text (and second text) of a training row: their score is
    memory, not skill.
    """
    at = np.flatnonzero(pc.is_in(part.texts, value_set=pc.unique(train.texts)).to_numpy())
    if not len(at):
        return []
    n_same = len(at)
    if train.pairs is not None and part.pairs is not None:
        suspects = part.take(at)
        near = train.take(
            np.flatnonzero(pc.is_in(train.texts, value_set=pc.unique(suspects.texts)).to_numpy())
        )
        seen = set(
            zip(
                near.texts.to_pylist(),
                near.pairs.to_pylist() if near.pairs is not None else [],
                strict=True,
            )
        )
        n_same = sum(
            pair in seen
            for pair in zip(
                suspects.texts.to_pylist(),
                suspects.pairs.to_pylist() if suspects.pairs is not None else [],
                strict=True,
            )
        )
    return (
        [f"{part.name}: {n_same:,} of {len(part):,} rows also occur in the train set"]
        if n_same
        else []
    )


def copies_per_row(dataset: Dataset, *, by_text: bool = False) -> np.ndarray:
    """(rows,) int: equal numbers for rows with the same text (and second text)."""
    codes = _text_codes(dataset.texts)
    if dataset.pairs is not None and not by_text:
        codes = np.unique(
            codes * (len(codes) + 1) + _text_codes(dataset.pairs), return_inverse=True
        )[1].reshape(-1)
    return codes


def _text_codes(texts: pa.ChunkedArray) -> np.ndarray:
    encoded = pc.dictionary_encode(texts).unify_dictionaries()
    return np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks]).astype(np.int64)

"""Tokenized rows of one task as training and evaluation read them, with sampling and class
weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from encore import catalogue
from encore.data.dataset import Dataset, TaskData
from encore.data.groups import group_numbers
from encore.data.token_store import TokenStore, end_to_end, tokenize
from encore.data.tokenizer import TextTokenizer
from encore.errors import Problem, RecipeError
from encore.recipe.schema import TaskRecipe
from encore.types import LabelSpace, Loss, Pairing, Spec

__all__ = [
    "Rows",
    "Stream",
    "class_weights",
    "rows_to_score",
    "sampling_weights",
    "tokenize_set",
]

TRAIN = "train"


@dataclass(frozen=True)
class Rows:
    """Tokenized examples with what training or evaluation needs of them, line by line. (`digest`,
    `numbers[i]`) names example i.

    An example is one row of the store, or several: `n_sides` texts that are read apart, or two
    orders of a pair, of which one is read at a time. The store has all first ones, then all second
    ones. `both_orders`: the scores of an example are the mean over its two. groups: as of Dataset.
    """

    store: TokenStore
    targets: np.ndarray
    digest: str
    numbers: np.ndarray
    weights: np.ndarray  # (rows,) float32
    n_sides: int = 1
    both_orders: bool = False
    groups: pa.ChunkedArray | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(examples,) int64: the tokens that each adds to a batch."""
        return sum(
            (
                self.store.lengths[side * len(self) : (side + 1) * len(self)]
                for side in range(self.n_sides)
            ),
            np.zeros(len(self), np.int64),
        )

    @property
    def clusters(self) -> np.ndarray | None:
        """(examples,) int64: equal numbers for examples that belong together, for intervals."""
        return group_numbers(self.groups)

    @property
    def n_cut(self) -> int:
        """Examples that lost tokens to the maximum length."""
        return (
            int(np.count_nonzero(self.store.cut.reshape(-1, len(self)).any(axis=0)))
            if len(self)
            else 0
        )

    @property
    def orders(self) -> list[np.ndarray | None]:
        """The values of `swapped`, one after the other, when all examples are scored."""
        return [None, np.ones(len(self), dtype=bool)] if self.both_orders else [None]

    def at(self, examples: np.ndarray, swapped: np.ndarray | None = None) -> np.ndarray:
        """Rows of the store, in the order of a batch: the sides of an example one after the other.
        `swapped`: (examples,) bool, pairs to be turned round.
        """
        if self.n_sides > 1:
            return (examples[:, None] + len(self) * np.arange(self.n_sides)).ravel()
        return examples if swapped is None else examples + len(self) * swapped


@dataclass(frozen=True)
class Stream:
    """One task as the training loop reads it. `sampling_weights`: (rows,) probabilities of sampling
    with replacement, or None for each row once per epoch. `batch_size`: None for that of the phase.
    `random_order`: the order of a pair is drawn each time it is read. `texts`: (rows, sides)
    numbers of the texts where none may occur twice in a batch.
    """

    name: str
    labels: LabelSpace
    train: Rows
    dev: Mapping[str, Rows]
    metrics: Sequence[str]
    losses: Mapping[str, tuple[float, Loss]]
    sampling_weights: np.ndarray | None = None
    batch_size: int | None = None
    random_order: bool = False
    texts: np.ndarray | None = None


def tokenize_set(
    dataset: Dataset, tokenizer: TextTokenizer, pair: Spec, *, max_length: int, truncation: str
) -> TokenStore:
    """The tokens of a dataset, in the rows that the pairing makes of it: all first texts, all
    second ones, and all negatives where there are any. Raises RecipeError for impossible settings
    and DataError for rows that are not text.
    """
    pairing: Pairing = catalogue.build("pairs", pair)
    how: dict[str, Any] = {"max_length": max_length, "truncation": truncation}
    store: TokenStore = pairing.tokenize(tokenizer, dataset.texts, dataset.pairs, **how)
    if dataset.negatives is None:
        return store
    return end_to_end([store, tokenize(tokenizer, dataset.negatives, **how)])


def rows_to_score(
    dataset: Dataset,
    tokenizer: TextTokenizer,
    pair: Mapping[str, Any],
    *,
    max_length: int,
    truncation: str,
) -> Rows:
    """Rows of which no targets are known."""
    pairing: Pairing = catalogue.build("pairs", pair)
    n_rows = len(dataset)
    return Rows(
        tokenize_set(dataset, tokenizer, pair, max_length=max_length, truncation=truncation),
        np.zeros(n_rows, np.int64),
        dataset.digest,
        dataset.rows,
        np.ones(n_rows, np.float32),
        pairing.n_sides,
        pairing.both_orders and dataset.pairs is not None,
    )


def sampling_weights(data: TaskData, task: TaskRecipe) -> np.ndarray | None:
    """(rows,) probabilities with which training rows are drawn, every class as often as any other;
    None: each row once per epoch.
    """
    if task.sampling != "balanced":
        return None
    targets = data.train.targets
    if targets is None or data.labels.kind not in ("binary", "multiclass"):
        message = f"balanced sampling needs one class per row; this is a {data.labels.kind} task."
        raise RecipeError(Problem(setting="sampling", message=message, remedy="Remove it."))
    counts = np.bincount(targets, minlength=data.labels.n_scores)
    return 1 / counts[targets] / np.count_nonzero(counts)


def class_weights(data: TaskData, task: TaskRecipe) -> np.ndarray | None:
    """(classes,) by the labels' order, with mean 1 over the training rows where balanced."""
    if task.class_weights is None:
        return None
    where = "class_weights"
    if data.labels.kind not in ("binary", "multiclass"):
        message = f"class weights need one class per row; this is a {data.labels.kind} task."
        raise RecipeError(Problem(setting=where, message=message, remedy="Remove them."))
    if task.class_weights == "balanced":
        counts = np.bincount(data.train.targets, minlength=data.labels.n_scores)  # type: ignore[arg-type]
        return len(data.train) / np.maximum(counts, 1) / np.count_nonzero(counts)
    unknown = [name for name in task.class_weights if name not in data.labels.names]
    if unknown:
        remedy = f"Known: {', '.join(data.labels.names)}."
        raise RecipeError(
            Problem(setting=where, message=f"no label called '{name}'.", remedy=remedy)
            for name in unknown
        )
    return np.array([task.class_weights.get(name, 1.0) for name in data.labels.names])

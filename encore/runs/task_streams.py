"""Builds the stream of a task: its tokenized rows with weights, losses and batch size."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from encore import catalogue
from encore.data.dataset import Dataset, TaskData
from encore.data.token_store import TokenStore
from encore.data.tokenizer import TextTokenizer
from encore.encoder.encoder import Shape
from encore.errors import DataError
from encore.files import canonical
from encore.recipe.schema import Recipe, TaskRecipe
from encore.runs.cache import Cache
from encore.runs.compatibility import losses_of
from encore.training.streams import Rows, Stream, class_weights, sampling_weights, tokenize_set
from encore.types import Pairing

__all__ = ["CachedTokenizer", "build_stream", "require_known", "tokens_of_a_batch"]


@dataclass(frozen=True)
class CachedTokenizer:
    """The tokenizer of an encoder, which tokenizes equal texts once per cache.

    encoder: its name, for error messages. shape: of the encoder.
    """

    tokenizer: TextTokenizer
    encoder: str
    shape: Shape
    cache: Cache

    def tokenize(self, dataset: Dataset, task: TaskRecipe, pair: Mapping[str, Any]) -> TokenStore:
        """The tokens of a dataset. Raises DataError where the encoder does not know one of them, or
        its segment.
        """
        store = self.cache.get_or_make(
            (
                "tokens",
                _digest_texts(dataset),
                self.tokenizer.digest,
                task.max_length,
                task.truncation,
                repr(sorted(pair.items())),
            ),
            lambda: tokenize_set(
                dataset,
                self.tokenizer,
                pair,
                max_length=task.max_length,
                truncation=task.truncation,
            ),
        )
        require_known(store, self.shape, self.encoder)
        return store


def require_known(store: TokenStore, shape: Shape, encoder: str) -> None:
    """Raise DataError where an encoder does not know one of the tokens, or its segment. encoder:
    its name.
    """
    for what, found, setting, most in (
        ("token", store.ids, "vocab_size", shape.n_words),
        ("segment", store.segments, "type_vocab_size", shape.n_segments),
    ):
        if most is not None and found.max(initial=0) >= most:
            raise DataError(
                f"encoder '{encoder}': its tokenizer gives {what} {found.max()}, its config.json "
                f"says {setting} {most}. The two belong to different encoders; save the right "
                f"tokenizer into that folder."
            )


def _digest_texts(dataset: Dataset) -> bytes:
    """A hash of the texts. Where they were read does not count: another seed draws other rows into
    a split, and equal texts are still tokenized once.
    """
    sides = [dataset.texts, dataset.pairs]
    if dataset.negatives is not None:
        sides.append(dataset.negatives)
    texts = [None if side is None else side.to_pylist() for side in sides]
    return hashlib.sha256(canonical(texts)).digest()


def build_stream(
    recipe: Recipe, data: TaskData, pair: Mapping[str, Any], tokenizer: CachedTokenizer
) -> Stream:
    """Tokenize a task's training and dev rows. Raises DataError or RecipeError."""
    task = recipe.tasks[data.name]
    pairing: Pairing = catalogue.build("pairs", pair)
    has_pairs = data.train.pairs is not None

    def rows(dataset: Dataset, weights: np.ndarray | None = None) -> Rows:
        n_rows = len(dataset)
        return Rows(
            store=tokenizer.tokenize(dataset, task, pair),
            targets=np.zeros(n_rows, np.float32) if dataset.targets is None else dataset.targets,
            digest=dataset.digest,
            numbers=dataset.rows,
            weights=np.ones(n_rows, np.float32) if weights is None else weights,
            n_sides=pairing.n_sides + (dataset.negatives is not None),
            both_orders=has_pairs and pairing.both_orders,
            groups=dataset.groups,
        )

    train = rows(data.train, _row_weights(data, task))
    return Stream(
        data.name,
        data.labels,
        train,
        {name: rows(part) for name, part in data.dev.items()},
        data.metrics,
        losses_of(recipe, data.name, data.labels),
        sampling_weights(data, task),
        task.batch_size,
        has_pairs and pairing.random_order,
        _numbered_texts(train) if task.sampling == "no_duplicates" else None,
    )


def _numbered_texts(rows: Rows) -> np.ndarray:
    """(rows, sides) int64: equal numbers for texts that are equal to the encoder."""
    store, known = rows.store, dict[bytes, int]()
    pieces = np.split(store.ids, store.offsets[1:-1])
    numbers = [known.setdefault(piece.tobytes(), len(known)) for piece in pieces]
    return np.asarray(numbers, np.int64).reshape(-1, len(rows)).T


def _row_weights(data: TaskData, task: TaskRecipe) -> np.ndarray | None:
    """(rows,) float32: the class weight of each training row; None where all weigh 1."""
    per_class, targets = class_weights(data, task), data.train.targets
    if per_class is None or targets is None:
        return None
    return per_class[targets].astype(np.float32)


def tokens_of_a_batch(recipe: Recipe, streams: Mapping[str, Stream]) -> float:
    """The tokens of a usual batch, of the task with the shortest."""
    size = recipe.plan.batch_size
    return min(
        float(each.train.lengths.mean()) * min(each.batch_size or size, len(each.train))
        for each in streams.values()
    )

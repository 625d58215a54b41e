"""The shares of fused adapters in the words of a text: means over the layers and over a word's
tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice

import numpy as np

from encore.data.batches import collate, evaluation_batches
from encore.data.dataset import Dataset
from encore.data.token_store import take_runs
from encore.data.tokenizer import TextTokenizer
from encore.model.mixtures import mixtures
from encore.runs.explain import Explanation
from encore.runs.loaded_task import LoadedTask
from encore.runs.read_examples import ReadExample, read_example
from encore.training.streams import Rows, rows_to_score

__all__ = ["with_adapter_shares"]

_BLOCK_ROWS = 64


def with_adapter_shares(
    task: LoadedTask,
    tokenizer: TextTokenizer,
    dataset: Dataset,
    explanations: Iterable[Explanation],
) -> Iterator[Explanation]:
    """The explanations of the rows of `dataset`, with the shares of the task's adapters."""
    left = iter(explanations)
    for start in range(0, len(dataset), _BLOCK_ROWS):
        block = dataset.take(np.arange(start, min(start + _BLOCK_ROWS, len(dataset))))
        rows = rows_to_score(
            block, tokenizer, task.pair, max_length=task.max_length, truncation=task.truncation
        )
        shares = _of_tokens(task, rows)
        texts = [side.to_pylist() for side in (block.texts, block.pairs) if side is not None]
        sides = zip(*texts, strict=True)
        for row, (each, one) in enumerate(zip(sides, islice(left, len(block)), strict=True)):
            yield _shared(
                one, read_example(task, tokenizer, rows, row, each), shares, task.adapters
            )


def _of_tokens(task: LoadedTask, rows: Rows) -> np.ndarray:
    """(tokens, adapters) of the store: means over the places at which each adapter is mixed."""
    store, device = rows.store, next(task.model.parameters()).device
    sums = np.zeros((len(store.ids), len(task.adapters)))
    for numbers in evaluation_batches(store.lengths):
        tokens = take_runs(store.offsets[:-1][numbers], store.lengths[numbers])
        for place, found in mixtures(task.model, collate(store, numbers, device)).items():
            sums[np.ix_(tokens, np.array(place.adapters))] += found.double().cpu().numpy()
    return sums / sums.sum(axis=1, keepdims=True)


def _shared(
    one: Explanation, example: ReadExample, shares: np.ndarray, names: tuple[str, ...]
) -> Explanation:
    texts = []
    for side, read in zip(one.texts, example.texts, strict=True):
        tokens = [read.tokens_of(word) for word in read.words]
        words = tuple(
            replace(word, adapters=_mean(shares, own, names)) if len(own) else word
            for word, own in zip(side.words, tokens, strict=True)
        )
        texts.append(replace(side, words=words))
    everything = np.concatenate([np.arange(start, end) for start, end in example.spans])
    return replace(one, texts=tuple(texts), adapters=_mean(shares, everything, names))


def _mean(shares: np.ndarray, tokens: np.ndarray, names: tuple[str, ...]) -> dict[str, float]:
    return dict(zip(names, shares[tokens].mean(axis=0).tolist(), strict=True))

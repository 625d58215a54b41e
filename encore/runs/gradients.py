"""The share of each word in a prediction, by integrated gradients, and the test of it: how much the
prediction suffers without the strongest words.

An attribution says what the model uses. Whether it is right about that is a question to the model:
without a fifth of its words, the strongest ones, the score of a row should fall by more than
without as many random words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from encore import rng
from encore.data.batches import collate, evaluation_batches
from encore.data.dataset import Dataset
from encore.data.token_store import TokenStore, take_runs
from encore.data.tokenizer import TextTokenizer
from encore.encoder.encoder import computing_in
from encore.errors import RecipeError
from encore.evaluation.predictions import predictions
from encore.model.integrated_gradients import integrate
from encore.model.task_model import TaskModel, encoders_of
from encore.runs.explain import Attribution, Explanation
from encore.runs.loaded_task import LoadedTask
from encore.runs.read_examples import ReadExample, read_example
from encore.training.scoring import score_rows
from encore.training.streams import Rows, rows_to_score
from encore.types import LabelSpace, TaskKind

__all__ = ["explain_by_gradients", "masking_token"]

_BLOCK_ROWS = 64  # explained before the first of them is shown
_TOKENS_PER_BATCH = 2048  # of one backward pass
_REMOVED_FRAC = 0.2  # of a row's words
_N_DRAWS = 4  # of random words
_MASKS = ("[MASK]", "<mask>", "[PAD]", "<pad>", "[UNK]", "<unk>")


def masking_token(tokenizer: TextTokenizer) -> str:
    """The token that takes the place of each word where gradients begin: that of masking, else of
    padding, else the unknown one. Raises RecipeError where the tokenizer has none of them.
    """
    for name in _MASKS:
        if tokenizer.backend.token_to_id(name) is not None:
            return name
    raise RecipeError(
        f"--explain: the encoder's tokenizer has none of the tokens {', '.join(_MASKS)}, where "
        f"integrated gradients begin. Train with pooling=attention, which weighs words itself."
    )


def explain_by_gradients(
    task: LoadedTask, tokenizer: TextTokenizer, dataset: Dataset
) -> Iterator[Explanation]:
    """One explanation per row, in their order, 64 rows at a time. Raises RecipeError as
    `masking_token` does.
    """
    mask = tokenizer.backend.token_to_id(masking_token(tokenizer))
    assert mask is not None  # or masking_token had raised
    blocks = (
        dataset.take(np.arange(start, min(start + _BLOCK_ROWS, len(dataset))))
        for start in range(0, len(dataset), _BLOCK_ROWS)
    )
    return (each for block in blocks for each in _explained(task, tokenizer, block, mask))


def _explained(
    task: LoadedTask, tokenizer: TextTokenizer, dataset: Dataset, mask: int
) -> list[Explanation]:
    """The explanations of a few rows."""
    rows = rows_to_score(
        dataset, tokenizer, task.pair, max_length=task.max_length, truncation=task.truncation
    )
    texts = [side.to_pylist() for side in (dataset.texts, dataset.pairs) if side is not None]
    examples = [
        read_example(task, tokenizer, rows, row, sides)
        for row, sides in enumerate(zip(*texts, strict=True))
    ]
    score = _Score(
        task.labels.kind, _chosen(score_rows(task.model, rows, task.labels), task.labels)
    )
    attributions, change = _attributed(task.model, rows, examples, score, mask)
    found = [example.explanation(attributions) for example in examples]
    signs = np.where((change < 0) & (task.labels.kind == "regression"), -1.0, 1.0)
    falls = _falls(task, rows, examples, found, score, signs)
    return [
        replace(one, attribution=Attribution(score.names(row, task.labels), float(by), *fell))
        for row, (one, by, fell) in enumerate(zip(found, change, falls, strict=True))
    ]


# ---------------------------------------------------------------------------------------- the score


@dataclass(frozen=True)
class _Score:
    """The score of a row that is explained. chosen: (rows, n_scores) bool, those of its labels."""

    kind: TaskKind
    chosen: np.ndarray

    def __call__(self, scores: Tensor, rows: np.ndarray) -> Tensor:
        """(rows, n_scores) raw scores → (rows,): log-odds of the label of a class task, their sum
        over the labels of a multi-label one, the value itself for regression.
        """
        chosen = torch.from_numpy(self.chosen[rows]).to(scores.device)
        own = torch.where(chosen, scores, 0).sum(dim=1)
        if self.kind in ("regression", "multilabel"):
            return own
        return own - scores.masked_fill(chosen, -torch.inf).logsumexp(dim=1)

    def names(self, row: int, labels: LabelSpace) -> tuple[str, ...]:
        """The labels whose score it is, none for regression."""
        chosen = np.flatnonzero(self.chosen[row]).tolist()
        return tuple(labels.names[label] for label in chosen) if labels.names else ()


def _chosen(scores: np.ndarray, labels: LabelSpace) -> np.ndarray:
    best = np.arange(labels.n_scores) == scores.argmax(axis=1)[:, None]
    if labels.kind != "multilabel":
        return best
    predicted = predictions(scores, labels) == 1
    return np.where(predicted.any(axis=1, keepdims=True), predicted, best)


# ------------------------------------------------------------------------------------------ passes


def _attributed(
    model: TaskModel, rows: Rows, examples: Sequence[ReadExample], score: _Score, mask: int
) -> tuple[np.ndarray, np.ndarray]:
    """(tokens,) float64 attributions of the store, and (rows,) float64 what they add up to."""
    store, device = rows.store, next(model.parameters()).device
    masked = store.ids.copy()
    for example in examples:
        for each in example.texts:
            masked[each.tokens[each.tokens >= 0]] = mask
    baseline = replace(store, ids=masked)
    attributions, change = np.zeros(len(store.ids)), np.zeros(len(rows))
    n_orders = len(rows.orders)
    for numbers in evaluation_batches(rows.lengths * n_orders, tokens_per_batch=_TOKENS_PER_BATCH):
        at = np.concatenate(
            [
                rows.at(numbers, None if swapped is None else swapped[numbers])
                for swapped in rows.orders
            ]
        )

        def of_examples(scores: Tensor, numbers: np.ndarray = numbers) -> Tensor:
            return score(scores.unflatten(0, (n_orders, -1)).mean(dim=0), numbers)

        found = integrate(
            model,
            collate(store, at, device),
            collate(baseline, at, device).ids,
            of_examples,
        )
        tokens = take_runs(store.offsets[:-1][at], store.lengths[at])
        attributions[tokens] = found.attributions.cpu().numpy()
        change[numbers] = found.change.cpu().numpy()
    return attributions, change


def _falls(
    task: LoadedTask,
    rows: Rows,
    examples: Sequence[ReadExample],
    explanations: Sequence[Explanation],
    score: _Score,
    signs: np.ndarray,
) -> list[tuple[float | None, float | None]]:
    """For each row how much its score falls without its strongest words, and, on average, without
    as many random ones; None where it has less than two. signs: (rows,) -1 where a lower score is
    what the words add up to.
    """
    removed: list[list[np.ndarray]] = [[] for _ in range(1 + _N_DRAWS)]
    tested = np.zeros(len(rows), dtype=bool)
    for row, (example, one) in enumerate(zip(examples, explanations, strict=True)):
        words, n_words = example.words, len(one.weights)
        if n_words < 2:
            continue
        tested[row] = True
        n_removed = max(1, round(_REMOVED_FRAC * n_words))
        strongest = np.argsort(-signs[row] * np.array(one.weights), kind="stable")
        draw = rng.generator(0, "deletion", *(text.text for text in one.texts))
        for number, chosen in enumerate(
            [strongest, *(draw.permutation(n_words) for _ in removed[1:])]
        ):
            removed[number] += [words[at] for at in chosen[:n_removed]]
    everything = np.arange(len(rows))

    def scored(store: TokenStore) -> np.ndarray:
        scores = score_rows(task.model, replace(rows, store=store), task.labels)
        return signs * score(torch.from_numpy(scores), everything).double().numpy()

    with computing_in(torch.float32, encoders_of(task.model)):
        whole = scored(rows.store)
        falls = [
            whole - scored(rows.store.without(np.concatenate(tokens)))
            for tokens in removed
            if tokens
        ]
    if not falls:
        return [(None, None)] * len(rows)
    return [
        (float(top), float(random)) if kept else (None, None)
        for kept, top, random in zip(tested, falls[0], np.mean(falls[1:], axis=0), strict=True)
    ]

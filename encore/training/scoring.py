"""Scores of task models on tokenized rows, in eval mode."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from encore.data.batches import collate, evaluation_batches
from encore.data.token_store import TokenStore
from encore.model.feature_cache import FeatureCache
from encore.model.task_model import Memo, TaskModel
from encore.training.ranks import Alone, Ranks, exchange_tensors
from encore.training.streams import Rows
from encore.types import LabelSpace, Tokens

__all__ = ["collate_cached", "score_members", "score_rows", "score_together"]


def score_rows(
    model: TaskModel,
    rows: Rows,
    labels: LabelSpace,
    features: FeatureCache | None = None,
    ranks: Ranks | None = None,
) -> np.ndarray:
    """(rows, n_scores) float32, in the order of `rows`. `features`: the cached
    features of these rows, where the model has a frozen encoder. ranks: each scores some.
    """
    [found] = score_members([{"": model}], rows, {"": labels.n_scores}, features, ranks)
    return found[""]


def score_together(
    models: Mapping[str, TaskModel],
    rows: Rows,
    n_scores: Mapping[str, int],
    features: FeatureCache | None = None,
) -> dict[str, np.ndarray]:
    """(rows, n_scores) float32 of several tasks on the same rows, in their order. What the tasks
    share of their encoders is computed once for each text; texts that are read apart, and whose
    sides do not see each other before the head, are computed once however often they occur.
    """
    return score_members([models], rows, n_scores, features)[0]


def score_members(
    members: Sequence[Mapping[str, TaskModel]],
    rows: Rows,
    n_scores: Mapping[str, int],
    features: FeatureCache | None = None,
    ranks: Ranks | None = None,
) -> list[dict[str, np.ndarray]]:
    """The scores of several trained runs on the same rows, each as of `score_together`: batches are
    put together, and laid out for attention, once for all of them. ranks: each scores some of the
    batches, to the bits that one would give, and all have the scores of all.
    """
    ranks = ranks or Alone()
    every = [model for models in members for model in models.values()]
    device = next(every[0].parameters()).device
    found = [
        {task: np.zeros((len(rows), n_scores[task]), dtype=np.float32) for task in models}
        for models in members
    ]
    apart = rows.n_sides > 1 and not any(
        branch.pooling.couples_sides for model in every for branch in model.branches
    )
    with _evaluating(every):
        if apart:
            _score_apart(members, rows, found, features, device, ranks)
            return found
        for swapped in rows.orders:
            for numbers in _own(evaluation_batches(rows.lengths), ranks):
                tokens = collate_cached(
                    rows.store,
                    rows.at(numbers, None if swapped is None else swapped[numbers]),
                    device,
                    features,
                )
                for models, scores in zip(members, found, strict=True):
                    memo: Memo | None = {} if len(models) > 1 else None
                    for task, model in models.items():
                        scores[task][numbers] += model(
                            tokens, memo=memo
                        ).scores.float().cpu().numpy() / np.float32(len(rows.orders))
    return _of_all(found, ranks)


def _own(batches: list[np.ndarray], ranks: Ranks) -> list[np.ndarray]:
    """The batches that this rank scores."""
    return batches[ranks.rank :: ranks.size]


def _of_all(found: list[dict[str, np.ndarray]], ranks: Ranks) -> list[dict[str, np.ndarray]]:
    """The scores of all rows. found: those of this rank's, and zeros."""
    if ranks.size == 1:
        return found
    names = [(member, task) for member, tasks in enumerate(found) for task in tasks]
    own = {
        str(number): torch.from_numpy(found[member][task])
        for number, (member, task) in enumerate(names)
    }
    every = [tensors for tensors, _ in exchange_tensors(ranks, own)]
    for number, (member, task) in enumerate(names):
        found[member][task] = np.sum([each[str(number)].numpy() for each in every], axis=0)
    return found


_PAIRS = 4096  # scored at once


def _score_apart(
    members: Sequence[Mapping[str, TaskModel]],
    rows: Rows,
    found: Sequence[Mapping[str, np.ndarray]],
    features: FeatureCache | None,
    device: torch.device,
    ranks: Ranks,
) -> None:
    """Fill `found`: embed each distinct text, then score all pairs of embeddings."""
    firsts, which = _distinct(rows.store)
    tables: dict[tuple[int, str], Tensor] = {}
    for numbers in _own(evaluation_batches(rows.store.lengths[firsts]), ranks):
        tokens = collate_cached(rows.store, firsts[numbers], device, features)
        for member, models in enumerate(members):
            memo: Memo | None = {} if len(models) > 1 else None
            for task, model in models.items():
                lines = model.head.embed(model.vectors(tokens, memo=memo)[0])
                if (member, task) not in tables:
                    tables[member, task] = lines.new_zeros(len(firsts), lines.shape[1])
                tables[member, task][torch.from_numpy(numbers).to(device)] = lines
    tables = _tables_of_all(tables, ranks, device)
    for start in range(0, len(rows), _PAIRS):
        some = np.arange(start, min(start + _PAIRS, len(rows)))
        sides = [
            torch.from_numpy(which[some + side * len(rows)]).to(device)
            for side in range(rows.n_sides)
        ]
        for member, models in enumerate(members):
            for task, model in models.items():
                scored = model.head.score(*(tables[member, task][side] for side in sides))
                found[member][task][some] = scored.float().cpu().numpy()


def _tables_of_all(
    tables: dict[tuple[int, str], Tensor], ranks: Ranks, device: torch.device
) -> dict[tuple[int, str], Tensor]:
    """The embeddings of all texts. tables: those of this rank's, and zeros; nothing of a rank
    without texts.
    """
    if ranks.size == 1:
        return tables
    found: dict[tuple[int, str], Tensor] = {}
    named = {f"{member} {task}": table for (member, task), table in tables.items()}
    for given, _ in exchange_tensors(ranks, named):
        for name, table in given.items():
            member, _, task = name.partition(" ")
            key = (int(member), task)
            found[key] = found[key] + table.to(device) if key in found else table.to(device)
    return found


def _distinct(store: TokenStore) -> tuple[np.ndarray, np.ndarray]:
    """(distinct rows,) the first row of each, and (rows,) which of these each row is."""
    seen: dict[bytes, int] = {}
    firsts: list[int] = []
    which = np.empty(len(store), dtype=np.int64)
    for row, (start, end) in enumerate(
        zip(store.offsets[:-1].tolist(), store.offsets[1:].tolist(), strict=True)
    ):
        text = store.ids[start:end].tobytes()
        if text not in seen:
            seen[text] = len(firsts)
            firsts.append(row)
        which[row] = seen[text]
    return np.asarray(firsts, dtype=np.int64), which


@contextlib.contextmanager
def _evaluating(models: Iterable[TaskModel]) -> Iterator[None]:
    before = [(model, model.training) for model in models]
    try:
        with torch.inference_mode():
            for model, _ in before:
                model.eval()
            yield
    finally:
        for model, was_training in before:
            model.train(was_training)


def collate_cached(
    store: TokenStore, at: np.ndarray, device: torch.device, features: FeatureCache | None
) -> Tokens:
    """The tokens of the rows `at` of a store, with their cached features where there are any."""
    tokens = collate(store, at, device)
    return tokens if features is None else features.with_lines(tokens, at)

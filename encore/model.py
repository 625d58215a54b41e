"""A task model is branches (encoder → pooling), concatenated, then a head. Sharing is aliasing: the same objects, counted once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from encore import rng
from encore.encoder.borrowed import Borrowed
from encore.encoder.encoder import Encoder, Frozen
from encore.encoder.words import WordTable
from encore.types import Output, Pooling, Tokens

__all__ = ["Branch", "TaskModel", "predict_scores", "seeded", "unique_parameters", "word_tables"]


class Branch(nn.Module):
    """Tokens → one vector per row."""

    def __init__(self, encoder: Encoder | Borrowed | Frozen, pooling: Pooling) -> None:
        super().__init__()
        self.encoder, self.pooling = encoder, pooling

    def forward(self, tokens: Tokens, embedded: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(rows, width), and the embeddings (tokens, width) from which a loss may enter again with `embedded` changed."""
        if embedded is None:
            embedded = self.encoder.embedded(tokens)
        first_only = getattr(self.pooling, "first_only", False)
        return self.pooling(self.encoder.run(embedded, tokens, layers=self.pooling.layers, first_only=first_only)), embedded


class TaskModel(nn.Module):
    """`n_sides` texts of each example are rows of one `Tokens`: all first texts, then all second ones."""

    def __init__(self, branches: Sequence[Branch], head: nn.Module, *, n_sides: int = 1) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.head: Any = head                   # nn.Module says that its attributes are tensors or modules; a head has `embed` and `score`
        self.n_sides = n_sides

    def forward(self, tokens: Tokens, embedded: Sequence[Tensor] | None = None) -> Output:
        """`embedded`: one (tokens, width) per branch instead of what the embedding layers give."""
        if tokens.reduced is not None:
            branches: Sequence[Any] = list(self.branches)
            vectors, used = tuple(branch.pooling.finish(lines, tokens) for branch, lines in zip(branches, tokens.reduced, strict=True)), ()
        else:
            starts = [None] * len(self.branches) if embedded is None else embedded
            vectors, used = zip(*(branch(tokens, start) for branch, start in zip(self.branches, starts, strict=True)), strict=True)
        joined = vectors[0] if len(vectors) == 1 else torch.cat(vectors, dim=1)
        embeddings = tuple(self.head.embed(side) for side in joined.chunk(self.n_sides))
        return Output(self.head.score(*embeddings), embeddings, used)


def unique_parameters(models: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """Every parameter once, under its first name: what optimiser, checkpoint and averaging all use."""
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for task, model in models.items():
        for name, parameter in model.named_parameters(remove_duplicate=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                found[f"{task}.{name}"] = parameter
    return found


def word_tables(models: Iterable[nn.Module]) -> list[WordTable]:
    """Every word table once, in the order of the models."""
    return list({id(module): module for model in models for module in model.modules() if isinstance(module, WordTable)}.values())


@contextlib.contextmanager
def seeded(seed: int, *purpose: str | int) -> Iterator[None]:
    """Inside, torch's initialisers draw from the stream of (seed, purpose); outside nothing has changed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.key(seed, *purpose) % 2**63)
        yield


def predict_scores(model: TaskModel, batches: Iterator[tuple[np.ndarray, Tokens]], n_rows: int, n_scores: int) -> np.ndarray:
    """(rows, n_scores) float32 in the order of the input, whatever the order of the batches (row numbers, tokens)."""
    found = np.empty((n_rows, n_scores), dtype=np.float32)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for numbers, tokens in batches:
                found[numbers] = model(tokens).scores.float().cpu().numpy()
    finally:
        model.train(was_training)
    return found

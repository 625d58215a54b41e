"""A model of two small layers for pairs of texts, and a batch of pairs for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from encore import catalogue
from encore.data.batches import collate
from encore.data.token_store import TokenStore
from encore.encoder.encoder import Shape
from encore.encoder.families import bert
from encore.evaluation.teacher_scores import TeacherScores
from encore.model.task_model import Branch, TaskModel
from encore.types import Batch, LabelSpace, TaskKind

__all__ = ["LABELS", "N_ROWS", "WIDTH", "batch_of", "model_of", "taught"]

LABELS: dict[TaskKind, LabelSpace] = {
    "binary": LabelSpace("binary", ("no", "yes")),
    "multiclass": LabelSpace("multiclass", ("a", "b", "c")),
    "multilabel": LabelSpace("multilabel", ("x", "y", "z")),
    "regression": LabelSpace("regression"),
    "unlabelled": LabelSpace("unlabelled"),
}
N_ROWS, WIDTH = 11, 24


def model_of(kind: TaskKind, *, rate: float = 0.1) -> TaskModel:
    """Two layers with random weights and a head for two texts, in training."""
    torch.manual_seed(5)
    config = {
        "model_type": "bert",
        "vocab_size": 97,
        "hidden_size": WIDTH,
        "intermediate_size": 31,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "max_position_embeddings": 32,
        "type_vocab_size": 2,
        "hidden_dropout_prob": rate,
        "attention_probs_dropout_prob": rate,
    }
    encoder = bert.build(config)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    pooling = catalogue.build("pooling", "mean", Shape(WIDTH, 2, 3))
    n_scores = LABELS[kind].n_scores or 1
    head = catalogue.build("heads", {"name": "siamese_concat", "dropout": rate}, WIDTH, n_scores)
    return TaskModel([Branch(encoder, pooling)], head, n_sides=2).train()


def batch_of(kind: TaskKind, rows: slice = slice(None)) -> Batch:
    """Pairs of texts of 1 to 11 tokens, with targets and weights that differ."""
    draw = np.random.default_rng(3)
    lengths = draw.integers(1, 12, 2 * N_ROWS)
    offsets = np.concatenate([[0], lengths.cumsum()])
    ids = draw.integers(1, 97, offsets[-1]).astype(np.int32)
    store = TokenStore(ids, np.zeros(len(ids), np.uint8), offsets, np.zeros(2 * N_ROWS, bool), 32)
    n_scores = LABELS[kind].n_scores
    targets: dict[TaskKind, Any] = {
        "binary": draw.integers(0, 2, N_ROWS),
        "multiclass": draw.integers(0, 3, N_ROWS),
        "multilabel": draw.integers(0, 2, (N_ROWS, n_scores)).astype(np.float32),
        "regression": draw.uniform(0, 5, N_ROWS).astype(np.float32),
        "unlabelled": np.zeros(N_ROWS, np.float32),
    }
    weights = draw.uniform(0.5, 2, N_ROWS).astype(np.float32)
    examples = np.arange(N_ROWS)[rows]
    sides = (2 * examples[:, None] + np.arange(2)).ravel()
    return Batch(
        "task",
        "digest",
        examples,
        collate(store, sides),
        torch.from_numpy(targets[kind][rows]),
        torch.from_numpy(weights[rows]),
    )


def taught(loss: Any, labels: LabelSpace, *, n_scores: int = 1, n_rows: int = N_ROWS) -> Any:
    """The loss with random scores of a teacher, if it has one. n_scores: of a task without labels,
    whose head is that of another.
    """
    if loss.has_teacher:
        if labels.kind == "unlabelled":
            kind: TaskKind = "regression" if n_scores == 1 else "multiclass"
            labels = LabelSpace(kind, tuple("abcdefg"[:n_scores]) if n_scores > 1 else ())
        draw = np.random.default_rng(8)
        scores = draw.normal(size=(n_rows, labels.n_scores)).astype(np.float32)
        loss.teacher = TeacherScores(labels, "digest", np.arange(n_rows), scores)
    return loss

"""Small encoders of every family that Encore builds, and batches for them."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from encore.data.batches import collate
from encore.data.token_store import TokenStore
from encore.encoder import load
from encore.encoder.encoder import Encoder
from encore.types import Batch, LabelSpace, Tokens

__all__ = ["BERT_BASE", "CONFIGS", "LABELS", "batch_of", "encoder_of", "last", "stirred", "tokens"]

BERT_BASE: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": 30_522,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}
SMALL = {
    "vocab_size": 61,
    "hidden_size": 12,
    "intermediate_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "max_position_embeddings": 40,
}
DISTIL = {
    "vocab_size": 61,
    "dim": 12,
    "hidden_dim": 20,
    "n_layers": 3,
    "n_heads": 2,
    "max_position_embeddings": 40,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": {"model_type": "bert", **SMALL},
    "distilbert": {"model_type": "distilbert", **DISTIL},
    "electra": {"model_type": "electra", **SMALL, "embedding_size": 8},
    "modernbert": {"model_type": "modernbert", **SMALL, "attention_dropout": 0.1},
    "roberta": {"model_type": "roberta", **SMALL, "pad_token_id": 1},
}
LABELS = LabelSpace("multiclass", ("a", "b", "c"))


def encoder_of(family: str) -> Encoder:
    """Three layers with random weights, in eval mode."""
    encoder = cast(Encoder, load.build_encoder(CONFIGS[family]))
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            shift = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.2 + shift)
    return encoder.eval()


def stirred(module: nn.Module, spread: float = 0.3) -> nn.Module:
    """Random values for all that an adapter learns, so that it changes something."""
    draw = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter += torch.randn(parameter.shape, generator=draw) * spread
    return module


def tokens(n_rows: int = 7) -> Tokens:
    draw = np.random.default_rng(5)
    lengths = draw.integers(1, 21, n_rows)
    offsets = np.concatenate([[0], lengths.cumsum()])
    ids = draw.integers(3, 61, offsets[-1]).astype(np.int32)
    store = TokenStore(ids, np.zeros(len(ids), np.uint8), offsets, np.zeros(n_rows, bool), 40)
    return collate(store, np.arange(n_rows))


def last(encoder: Encoder, batch: Tokens, **how: Any) -> Tensor:
    found = encoder.run(encoder.embedded(batch), batch, layers=(-1,), **how).states[-1]
    assert found is not None
    return found


def batch_of(task: str, rows: slice = slice(None)) -> Batch:
    draw = np.random.default_rng(6)
    lengths = draw.integers(1, 21, 9)
    offsets = np.concatenate([[0], lengths.cumsum()])
    ids = draw.integers(3, 61, offsets[-1]).astype(np.int32)
    store = TokenStore(ids, np.zeros(len(ids), np.uint8), offsets, np.zeros(9, bool), 40)
    numbers = np.arange(9)[rows]
    targets = torch.from_numpy(draw.integers(0, 3, 9))[rows]
    return Batch(task, "d", numbers, collate(store, numbers), targets, torch.ones(len(numbers)))

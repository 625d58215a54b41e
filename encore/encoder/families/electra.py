"""ELECTRA: BERT's blocks on embeddings that may be narrower than these, and no pooler.

Source: Clark et al. 2020.   Differs: none. The discriminator is what is fine-tuned; a generator has
the same shape and loads too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from encore.encoder.encoder import Encoder
from encore.encoder.families.bert import (
    EMBEDDINGS,
    BertBlock,
    BertEmbeddings,
    completed,
    rename_weights,
)

__all__ = ["build", "from_huggingface"]


def build(config: Mapping[str, Any]) -> Encoder:
    """An encoder with fresh weights from a `config.json`. Raises DataError for what this family
    cannot express.
    """
    settings = completed(config)
    return Encoder(
        BertEmbeddings(settings, word_width=config.get("embedding_size", 128)),
        [BertBlock(settings) for _ in range(settings["num_hidden_layers"])],
    )


def from_huggingface(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights under the names of a published checkpoint → (the encoder's, the pooler's: none),
    under Encore's names. Heads are dropped.
    """
    embeddings = {**EMBEDDINGS, "embeddings_project": "embed.project"}
    return rename_weights(state, prefixes=("discriminator.", "electra."), embeddings=embeddings)

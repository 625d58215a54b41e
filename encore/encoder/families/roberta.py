"""RoBERTa, XLM-R, CamemBERT, and every checkpoint of that shape.

Source: Liu et al. 2019; Conneau et al. 2020.   Differs: none, but that a padding token that a text
itself contains counts as a word.

BERT's blocks. Positions begin behind the padding's number; one segment; a pair has two separators
between its texts, which its tokenizer knows of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from encore.encoder.encoder import Encoder
from encore.encoder.families.bert import BertBlock, BertEmbeddings, completed, rename_weights
from encore.errors import DataError

__all__ = ["build", "from_huggingface"]


def build(config: Mapping[str, Any]) -> Encoder:
    """An encoder with fresh weights from a `config.json`. Raises DataError for what this family
    cannot express.
    """
    settings = completed(config)
    padding, n_lines = config.get("pad_token_id", 1), settings["max_position_embeddings"]
    if not isinstance(padding, int) or not 0 <= padding < n_lines - 1:
        limits = (
            f"expected 0 to {n_lines - 2}, since positions begin behind it and "
            f"max_position_embeddings is {n_lines}"
        )
        raise DataError(f"config.json: pad_token_id is {padding}; {limits}.")
    return Encoder(
        BertEmbeddings(settings, first_position=padding + 1),
        [BertBlock(settings) for _ in range(settings["num_hidden_layers"])],
    )


def from_huggingface(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights under the names of a published checkpoint → (the encoder's, the pooler's), under
    Encore's names. Heads are dropped.
    """
    return rename_weights(state, prefixes=("roberta.",))

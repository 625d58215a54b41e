"""DistilBERT: BERT's blocks without segments, without a pooler, and without dropout behind
self-attention.

Source: Sanh et al. 2019.   Differs: positions are trained also where `sinusoidal_pos_embds` is set,
from the checkpoint's values.
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

_OWN = {
    "hidden_size": "dim",
    "intermediate_size": "hidden_dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "hidden_act": "activation",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
}


def build(config: Mapping[str, Any]) -> Encoder:
    """An encoder with fresh weights from a `config.json`. Raises DataError for what this family
    cannot express.
    """
    settings = completed(config, _OWN) | {"type_vocab_size": 0, "layer_norm_eps": 1e-12}
    return Encoder(
        BertEmbeddings(settings),
        [BertBlock(settings, mixed_dropout=0.0) for _ in range(settings["num_hidden_layers"])],
    )


_BLOCK = {
    "attention.out_lin": "out",
    "sa_layer_norm": "attention_norm",
    "ffn.lin1": "up",
    "ffn.lin2": "down",
    "output_layer_norm": "output_norm",
}
_STACKED = ("attention.q_lin", "attention.k_lin", "attention.v_lin")


def from_huggingface(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights under the names of a published checkpoint → (the encoder's, the pooler's: none),
    under Encore's names. Heads are dropped.
    """
    embeddings = {name: place for name, place in EMBEDDINGS.items() if place != "embed.segment"}
    return rename_weights(
        state,
        prefixes=("distilbert.",),
        embeddings=embeddings,
        layers="transformer.layer.",
        block=_BLOCK,
        stacked=_STACKED,
    )

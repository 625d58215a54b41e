"""The rates of an encoder's dropout: where each family's config.json has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from encore.encoder.load import family

__all__ = ["drops", "with_dropout"]

_BERT = {
    "hidden_dropout": ("hidden_dropout_prob",),
    "attention_dropout": ("attention_probs_dropout_prob",),
}
# Family → setting → keys of config.json. Hidden dropout is that behind embeddings, attention and
# feed-forward layers (METHODS 3.6); DistilBERT has none behind attention.
_KEYS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "bert": _BERT,
    "roberta": _BERT,
    "electra": _BERT,
    "distilbert": {"hidden_dropout": ("dropout",), "attention_dropout": ("attention_dropout",)},
    "modernbert": {
        "hidden_dropout": ("embedding_dropout", "mlp_dropout"),
        "attention_dropout": ("attention_dropout",),
    },
}


def with_dropout(config: Mapping[str, Any], rates: Mapping[str, float]) -> dict[str, Any]:
    """The configuration with other rates. rates: of `hidden_dropout` and `attention_dropout`.
    Raises KeyError with the setting for which the encoder has no key that Encore knows.
    """
    module = family(config.get("model_type"))
    keys = {} if module is None else _KEYS[module.__name__.rpartition(".")[2]]
    return {**config, **{key: rate for setting, rate in rates.items() for key in keys[setting]}}


def drops(config: Mapping[str, Any]) -> bool:
    """True if an encoder of this configuration has dropout, or if it is of a family whose rates
    Encore does not know.
    """
    module = family(config.get("model_type"))
    if module is None:
        return True
    keys = _KEYS[module.__name__.rpartition(".")[2]].values()
    return any(config.get(key, 0) > 0 for names in keys for key in names)

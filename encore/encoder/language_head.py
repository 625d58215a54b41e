"""The layers that predict hidden words: dense, activation, LayerNorm, and the word table once more
as decoder, with a bias of its own (METHODS 6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encore.encoder.layers import ACTIVATIONS, LayerNorm, Linear
from encore.encoder.load import Source, family
from encore.encoder.weights import read_header
from encore.encoder.word_table import WordTable
from encore.errors import DataError, Problem

__all__ = [
    "HeadNames",
    "LanguageHead",
    "build_language_head",
    "has_language_head",
    "head_names",
    "published_head",
]


@dataclass(frozen=True)
class HeadNames:
    """A family's names of these layers in a published checkpoint, and its settings of them.

    prefix: of the encoder's tensors there. architecture: the class of transformers; `{}` stands for
    the family. activation: a key of config.json, or "" for GELU.
    """

    prefix: str
    dense: str
    norm: str
    bias: str
    architecture: str
    activation: str = ""
    width: str = "hidden_size"  # keys of config.json
    inner: str = "hidden_size"
    eps: str = "layer_norm_eps"
    dense_bias: str = ""  # a key that switches the bias on; "": there is one
    norm_bias: str = ""


_NAMES = {
    "bert": HeadNames(
        "bert.",
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
        "cls.predictions.bias",
        "BertForMaskedLM",
        activation="hidden_act",
    ),
    "roberta": HeadNames(
        "roberta.", "lm_head.dense", "lm_head.layer_norm", "lm_head.bias", "RobertaForMaskedLM"
    ),
    "distilbert": HeadNames(
        "distilbert.",
        "vocab_transform",
        "vocab_layer_norm",
        "vocab_projector.bias",
        "DistilBertForMaskedLM",
        activation="activation",
        width="dim",
        inner="dim",
    ),
    "electra": HeadNames(
        "electra.",
        "generator_predictions.dense",
        "generator_predictions.LayerNorm",
        "generator_lm_head.bias",
        "ElectraForMaskedLM",
        inner="embedding_size",
    ),
    "modernbert": HeadNames(
        "model.",
        "head.dense",
        "head.norm",
        "decoder.bias",
        "ModernBertForMaskedLM",
        activation="classifier_activation",
        eps="norm_eps",
        dense_bias="classifier_bias",
        norm_bias="norm_bias",
    ),
}
_VOCABULARY = "vocab_size"
_DEFAULTS = {"layer_norm_eps": 1e-12, "norm_eps": 1e-5, "embedding_size": 128}
_CLASSES = {"xlm-roberta": "XLMRobertaForMaskedLM", "camembert": "CamembertForMaskedLM"}


def head_names(config: Mapping[str, Any]) -> HeadNames:
    """The names of an encoder's family. Raises DataError for a borrowed encoder, whose word table
    and head Encore does not know.
    """
    kind = config.get("model_type")
    module = family(kind)
    if module is None:
        message = f"cannot be pre-trained: Encore does not build a {kind} itself."
        remedy = f"Choose an encoder of one of these families: {', '.join(sorted(_NAMES))}."
        raise DataError(Problem(setting="encoder", message=message, remedy=remedy))
    names = _NAMES[module.__name__.rpartition(".")[2]]
    return HeadNames(**{**vars(names), "architecture": _CLASSES.get(str(kind), names.architecture)})


def has_language_head(source: Source) -> bool:
    """True where the checkpoint has these layers. Raises DataError for a borrowed encoder."""
    name = f"{head_names(source.config).dense}.weight"
    return name in read_header(source.folder / "model.safetensors")


class LanguageHead(nn.Module):
    """(tokens, width) → (tokens, vocabulary) float32 scores. The decoder's weight is the word table
    itself, so it is an argument and no parameter.
    """

    def __init__(
        self, width: int, inner: int, n_words: int, *, eps: float, activation: str, biases: Any
    ) -> None:
        super().__init__()
        dense_bias, norm_bias = biases
        self.dense = Linear(width, inner, bias=dense_bias)
        self.norm = LayerNorm(inner, eps=eps, bias=norm_bias)
        self.bias = nn.Parameter(torch.zeros(n_words))
        self.activation = ACTIVATIONS[activation]

    def forward(self, states: Tensor, words: WordTable) -> Tensor:
        x = self.norm(self.activation(self.dense(states)))
        return F.linear(x, words.weight.to(x.dtype)).float() + self.bias


def build_language_head(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> LanguageHead:
    """The head of a checkpoint, or a new one where it has none: dense N(0, 0.02), biases 0.

    tensors: of the whole checkpoint, under their published names. Raises DataError where a head is
    there in part, or does not fit.
    """
    names = head_names(config)
    settings = {**_DEFAULTS, **config}
    head = LanguageHead(
        settings[names.width],
        settings[names.inner],
        settings[_VOCABULARY],
        eps=1e-12 if config.get("model_type") == "distilbert" else settings[names.eps],
        activation=str(settings.get(names.activation, "gelu")),
        biases=(
            not names.dense_bias or bool(settings.get(names.dense_bias)),
            not names.norm_bias or bool(settings.get(names.norm_bias)),
        ),
    )
    published = published_head(names, head.state_dict())
    present = {name: tensors[name] for name in published if name in tensors}
    wrong = [
        f"model.safetensors: tensor '{name}' of the language model's head "
        f"{'is missing' if name not in present else 'has another shape than config.json says'}."
        for name, own in published.items()
        if name not in present or present[name].shape != own.shape
    ]
    if not present:
        nn.init.normal_(head.dense.weight, std=0.02)
        if head.dense.bias is not None:
            nn.init.zeros_(head.dense.bias)
        return head
    if wrong:
        raise DataError(wrong)
    ours = {published_name: own for own, published_name in _pairs(names, head.state_dict())}
    head.load_state_dict({ours[name]: value.float() for name, value in present.items()})
    return head


def published_head(names: HeadNames, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a head under their published names."""
    return {published: state[own] for own, published in _pairs(names, state)}


def _pairs(names: HeadNames, state: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    modules = {"dense": names.dense, "norm": names.norm}
    return [
        (own, names.bias if own == "bias" else f"{modules[own.split('.')[0]]}.{own.split('.')[1]}")
        for own in state
    ]

"""Weights under the names of transformers' own classes, where one of these computes the very same.

The layers of a stock class between encoder and scores differ from family to family, and none can be
configured otherwise. BERT and RoBERTa have tanh of a dense layer on the first token, which is the
pooling `pooler`, and, since tanh of a small number is that number, `cls` too: the dense layer makes
the state smaller by a power of two, the output layer larger by the same. DistilBERT has ReLU there
and ELECTRA GELU, which are the identity only for large numbers, and these have no room for small
differences in half precision; ModernBERT has a LayerNorm behind it. No stock class of these
families takes the mean over a row's real tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from encore import catalogue
from encore.encoder.published import published_weights

__all__ = [
    "HEADS",
    "POOLINGS",
    "architecture_settings",
    "as_pooler",
    "calibrated_weights",
    "head_weights",
    "obstacle",
    "stock_weights",
]

_DENSE, _SCORES = "branches.0.pooling.dense", "head.out"
HEADS: Mapping[
    str, Mapping[str, str]
] = {  # family → module of its …ForSequenceClassification → ours
    "bert": {"bert.pooler.dense": _DENSE, "classifier": _SCORES},
    "roberta": {"classifier.dense": _DENSE, "classifier.out_proj": _SCORES},
    "xlm-roberta": {"classifier.dense": _DENSE, "classifier.out_proj": _SCORES},
    "camembert": {"classifier.dense": _DENSE, "classifier.out_proj": _SCORES},
}
_LINEAR_LAST = ("linear", "siamese_concat", "fcn_sentiment", "fcn_paraphrase")  # `out` ends them
POOLINGS = ("pooler", "cls")  # what their stock layers compute
# tanh(x) differs from x by x³/3: here by less than half a unit in the last place of float32 for
# states up to 6, and by 1e-6 of them for states up to 30. The smallest power of two that is a
# normal number in float16 too.
_SMALL = 2.0**-14
_OF_THE_CHECKPOINT = (  # what a base's config.json says of itself, and not of its architecture
    "model_type",
    "architectures",
    "auto_map",
    "_name_or_path",
    "transformers_version",
    "torch_dtype",
    "dtype",
    "id2label",
    "label2id",
    "num_labels",
    "problem_type",
    "finetuning_task",
)


def obstacle(
    config: Mapping[str, Any],
    pooling: Mapping[str, Any],
    head: Mapping[str, Any],
    *,
    adapter: str,
    n_encoders: int,
    in_one_row: bool,
) -> str:
    """The reason why no class of transformers computes what a model of these parts does, and the
    setting that would change it, if one does; "" if one computes it.

    config: the encoder's. adapter: the name of its adapter, or "". in_one_row: each example is one
    row, read once.
    """
    family = config["model_type"]
    if adapter and not catalogue.find("adapters", adapter).merges:
        return f"its encoder has new layers inside, adapter={adapter}"
    if n_encoders > 1:
        return f"it has {n_encoders} encoders side by side"
    if family not in HEADS:
        return f"the class for {family} computes no pooling of Encore's"
    linear = head["name"] == "linear"
    wanted = {
        "pooling=cls": pooling["name"] in POOLINGS,
        "head=linear": linear,
        "pair=cross": in_one_row or not linear,  # the default of a linear head
    }
    missing = [setting for setting, met in wanted.items() if not met]
    return f"{' '.join(missing)} would" if missing else ""


def as_pooler(
    pooling: Mapping[str, Any], head: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The weights of a run that computes the same with the pooling `pooler` and a score for each
    label. pooling, head: those of a model without an `obstacle`.
    """
    weight, bias = weights[f"{_SCORES}.weight"], weights[f"{_SCORES}.bias"]
    found = dict(weights)
    if head.get("one_logit"):  # one logit z gives the scores (0, z)
        weight, bias = (torch.cat([torch.zeros_like(own), own]) for own in (weight, bias))
    if pooling["name"] == "cls":
        width = weight.shape[1]
        found |= {
            f"{_DENSE}.weight": _SMALL * torch.eye(width),
            f"{_DENSE}.bias": bias.new_zeros(width),
        }
        weight = weight / _SMALL
    return found | {f"{_SCORES}.weight": weight, f"{_SCORES}.bias": bias}


def calibrated_weights(
    head: Mapping[str, Any], weights: Mapping[str, Tensor], temperature: float
) -> dict[str, Tensor] | None:
    """The weights of a model whose scores are those of these, divided by a temperature; None where
    the head does not end with a linear layer.
    """
    if head.get("name") not in _LINEAR_LAST:
        return None
    last = {f"{_SCORES}.{kind}": weights[f"{_SCORES}.{kind}"] for kind in ("weight", "bias")}
    return {**weights, **{name: each / temperature for name, each in last.items()}}


def architecture_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a config.json that describe the architecture, without names, classes and code
    of the checkpoint that it came with.
    """
    return {key: value for key, value in config.items() if key not in _OF_THE_CHECKPOINT}


def head_weights(heads: Mapping[str, str], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the modules that no family knows. heads: their names there, and ours."""
    return {
        f"{theirs}.{kind}": weights[f"{ours}.{kind}"]
        for theirs, ours in heads.items()
        for kind in ("weight", "bias")
    }


def stock_weights(
    family: Any,
    shapes: Mapping[str, tuple[int, ...]],
    weights: Mapping[str, Tensor],
    heads: Mapping[str, str],
    *,
    words: str,
) -> dict[str, Tensor]:
    """A run's weights under the names that `shapes` lists: those of a class of transformers.

    An encoder that was borrowed has the names already, but for its word table, which is called
    `words` there. heads: modules that no family knows, and ours that belong there. What has no
    counterpart here is 0: BERT's pooler where the run does not read it.
    """
    own = head_weights(heads, weights)

    def rename(published: dict[str, Tensor]) -> dict[str, Tensor]:
        if family is None:
            encoder, pooler = (
                {
                    "embed.word.weight" if name == words else f"model.{name}": value
                    for name, value in published.items()
                },
                {},
            )
        else:
            encoder, pooler = family.from_huggingface(published)
        return {f"branches.0.encoder.{key}": value for key, value in encoder.items()} | {
            f"{_DENSE}.{key}": value for key, value in pooler.items()
        }

    others = {
        name: shape
        for name, shape in shapes.items()
        if not name.startswith(tuple(f"{module}." for module in heads))
    }
    found = published_weights(others, rename, weights) | own
    return {name: found.get(name, torch.zeros(shape)) for name, shape in shapes.items()}

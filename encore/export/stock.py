"""Weights under the names of transformers' own classes, where one of these computes the very same.

The layers of a stock class between encoder and scores differ from family to family, and none can be
configured otherwise: BERT and RoBERTa have tanh of a dense layer on the first token, which is the
pooling `pooler`; DistilBERT has ReLU there, ELECTRA GELU, ModernBERT GELU and a LayerNorm, which no
pooling here computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["HEADS", "architecture_settings", "has_class", "stock_weights"]

_DENSE, _SCORES = "branches.0.pooling.dense", "head.out"
HEADS: Mapping[
    str, Mapping[str, str]
] = {  # family → module of its …ForSequenceClassification → ours
    "bert": {"bert.pooler.dense": _DENSE, "classifier": _SCORES},
    "roberta": {"classifier.dense": _DENSE, "classifier.out_proj": _SCORES},
    "xlm-roberta": {"classifier.dense": _DENSE, "classifier.out_proj": _SCORES},
    "camembert": {"classifier.dense": _DENSE, "classifier.out_proj": _SCORES},
}
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


def has_class(
    config: Mapping[str, Any], pooling: Mapping[str, Any], head: Mapping[str, Any]
) -> bool:
    """True if the family's own …ForSequenceClassification has this pooling and this head."""
    return (
        config["model_type"] in HEADS
        and pooling["name"] == "pooler"
        and head["name"] == "linear"
        and not head.get("one_logit")
    )


def architecture_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a config.json that describe the architecture, without names, classes and code
    of the checkpoint that it came with.
    """
    return {key: value for key, value in config.items() if key not in _OF_THE_CHECKPOINT}


def stock_weights(
    family: Any,
    shapes: Mapping[str, tuple[int, ...]],
    weights: Mapping[str, Tensor],
    heads: Mapping[str, str],
    *,
    words: str,
) -> dict[str, Tensor]:
    """A run's weights under the names that `shapes` lists: those of a class of transformers.

    The family's `from_huggingface` is the only table of names, so it is called: every line of every
    tensor gets a number, and where the numbers come out is where the lines belong. An encoder that
    was borrowed has the names already, but for its word table, which is called `words` there.
    heads: modules that no family knows, and ours that belong there. What has no counterpart here is
    0: BERT's pooler where the run does not read it.
    """
    out = {name: torch.zeros(shape) for name, shape in shapes.items()}
    for theirs, ours in heads.items():
        for kind in ("weight", "bias"):
            out[f"{theirs}.{kind}"] = weights[f"{ours}.{kind}"]
    names = [
        name for name in shapes if not name.startswith(tuple(f"{module}." for module in heads))
    ]
    counts = torch.tensor([shapes[name][0] for name in names])
    starts = (
        counts.cumsum(0) - counts + 1
    )  # from 1, so that a constant that a family puts in is nobody's line
    numbered = {
        name: torch.arange(start, start + count)
        for name, start, count in zip(names, starts.tolist(), counts.tolist(), strict=True)
    }
    if family is None:
        encoder, pooler = (
            {
                "embed.word.weight" if name == words else f"model.{name}": lines
                for name, lines in numbered.items()
            },
            {},
        )
    else:
        encoder, pooler = family.from_huggingface(numbered)
    places = {f"branches.0.encoder.{key}": lines for key, lines in encoder.items()} | {
        f"{_DENSE}.{key}": lines for key, lines in pooler.items()
    }
    for key, lines in places.items():
        if key not in weights:
            continue
        owners = torch.searchsorted(starts, lines, right=True) - 1
        for owner in owners.unique().tolist():
            if owner >= 0:
                own = owners == owner
                out[names[owner]][lines[own] - starts[owner]] = weights[key][own]
    return out

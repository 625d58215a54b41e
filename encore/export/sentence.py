"""Writes a run as modules of sentence-transformers: encoder, pooling, and the layer that a head for
two texts applies to each. The comparison or the classifier of the head is not exported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from encore import catalogue, files
from encore.errors import RecipeError

__all__ = ["SIMILARITY", "layer_of", "modes_of", "write_modules"]

SIMILARITY = {
    "siamese_cosine": "cosine",
    "cosine_threshold": "cosine",
    "siamese_dot": "dot",
}  # head → what it compares two vectors by
_MODES = (
    "cls",
    "max",
    "mean",
)  # in the order in which sentence-transformers puts them side by side
_KEYS = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
}
_LAYER = "torch.nn.modules.{}"
Layer = tuple[Tensor, Tensor | None, str]  # weight, bias, activation


def modes_of(pooling: Mapping[str, Any]) -> tuple[str, ...]:
    """The parts of the run's vector, in order: some of cls, max and mean, or pooler. Raises
    RecipeError if sentence-transformers has no such pooling.
    """
    name = pooling["name"]
    beside = pooling.get("of", catalogue.settings("pooling", "concat")["of"].default)
    parts = (
        tuple(_plain(part) for part in beside)
        if name == "concat"
        else ("mean", "max")
        if _plain(pooling) == "mean_max"
        else (_plain(pooling),)
    )
    if parts == ("pooler",) or (set(parts) <= set(_MODES) and len(set(parts)) == len(parts)):
        return parts
    described = f"concat of {', '.join(parts)}" if name == "concat" else f"'{name}'"
    raise RecipeError(
        f"--to sentence-transformers: it has no pooling like {described}. It has cls, mean, max, "
        f"mean_max, pooler, and concat of cls, mean and max. "
        "Use --to hf, which has every pooling, or train with one of these."
    )


def layer_of(head: Any, name: str, width: int) -> tuple[Tensor, Tensor] | None:
    """Weight and bias of the one linear layer through which a head sees a text's vector; None where
    it sees the vector itself. Raises RecipeError where it does something else with it.
    """
    with torch.no_grad():
        bias = head.embed(torch.zeros(1, width))[0]
        weight = (head.embed(torch.eye(width)) - bias).T.contiguous()
        some = torch.linspace(-2, 2, 3 * width).view(width, 3).T
        straight = torch.allclose(head.embed(some), some @ weight.T + bias, atol=1e-4)
    if not straight:
        raise RecipeError(
            f"--to sentence-transformers: the head '{name}' makes a text's vector with layers "
            f"that it does not have. It has the vectors of siamese_cosine, "
            "siamese_dot, siamese_concat and cosine_threshold. Use --to hf, or train with one "
            "of these."
        )
    return None if torch.equal(weight, torch.eye(width)) and not bias.any() else (weight, bias)


def write_modules(
    folder: Path,
    modes: Sequence[str],
    width: int,
    max_length: int,
    weights: Mapping[str, Tensor],
    *,
    last: tuple[Tensor, Tensor] | None,
    similarity: str,
) -> None:
    """Write everything but the encoder and its tokenizer. width: the encoder's. weights: the run's.
    last: weight and bias of the layer after the pooling. similarity: how to compare vectors.
    """
    pooled = ("cls",) if modes[0] == "pooler" else modes
    dense = [
        layer
        for layer in (
            _dense(modes, width, weights),
            (*last, _LAYER.format("linear.Identity")) if last else None,
        )
        if layer is not None
    ]
    there = {
        "": "Transformer",
        "1_Pooling": "Pooling",
        **{f"{number}_Dense": "Dense" for number in range(2, 2 + len(dense))},
    }
    listed = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(there.items())
    ]
    files.write_json(folder / "modules.json", listed)
    settings: dict[str, Any] = {
        "__version__": {},
        "prompts": {},
        "default_prompt_name": None,
        "similarity_fn_name": similarity,
    }
    files.write_json(folder / "config_sentence_transformers.json", settings)
    files.write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False}
    )
    (folder / "1_Pooling").mkdir()
    files.write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": width, **{_KEYS[mode]: mode in pooled for mode in _MODES}},
    )
    for number, (weight, bias, activation) in enumerate(dense, start=2):
        place = folder / f"{number}_Dense"
        place.mkdir()
        layer = {
            "in_features": weight.shape[1],
            "out_features": weight.shape[0],
            "bias": bias is not None,
            "activation_function": activation,
        }
        files.write_json(place / "config.json", layer)
        tensors = {"linear.weight": weight, **({} if bias is None else {"linear.bias": bias})}
        safetensors.torch.save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})


def _dense(modes: Sequence[str], width: int, weights: Mapping[str, Tensor]) -> Layer | None:
    """The pooler; or a permutation from that library's order of the parts to the run's, so that the
    vectors are equal number by number; or nothing.
    """
    if modes[0] == "pooler":
        place = "branches.0.pooling.dense"
        return (
            weights[f"{place}.weight"],
            weights[f"{place}.bias"],
            _LAYER.format("activation.Tanh"),
        )
    theirs = [mode for mode in _MODES if mode in modes]
    if list(modes) == theirs:
        return None
    whole = torch.eye(len(modes) * width)
    return (
        torch.cat([whole[theirs.index(mode) * width :][:width] for mode in modes]),
        None,
        _LAYER.format("linear.Identity"),
    )


def _plain(spec: Any) -> str:
    """The name of a pooling; with its settings, where these are not its defaults."""
    if isinstance(spec, str):
        return spec
    known = catalogue.settings("pooling", spec["name"])
    set_here = {
        key: value for key, value in spec.items() if key != "name" and value != known[key].default
    }
    return f"{spec['name']} {set_here}" if set_here else str(spec["name"])

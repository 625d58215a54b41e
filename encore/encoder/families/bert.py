"""BERT, MiniLM, and every checkpoint of that shape.

Source: Devlin et al. 2019.   Differs: query, key and value are one stacked matrix, so that one
product makes all three.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from encore.encoder import ragged
from encore.encoder.attention import attend
from encore.encoder.dropout import Dropout, keep_mask
from encore.encoder.encoder import Block, Encoder
from encore.encoder.layers import ACTIVATIONS, LayerNorm, Linear, ResidualNorm
from encore.encoder.word_table import WordTable
from encore.errors import DataError
from encore.types import Tokens

__all__ = ["build", "from_huggingface", "to_huggingface"]


class BertEmbeddings(nn.Module):
    """Word + position, and + segment where there are any, then LayerNorm and dropout; then a
    projection, where words are narrower than what the blocks take.

    `first_position`: the line of the position table that a row's first token gets. `word_width`:
    None for that of the blocks.
    """

    def __init__(
        self, config: Mapping[str, Any], *, first_position: int = 0, word_width: int | None = None
    ) -> None:
        super().__init__()
        self.width, self.first_position = config["hidden_size"], first_position
        self.n_positions = config["max_position_embeddings"] - first_position
        width, n_segments = word_width or self.width, config["type_vocab_size"]
        self.word = WordTable(config["vocab_size"], width)
        self.position = nn.Embedding(config["max_position_embeddings"], width)
        self.segment = nn.Embedding(n_segments, width) if n_segments else None
        self.n_segments = n_segments if n_segments > 1 else None
        self.norm = LayerNorm(width, eps=config["layer_norm_eps"])
        self.dropout = Dropout(config["hidden_dropout_prob"], "tokens")
        self.project = None if width == self.width else Linear(width, self.width)

    def forward(self, tokens: Tokens) -> Tensor:
        x = self.word(tokens.ids)
        if self.segment is not None:  # of one segment every token is, whatever the tokenizer says
            x = x + (
                self.segment(tokens.segments)
                if self.segment.num_embeddings > 1
                else self.segment.weight
            )
        x = x + self.position(
            tokens.positions + self.first_position if self.first_position else tokens.positions
        )
        x = self.dropout(self.norm(x))
        return x if self.project is None else self.project(x)


class BertBlock(nn.Module, Block):
    """Self-attention and feed-forward, each with dropout, residual and LayerNorm behind it.
    `mixed_dropout`: behind self-attention, if it is another.
    """

    residuals = ("attention_norm", "output_norm")

    def __init__(self, config: Mapping[str, Any], *, mixed_dropout: float | None = None) -> None:
        super().__init__()
        width, inner, eps = (
            config["hidden_size"],
            config["intermediate_size"],
            config["layer_norm_eps"],
        )
        self.n_heads = config["num_attention_heads"]
        self.attention_dropout = config["attention_probs_dropout_prob"]
        self.activation = ACTIVATIONS[config["hidden_act"]]
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)
        self.attention_norm = ResidualNorm(
            width,
            eps=eps,
            dropout=config["hidden_dropout_prob"] if mixed_dropout is None else mixed_dropout,
        )
        self.up = Linear(width, inner)
        self.down = Linear(inner, width)
        self.output_norm = ResidualNorm(width, eps=eps, dropout=config["hidden_dropout_prob"])

    def forward(self, x: Tensor, tokens: Tokens) -> Tensor:
        mixed = attend(
            self.qkv(x),
            tokens,
            n_heads=self.n_heads,
            dropout=self.attention_dropout if self.training else 0.0,
        )
        x = self.attention_norm(x, self.out(mixed))
        return self.output_norm(x, self.down(self.activation(self.up(x))))

    def first(self, x: Tensor, tokens: Tokens) -> Tensor:
        """(tokens, width) → (rows, width): what `forward` gives for each row's first token.

        With one query per row the products with W_K and W_V commute with the sums over tokens: W_K
        is applied to the query and W_V to what the weights have mixed, once per row and head
        instead of once per token. The keys' bias shifts all scores of a row alike, so it does
        nothing.
        """
        weight, bias = self.qkv.matrix(x.dtype)
        assert bias is not None
        query, key, value = weight.view(3, self.n_heads, -1, x.shape[1])  # each (heads, head width,
        query_bias, _, value_bias = bias.view(3, 1, self.n_heads, -1)  # width), (1, heads, …)
        firsts = ragged.first(x, tokens)
        queries = torch.einsum("rw,hdw->rhd", firsts, query) + query_bias
        absorbed = torch.einsum("rhd,hdw->rhw", queries * queries.shape[2] ** -0.5, key)
        probs = ragged.softmax(
            ragged.products(absorbed, x, tokens).float(), tokens
        )  # (tokens, heads)
        if self.training and self.attention_dropout > 0:
            (mask,), scale = keep_mask(
                [tuple(probs.shape)], self.attention_dropout, "tokens", self.n_heads
            )
            probs = probs * mask.to(probs.device) * scale
        mixed = torch.einsum("rhw,hdw->rhd", ragged.mix(probs.to(x.dtype), x, tokens), value)
        mixed = mixed + ragged.total(probs, tokens).to(x.dtype).unsqueeze(2) * value_bias
        y = self.attention_norm(firsts, self.out(mixed.flatten(1)), "rows")
        return self.output_norm(y, self.down(self.activation(self.up(y))), "rows")


_REQUIRED = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
)
_DEFAULTS = {
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "type_vocab_size": 2,
    "max_position_embeddings": 512,
}


def build(config: Mapping[str, Any]) -> Encoder:
    """An encoder with fresh weights from a `config.json`. Raises DataError for what this family
    cannot express.
    """
    settings = completed(config)
    return Encoder(
        BertEmbeddings(settings),
        [BertBlock(settings) for _ in range(settings["num_hidden_layers"])],
    )


def completed(
    config: Mapping[str, Any], own: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """The settings of a `config.json`, under BERT's names and with defaults for missing ones.
    own: BERT's name → what this family calls it, where that is something else. Raises DataError for
    what blocks of this kind cannot express.
    """
    names = {key: own.get(key, key) for key in (*_REQUIRED, *_DEFAULTS)}
    settings = {**_DEFAULTS, **{key: config[name] for key, name in names.items() if name in config}}
    problems = [
        f"config.json: '{names[key]}' is missing." for key in _REQUIRED if key not in settings
    ]
    if problems:
        raise DataError(problems)
    width, n_heads = settings["hidden_size"], settings["num_attention_heads"]
    if width % n_heads:
        problems.append(
            f"config.json: {names['hidden_size']} {width} cannot be split into "
            f"{names['num_attention_heads']} {n_heads}."
        )
    if config.get("position_embedding_type", "absolute") != "absolute":
        problems.append(
            f"config.json: position_embedding_type '{config['position_embedding_type']}' is "
            f"not supported, only 'absolute'."
        )
    if settings["hidden_act"] not in ACTIVATIONS:
        problems.append(
            f"config.json: {names['hidden_act']} '{settings['hidden_act']}' is not known. "
            f"Known: {', '.join(sorted(ACTIVATIONS))}."
        )
    if config.get("is_decoder"):
        problems.append("config.json: is_decoder is true; Encore trains encoders.")
    if problems:
        raise DataError(problems)
    return settings


EMBEDDINGS = {  # a published module's name → ours
    "embeddings.word_embeddings": "embed.word",
    "embeddings.position_embeddings": "embed.position",
    "embeddings.token_type_embeddings": "embed.segment",
    "embeddings.LayerNorm": "embed.norm",
}
_BLOCK = {
    "attention.output.dense": "out",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "output_norm",
}
_STACKED = ("attention.self.query", "attention.self.key", "attention.self.value")


def from_huggingface(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights under the names of a published checkpoint → (the encoder's, the pooler's), under
    Encore's names. Heads are dropped.
    """
    return rename_weights(state, prefixes=("bert.",))


def to_huggingface(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's weights under Encore's names → under those of a published BERT."""
    outside, inside = (
        {ours: name for name, ours in table.items()} for table in (EMBEDDINGS, _BLOCK)
    )
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        module, _, kind = key.rpartition(".")
        if module in outside:
            found[f"bert.{outside[module]}.{kind}"] = value
            continue
        _, number, part = module.split(".")
        names = _STACKED if part == "qkv" else (inside[part],)
        for name, own in zip(names, value.chunk(len(names)), strict=True):
            found[f"bert.encoder.layer.{number}.{name}.{kind}"] = own
    return found


def rename_weights(
    state: Mapping[str, Tensor],
    *,
    prefixes: Sequence[str],
    embeddings: Mapping[str, str] = MappingProxyType(EMBEDDINGS),
    layers: str = "encoder.layer.",
    block: Mapping[str, str] = MappingProxyType(_BLOCK),
    stacked: Sequence[str] = _STACKED,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """`from_huggingface` of a family whose blocks are BERT's. prefixes: those that checkpoints with
    a head have, the encoder's own last; embeddings, block: published name of a module → ours,
    outside and inside the layers; stacked: query, key and value. What has no place keeps its name,
    and the loader reports it.
    """
    current, inside = {}, set()
    for published, value in state.items():
        outer = published
        for prefix in prefixes[:-1]:
            outer = outer.removeprefix(prefix)
        bare = outer.removeprefix(prefixes[-1])
        stem, _, kind = bare.rpartition(".")
        key = f"{stem}.{_AGED[kind]}" if kind in _AGED else bare
        current[key] = value
        if bare != outer or key.startswith((layers, "embeddings.")):
            inside.add(key)  # what is not is of a head
    ours: dict[str, Tensor] = {}
    for key, value in current.items():
        module, _, kind = key.rpartition(".")
        number, _, part = (
            module.removeprefix(layers).partition(".") if key.startswith(layers) else ("", "", "")
        )
        parts = [
            current[name]
            for each in stacked
            if (name := f"{layers}{number}.{each}.{kind}") in current
        ]
        if part in block:
            ours[f"blocks.{number}.{block[part]}.{kind}"] = value
        elif (
            part in stacked
            and len(parts) == 3
            and value.dim() > 0
            and all(other.shape == value.shape for other in parts)
        ):
            if part == stacked[0]:
                ours[f"blocks.{number}.qkv.{kind}"] = _stacked(parts)
        elif module in embeddings:
            ours[f"{embeddings[module]}.{kind}"] = value
        elif key in inside and not key.startswith("pooler.") and not key.endswith("_ids"):
            ours[key] = value  # position_ids, which old checkpoints carry, only counts from 0
    pooler = {
        key.removeprefix("pooler.dense."): value
        for key, value in current.items()
        if key.startswith("pooler.dense.")
    }
    return ours, pooler


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    if parts[0].is_meta:  # there `torch.cat` would import torch's compiler: 1.5 s
        return parts[0].new_empty(sum(len(part) for part in parts), *parts[0].shape[1:])
    return torch.cat(list(parts))


_AGED = {"gamma": "weight", "beta": "bias"}  # what TensorFlow called a LayerNorm's

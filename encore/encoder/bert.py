"""BERT, MiniLM, and every checkpoint of that shape.

Source: Devlin et al. 2019.   Differs: query, key and value are one stacked matrix, so that one product makes all three.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from encore import rows
from encore.dropout import Dropout, keep
from encore.encoder.attention import attend_stacked
from encore.encoder.encoder import Encoder
from encore.encoder.layers import ACTIVATIONS, LayerNorm, Linear, ResidualNorm
from encore.encoder.words import WordTable
from encore.errors import DataError
from encore.types import Tokens

__all__ = ["build", "from_huggingface"]


class Embeddings(nn.Module):
    """Word + position + segment, LayerNorm, dropout."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width = config["hidden_size"]
        self.word = WordTable(config["vocab_size"], width)
        self.position = nn.Embedding(config["max_position_embeddings"], width)
        self.segment = nn.Embedding(config["type_vocab_size"], width)
        self.norm = LayerNorm(width, eps=config["layer_norm_eps"])
        self.dropout = Dropout(config["hidden_dropout_prob"], "tokens")

    def forward(self, tokens: Tokens) -> Tensor:
        return self.dropout(self.norm(self.word(tokens.ids) + self.segment(tokens.segments) + self.position(tokens.positions)))


class Block(nn.Module):
    """Self-attention and feed-forward, each with dropout, residual and LayerNorm behind it."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, inner, eps = config["hidden_size"], config["intermediate_size"], config["layer_norm_eps"]
        self.n_heads = config["num_attention_heads"]
        self.attention_dropout = config["attention_probs_dropout_prob"]
        self.activation = ACTIVATIONS[config["hidden_act"]]
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)
        self.attention_norm = ResidualNorm(width, eps=eps, dropout=config["hidden_dropout_prob"])
        self.up = Linear(width, inner)
        self.down = Linear(inner, width)
        self.output_norm = ResidualNorm(width, eps=eps, dropout=config["hidden_dropout_prob"])

    def forward(self, x: Tensor, tokens: Tokens) -> Tensor:
        mixed = attend_stacked(self.qkv(x), tokens, n_heads=self.n_heads, dropout=self.attention_dropout if self.training else 0.0)
        x = self.attention_norm(x, self.out(mixed))
        return self.output_norm(x, self.down(self.activation(self.up(x))))

    def first(self, x: Tensor, tokens: Tokens) -> Tensor:
        """(tokens, width) → (rows, width): what `forward` gives for each row's first token.

        With one query per row the products with W_K and W_V commute with the sums over tokens: W_K is applied to the query and W_V to what the weights have
        mixed, once per row and head instead of once per token. The keys' bias shifts all scores of a row alike, so it does nothing.
        """
        query, key, value = self.qkv.weight.to(x.dtype).view(3, self.n_heads, -1, x.shape[1])                         # each (heads, head width, width)
        query_bias, _, value_bias = self.qkv.bias.view(3, 1, self.n_heads, -1).to(x.dtype)
        firsts = rows.first(x, tokens)
        asked = torch.einsum("rw,hdw->rhd", firsts, query) + query_bias
        absorbed = torch.einsum("rhd,hdw->rhw", asked * asked.shape[2] ** -0.5, key)
        chances = rows.softmax(rows.products(absorbed, x, tokens).float(), tokens)                                   # (tokens, heads)
        if self.training and self.attention_dropout > 0:
            (mask,), scale = keep([tuple(chances.shape)], self.attention_dropout, "tokens", self.n_heads)
            chances = chances * mask.to(chances.device) * scale
        mixed = torch.einsum("rhw,hdw->rhd", rows.mix(chances.to(x.dtype), x, tokens), value)
        mixed = mixed + rows.total(chances, tokens).to(x.dtype).unsqueeze(2) * value_bias
        y = self.attention_norm(firsts, self.out(mixed.flatten(1)), "rows")
        return self.output_norm(y, self.down(self.activation(self.up(y))), "rows")


_REQUIRED = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
_DEFAULTS = {
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "type_vocab_size": 2,
    "max_position_embeddings": 512,
}


def build(config: Mapping[str, Any]) -> Encoder:
    """An encoder with fresh weights from a `config.json`. Raises DataError for what this family cannot express."""
    config = {**_DEFAULTS, **config}
    problems = [f"config.json: '{key}' is missing." for key in _REQUIRED if key not in config]
    if problems:
        raise DataError(problems)
    if config["hidden_size"] % config["num_attention_heads"]:
        problems.append(f"config.json: hidden_size {config['hidden_size']} cannot be split into num_attention_heads {config['num_attention_heads']}.")
    if config.get("position_embedding_type", "absolute") != "absolute":
        problems.append(f"config.json: position_embedding_type '{config['position_embedding_type']}' is not supported, only 'absolute'.")
    if config["hidden_act"] not in ACTIVATIONS:
        problems.append(f"config.json: hidden_act '{config['hidden_act']}' is not known. Known: {', '.join(sorted(ACTIVATIONS))}.")
    if config.get("is_decoder"):
        problems.append("config.json: is_decoder is true; Encore trains encoders.")
    if problems:
        raise DataError(problems)
    return Encoder(Embeddings(config), [Block(config) for _ in range(config["num_hidden_layers"])])


_NAMES = {
    "embeddings.word_embeddings.weight": "embed.word.weight",
    "embeddings.position_embeddings.weight": "embed.position.weight",
    "embeddings.token_type_embeddings.weight": "embed.segment.weight",
    "embeddings.LayerNorm": "embed.norm",
    "attention.output.dense": "out",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "output_norm",
}
_STACKED = ("attention.self.query", "attention.self.key", "attention.self.value")


def _current(name: str) -> str:
    """Without the prefix that checkpoints with a head have, and with today's word for what TensorFlow called gamma and beta."""
    return name.removeprefix("bert.").replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def from_huggingface(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights under the names of a published checkpoint → (the encoder's, the pooler's), under Encore's names. Heads are dropped."""
    state = {_current(key): value for key, value in state.items()}
    ours: dict[str, Tensor] = {}
    for key, value in state.items():
        if key in _NAMES:
            ours[_NAMES[key]] = value
        elif key.startswith("embeddings.LayerNorm."):
            ours[key.replace("embeddings.LayerNorm", "embed.norm")] = value
        elif key.startswith("encoder.layer."):
            number, rest = key.removeprefix("encoder.layer.").split(".", 1)
            module, _, kind = rest.rpartition(".")
            parts = [state[name] for part in _STACKED if (name := f"encoder.layer.{number}.{part}.{kind}") in state]
            if module in _NAMES:
                ours[f"blocks.{number}.{_NAMES[module]}.{kind}"] = value
            elif module not in _STACKED or len(parts) < 3 or any(part.shape != value.shape for part in parts):
                ours[key] = value                       # has no place: the loader names it
            elif module == _STACKED[0]:
                ours[f"blocks.{number}.qkv.{kind}"] = torch.cat(parts)
        elif key.startswith("embeddings.") and not key.endswith("_ids"):
            ours[key] = value                           # position_ids, which old checkpoints carry, only counts from 0
    pooler = {key.removeprefix("pooler.dense."): value for key, value in state.items() if key.startswith("pooler.dense.")}
    return ours, pooler

"""ModernBERT: pre-norm blocks, rotary positions, gated feed-forward, and a local window in most
layers.

Source: Warner et al. 2024.   Differs: segments do not exist here and are ignored; nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from encore.encoder.attention import attend
from encore.encoder.dropout import Dropout, Unit, dropout
from encore.encoder.encoder import Block, Encoder
from encore.encoder.layers import ACTIVATIONS, LayerNorm, Linear, Residual
from encore.encoder.word_table import WordTable
from encore.errors import DataError
from encore.types import Tokens

__all__ = ["build", "from_huggingface"]

_GLOBAL, _LOCAL = "full_attention", "sliding_attention"


class ModernBertEmbeddings(nn.Module):
    """Words, LayerNorm, dropout. Attention adds the positions."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.width, self.n_positions = config["hidden_size"], config["max_position_embeddings"]
        self.n_segments = None
        self.word = WordTable(config["vocab_size"], config["hidden_size"])
        self.norm = _norm(config)
        self.dropout = Dropout(config["embedding_dropout"], "tokens")

    def forward(self, tokens: Tokens) -> Tensor:
        return self.dropout(self.norm(self.word(tokens.ids)))


class ModernBertBlock(nn.Module, Block):
    """x + attention(norm(x)), then x + feed-forward(norm(x)).

    `first`: the embeddings end in a LayerNorm, so the first block has none before its attention.
    `theta`: the base of the rotary wavelengths.
    """

    residuals = ("attention_residual", "output_residual")

    def __init__(
        self, config: Mapping[str, Any], *, first: bool, window: int | None, theta: float
    ) -> None:
        super().__init__()
        width, inner = config["hidden_size"], config["intermediate_size"]
        self.n_heads, self.window, self.theta = config["num_attention_heads"], window, theta
        self.attention_dropout = config["attention_dropout"]
        self.activation = ACTIVATIONS[config["hidden_activation"]]
        self.attention_norm = nn.Identity() if first else _norm(config)
        self.qkv = Linear(width, 3 * width, bias=config["attention_bias"])
        self.out = Linear(width, width, bias=config["attention_bias"])
        self.attention_residual = _PlainResidual(config["attention_dropout"])
        self.mlp_norm = _norm(config)
        self.up = Linear(width, 2 * inner, bias=config["mlp_bias"])
        self.mlp_dropout = Dropout(config["mlp_dropout"], "tokens")
        self.down = Linear(inner, width, bias=config["mlp_bias"])
        self.output_residual = _PlainResidual(0.0)

    def forward(self, x: Tensor, tokens: Tokens) -> Tensor:
        angles = _angles(tokens, x.shape[0], self.theta, x.shape[1] // self.n_heads)
        turned = _Rotate.apply(self.qkv(self.attention_norm(x)), *angles)
        mixed = attend(
            turned,
            tokens,
            n_heads=self.n_heads,
            window=self.window,
            dropout=self.attention_dropout if self.training else 0.0,
        )
        x = self.attention_residual(x, self.out(mixed))
        value, gate = self.up(self.mlp_norm(x)).chunk(2, dim=1)
        return self.output_residual(x, self.down(self.mlp_dropout(self.activation(value) * gate)))


class _PlainResidual(nn.Module, Residual):
    """x + dropout(y): the norms of these blocks come before their sublayers."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor, y: Tensor, unit: Unit = "tokens") -> Tensor:
        return x + self.dropped(y, unit)

    def dropped(self, y: Tensor, unit: Unit) -> Tensor:
        return dropout(y, self.p if self.training else 0.0, unit)

    def closed(self, total: Tensor) -> Tensor:
        return total


def _norm(config: Mapping[str, Any]) -> LayerNorm:
    return LayerNorm(config["hidden_size"], eps=config["norm_eps"], bias=config["norm_bias"])


def _angles(tokens: Tokens, n_lines: int, theta: float, head_width: int) -> tuple[Tensor, Tensor]:
    """(lines, 1, head width / 2) float32 cosines and sines of position · theta^(-2i / head width),
    of position 0 behind the last token; made once per batch, not per layer.
    """
    name = ("rotary", n_lines, theta, head_width)
    if name not in tokens.cache:
        powers = (
            torch.arange(0, head_width, 2, dtype=torch.float32, device=tokens.ids.device)
            / head_width
        )
        positions = nn.functional.pad(tokens.positions.float(), (0, n_lines - tokens.n_tokens))
        angles = (positions.unsqueeze(1) * (1.0 / theta**powers)).unsqueeze(1)
        tokens.cache[name] = (angles.cos(), angles.sin())
    return tokens.cache[name]


class _Rotate(torch.autograd.Function):
    """Turn the two halves of each head of queries and keys, as pairs, by the angles of their token.
    The way back is the opposite turn, so nothing of `x` is kept.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        ctx.save_for_backward(cosines, sines)
        return _turned(x, cosines, sines)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        cosines, sines = ctx.saved_tensors
        return _turned(grad, cosines, -sines), None, None


def _turned(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """(tokens, 3 * width): queries and keys turned, computed in float32, values as they are."""
    turning = x.shape[1] // 3 * 2
    first, second = x[:, :turning].float().reshape(x.shape[0], -1, 2, cosines.shape[-1]).unbind(2)
    out = x.clone()
    out[:, :turning] = torch.stack(
        (first * cosines - second * sines, second * cosines + first * sines), dim=2
    ).view(x.shape[0], turning)
    return out


_REQUIRED = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
)
_DEFAULTS = {
    "max_position_embeddings": 8192,
    "hidden_activation": "gelu",
    "norm_eps": 1e-5,
    "norm_bias": False,
    "attention_bias": False,
    "mlp_bias": False,
    "embedding_dropout": 0.0,
    "attention_dropout": 0.0,
    "mlp_dropout": 0.0,
    "local_attention": 128,
    "global_attn_every_n_layers": 3,
    "global_rope_theta": 160_000.0,
    "local_rope_theta": 10_000.0,
}


def build(config: Mapping[str, Any]) -> Encoder:
    """An encoder with fresh weights from a `config.json`. Raises DataError for what this family
    cannot express.
    """
    config = {**_DEFAULTS, **config}
    problems = [f"config.json: '{key}' is missing." for key in _REQUIRED if key not in config]
    if problems:
        raise DataError(problems)
    if config["hidden_size"] % (2 * config["num_attention_heads"]):
        ratio = (
            f"hidden_size {config['hidden_size']} / num_attention_heads "
            f"{config['num_attention_heads']}"
        )
        problems.append(
            f"config.json: {ratio} is not an even number, and rotary positions turn pairs."
        )
    if config["hidden_activation"] not in ACTIVATIONS:
        problems.append(
            f"config.json: hidden_activation '{config['hidden_activation']}' is not known. "
            f"Known: {', '.join(sorted(ACTIVATIONS))}."
        )
    if config["local_attention"] < 1:
        problems.append(
            f"config.json: local_attention is {config['local_attention']}; expected 1 or more."
        )
    if config.get("rope_scaling") is not None:
        problems.append(
            "config.json: rope_scaling is set; only plain rotary positions are supported."
        )
    kinds, kind_problems = _layer_kinds(config)
    thetas, theta_problems = _thetas(config)
    problems += kind_problems + theta_problems
    if problems:
        raise DataError(problems)
    windows = {_GLOBAL: None, _LOCAL: config["local_attention"]}
    blocks = [
        ModernBertBlock(config, first=number == 0, window=windows[kind], theta=thetas[kind])
        for number, kind in enumerate(kinds)
    ]
    return Encoder(ModernBertEmbeddings(config), blocks, final_norm=_norm(config))


def _layer_kinds(config: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Global or local, per layer: `layer_types` since transformers 5, before it every n-th layer is
    global, beginning with the first.
    """
    n_layers, kinds, every = (
        config["num_hidden_layers"],
        config.get("layer_types"),
        config["global_attn_every_n_layers"],
    )
    if kinds is None:
        if every < 1:
            return [], [f"config.json: global_attn_every_n_layers is {every}; expected 1 or more."]
        return [_LOCAL if number % every else _GLOBAL for number in range(n_layers)], []
    problems = [
        f"config.json: layer_types has '{kind}'; known: {_GLOBAL}, {_LOCAL}."
        for kind in sorted(set(kinds) - {_GLOBAL, _LOCAL})
    ]
    if len(kinds) != n_layers:
        problems.append(
            f"config.json: layer_types names {len(kinds)} layers, num_hidden_layers says "
            f"{n_layers}."
        )
    return list(kinds), problems


def _thetas(config: Mapping[str, Any]) -> tuple[dict[str, float], list[str]]:
    """The rotary base of either kind of layer: `rope_parameters` since transformers 5, two plain
    numbers before it (a local null means the global one).
    """
    thetas = {_GLOBAL: config["global_rope_theta"], _LOCAL: config["local_rope_theta"]}
    if thetas[_LOCAL] is None:
        thetas[_LOCAL] = thetas[_GLOBAL]
    problems = []
    for kind, settings in (config.get("rope_parameters") or {}).items():
        if kind not in thetas or not isinstance(settings, Mapping | None):
            problems.append(
                f"config.json: rope_parameters has '{kind}'; expected settings of {_GLOBAL} "
                f"and {_LOCAL}."
            )
            continue
        given = dict(settings or {})
        turning = given.pop("rope_type", given.pop("type", "default"))
        base = given.pop("rope_theta", None)
        thetas[kind] = thetas[kind] if base is None else base
        if turning != "default" or given:
            what = f"rope_type '{turning}'" if turning != "default" else ", ".join(sorted(given))
            problems.append(
                f"config.json: rope_parameters.{kind} asks for {what}; only plain rotary "
                f"positions are supported."
            )
    problems += [
        f"config.json: no rotary base for {kind}."
        for kind, theta in thetas.items()
        if theta is None
    ]
    return thetas, problems


_NAMES = {
    "attn_norm": "attention_norm",
    "attn.Wqkv": "qkv",
    "attn.Wo": "out",
    "mlp_norm": "mlp_norm",
    "mlp.Wi": "up",
    "mlp.Wo": "down",
}
_HEADS = ("head.", "decoder.", "classifier.", "drop.")


def from_huggingface(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights under the names of a published checkpoint → (the encoder's, the pooler's: none),
    under Encore's names. Heads are dropped.
    """
    ours: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key.removeprefix("model.")
        if name == key and key.startswith(_HEADS):
            continue
        parts = name.split(".")
        if parts[0] == "layers" and ".".join(parts[2:-1]) in _NAMES:
            name = f"blocks.{parts[1]}.{_NAMES['.'.join(parts[2:-1])]}.{parts[-1]}"
        elif parts[0] == "embeddings":
            name = name.replace("embeddings.tok_embeddings", "embed.word").replace(
                "embeddings.norm", "embed.norm"
            )
        ours[name] = value
    return ours, {}

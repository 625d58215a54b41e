"""The settings of an encoder's config.json, typed and bounded, before anything is built from them.

A file may name sizes that no machine has, rates that are no rates, or lists for numbers. The bounds
are far above every published encoder; what its family cannot express is the family's own check.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from encore.data.bounded import checked_settings
from encore.errors import DataError, Problem, format_given

__all__ = ["EncoderConfig", "PoolingConfig", "check_config"]

MOST_LAYERS = 512
_Words = Annotated[int, Field(ge=1, le=10_000_000)]
_Width = Annotated[int, Field(ge=1, le=32_768)]
_Inner = Annotated[int, Field(ge=1, le=262_144)]
_Layers = Annotated[int, Field(ge=1, le=MOST_LAYERS)]
_Heads = Annotated[int, Field(ge=1, le=1024)]
_Positions = Annotated[int, Field(ge=1, le=10_000_000)]
_Rate = Annotated[float, Field(ge=0, lt=1)]
_Eps = Annotated[float, Field(gt=0, lt=1)]
_Base = Annotated[float, Field(gt=0, le=1e15)]
_Name = Annotated[str, Field(min_length=1, max_length=100)]


class EncoderConfig(BaseModel):
    """Every setting that the families read, and those of other encoders under the same names. What
    is left out keeps the family's default.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)

    model_type: _Name
    vocab_size: _Words = 1
    hidden_size: _Width = 1
    dim: _Width = 1
    embedding_size: _Width | None = None
    intermediate_size: _Inner = 1
    hidden_dim: _Inner = 1
    num_hidden_layers: _Layers = 1
    n_layers: _Layers = 1
    num_attention_heads: _Heads = 1
    n_heads: _Heads = 1
    max_position_embeddings: _Positions = 1
    type_vocab_size: Annotated[int, Field(ge=0, le=1024)] = 0
    pad_token_id: Annotated[int, Field(ge=0, lt=10_000_000)] | None = None
    num_labels: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    layer_norm_eps: _Eps = 0.5
    norm_eps: _Eps = 0.5
    hidden_dropout_prob: _Rate = 0
    attention_probs_dropout_prob: _Rate = 0
    dropout: _Rate = 0
    attention_dropout: _Rate = 0
    embedding_dropout: _Rate = 0
    mlp_dropout: _Rate = 0
    hidden_act: _Name = "gelu"
    activation: _Name = "gelu"
    hidden_activation: _Name = "gelu"
    position_embedding_type: _Name | None = None
    norm_bias: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    is_decoder: bool = False
    local_attention: _Positions = 1
    global_attn_every_n_layers: _Layers = 1
    global_rope_theta: _Base = 1
    local_rope_theta: _Base | None = None
    layer_types: Annotated[list[_Name], Field(max_length=MOST_LAYERS)] | None = None
    rope_parameters: dict[str, Any] | None = None


class PoolingConfig(BaseModel):
    """The settings of sentence-transformers' 1_Pooling/config.json that Encore knows."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    mean: bool = Field(False, alias="pooling_mode_mean_tokens")
    cls: bool = Field(False, alias="pooling_mode_cls_token")


def check_config(
    config: Mapping[str, Any], *, borrowed: bool = False, where: str = "config.json"
) -> None:
    """Check types and bounds. borrowed: an encoder of transformers, where null stands for a default
    and further settings are bounded too. Raises DataError with all problems.
    """
    given = {key: value for key, value in config.items() if not borrowed or value is not None}
    checked_settings(EncoderConfig, given, where)
    problems = list(_wrong_bases(config, where))
    if borrowed:
        problems += _wrong_elsewhere(config, where)
    if problems:
        raise DataError(problems)


def _wrong_bases(config: Mapping[str, Any], where: str) -> Iterator[Problem]:
    """The rotary bases that are no positive numbers, of each kind of layer."""
    for kind, settings in (config.get("rope_parameters") or {}).items():
        base = settings.get("rope_theta") if isinstance(settings, Mapping) else None
        number = isinstance(base, int | float) and not isinstance(base, bool)
        if base is not None and not (number and 0 < base <= 1e15):
            yield Problem(
                where=where,
                setting=f"rope_parameters.{kind}.rope_theta",
                expected="a number above 0 and at most 1e15",
                got=format_given(base),
            )


def _wrong_elsewhere(config: Mapping[str, Any], where: str) -> Iterator[Problem]:
    """Settings of an encoder of transformers that would load code or other weights, or build more
    than any machine holds.
    """
    for key, value in config.items():
        if key == "quantization_config" and value is not None:
            yield Problem(
                where=where,
                setting=key,
                message="quantised weights are not supported.",
                remedy="Save it again without.",
            )
        elif key.strip("_").startswith("attn_implementation") and value is not None:
            if value not in ("eager", "sdpa", "flash_attention_2", "flex_attention"):
                # transformers takes other names for repositories of code on the hub
                yield Problem(
                    where=where,
                    setting=key,
                    expected="eager, sdpa, flash_attention_2 or flex_attention",
                    got=format_given(value),
                )
        elif key not in EncoderConfig.model_fields:
            most = MOST_LAYERS if "layer" in key or "block" in key else 10_000_000
            numbers = value if isinstance(value, list) else [value]
            if any(isinstance(each, int) and abs(each) > most for each in numbers):
                expected = f"whole numbers of at most {most}"
                yield Problem(where=where, setting=key, expected=expected, got=format_given(value))

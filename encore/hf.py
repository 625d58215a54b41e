"""Encore's models as transformers sees them: after `encore.hf.register()`, `AutoModelForSequenceClassification` and `pipeline` load what `encore export` wrote.

For heads that none of transformers' own classes expresses. No code comes with the weights: who loads such a folder has Encore installed, and says so by
importing this. Needs the extra `hf`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from encore.encoder.words import WordTable
from encore.errors import DataError
from encore.model import encoders_of
from encore.predict import assembled
from encore.types import Tokens

__all__ = ["EncoreConfig", "EncoreForSequenceClassification", "register"]


def register() -> None:
    """Make the Auto classes know Encore's models. As often as you like."""
    AutoConfig.register(EncoreConfig.model_type, EncoreConfig, exist_ok=True)
    AutoModelForSequenceClassification.register(EncoreConfig, EncoreForSequenceClassification, exist_ok=True)


class EncoreConfig(PreTrainedConfig):
    """encoder_config: the encoder's own config.json; pooling, head, sharing: as a recipe names them, with their settings; sharing where it has put several
    encoders side by side. The labels stand where transformers has them: `id2label`, `problem_type`."""

    model_type = "encore"

    def __init__(
        self,
        encoder_config: Mapping[str, Any] | None = None,
        pooling: Mapping[str, Any] | None = None,
        head: Mapping[str, Any] | None = None,
        sharing: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.encoder_config, self.pooling, self.head = dict(encoder_config or {}), dict(pooling or {}), dict(head or {})
        self.sharing = dict(sharing or {"name": "one"})
        super().__init__(**settings)


class EncoreForSequenceClassification(PreTrainedModel):
    """Encoders, poolings and head of a run. Weights are float32 always; with `dtype=torch.bfloat16` the encoder's products are taken in that."""

    config_class = EncoreConfig
    base_model_prefix = "network"
    main_input_name = "input_ids"
    _keep_in_fp32_modules_strict = ["network"]                      # noqa: RUF012 (transformers 5.0 heeds a list only)

    def __init__(self, config: EncoreConfig) -> None:
        super().__init__(config)
        with torch.device("cpu"):                                   # from_pretrained would have it on the meta device, without what is no parameter
            self.network = assembled(config.encoder_config, config.pooling, config.head, len(config.id2label or ()), config.sharing)
        asked = getattr(config, "dtype", None)
        for encoder in encoders_of(self.network):
            encoder.dtype = torch.bfloat16 if asked in (torch.bfloat16, "bfloat16") else torch.float32
        # Loading empties every buffer that is in no file (a borrowed encoder's position numbers), and fills those anew whose module was not filled before.
        for module in self.network.modules():
            module.__dict__.pop("_is_hf_initialized", None)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput | tuple[Tensor, ...]:
        """input_ids, attention_mask, token_type_ids: (rows, length), padded on whichever side. labels: as the stock classes take them."""
        logits = self.network(tokens_of(input_ids, attention_mask, token_type_ids)).scores
        loss = None if labels is None else _loss(logits, labels, self.config.problem_type)
        found = SequenceClassifierOutput(loss=loss, logits=logits)
        return found.to_tuple() if return_dict is False else found

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, WordTable):
            nn.init.normal_(module.weight, std=0.02)


def tokens_of(input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None) -> Tokens:
    """(rows, length) with padding → the real tokens end to end, counted from 0 in each row. Raises DataError for a row without tokens."""
    real = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
    ids = input_ids[real]
    segments = torch.zeros_like(ids) if token_type_ids is None else token_type_ids[real].long()
    lengths = real.sum(dim=1)
    counts = tuple(lengths.tolist())
    if 0 in counts:
        raise DataError(f"row {counts.index(0)} of the batch: its attention_mask hides every token. Every row needs at least its special tokens.")
    offsets = F.pad(lengths.cumsum(0), (1, 0))
    positions = torch.arange(len(ids), device=ids.device) - torch.repeat_interleave(offsets[:-1], lengths)
    return Tokens(ids, segments, positions, offsets, counts)


def _loss(logits: Tensor, labels: Tensor, problem_type: str | None) -> Tensor:
    """What transformers' own classes take for each kind of problem."""
    if problem_type == "regression":
        return F.mse_loss(logits.squeeze(1), labels.view(-1).float())
    if problem_type == "multi_label_classification":
        return F.binary_cross_entropy_with_logits(logits, labels.float())
    return F.cross_entropy(logits, labels.view(-1))

"""Encore's models as transformers sees them: after `encore.hf.register()`,
`AutoModelForSequenceClassification` and `pipeline` load what `encore export` wrote.

For what none of transformers' own classes expresses: poolings, heads, several encoders side by
side, and pairs that are not one row of tokens, read once. No code comes with the weights: whoever
loads such a folder has Encore installed and imports this module. Needs the extra `hf`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from encore import catalogue
from encore.data.batches import collate
from encore.data.bounded import checked_settings, read_object
from encore.data.token_store import Truncation
from encore.data.tokenizer import Template, Templates
from encore.encoder import load as encoders
from encore.encoder.config import check_config
from encore.encoder.huggingface import compare_sizes
from encore.encoder.weights import read_header, require_finite, require_fit
from encore.encoder.word_table import WordTable
from encore.errors import DataError
from encore.evaluation.predictions import check_finite
from encore.model.assembly import TaskSpec, assemble
from encore.model.task_model import encoders_of
from encore.runs.predict import assemble_model
from encore.techniques.pairs._default import PAIRING_OF_SIDES
from encore.training.streams import Rows
from encore.types import LabelSpace, Tokens

__all__ = ["EncoreConfig", "EncoreForSequenceClassification", "PairReader", "register"]


_Id = Annotated[int, Field(ge=0, le=10_000_000)]
_Ids = tuple[_Id, ...] | list[_Id]  # as Encore has them, and as JSON does


def register() -> None:
    """Register Encore's models with transformers' Auto classes. May be called repeatedly."""
    AutoConfig.register(EncoreConfig.model_type, EncoreConfig, exist_ok=True)
    AutoModelForSequenceClassification.register(
        EncoreConfig, EncoreForSequenceClassification, exist_ok=True
    )


class EncoreConfig(PreTrainedConfig):
    """The configuration of an exported model.

    encoder_config: the encoder's own config.json. pooling, head, sharing: as a recipe names them,
    with their settings; sharing is there if it put several encoders side by side. reading: how the
    model makes its rows of two texts, if the tokenizer cannot (`PairReader`). adapter: the new
    layers in the encoder, if it has any. logit_temperature: what logits are divided by.
    Labels are where transformers has them: `id2label`,
    `problem_type`. Raises DataError where a setting has another type or is out of its range.
    """

    model_type = "encore"

    def __init__(
        self,
        encoder_config: Mapping[str, Any] | None = None,
        pooling: Mapping[str, Any] | None = None,
        head: Mapping[str, Any] | None = None,
        sharing: Mapping[str, Any] | None = None,
        reading: Mapping[str, Any] | None = None,
        adapter: Mapping[str, Any] | None = None,
        logit_temperature: float | None = None,
        **settings: Any,
    ) -> None:
        _check(encoder_config, reading)
        if logit_temperature is not None:
            checked_settings(_Calibration, {"logit_temperature": logit_temperature}, "config.json")
            self.logit_temperature = logit_temperature
        self.encoder_config, self.pooling, self.head = (
            dict(encoder_config or {}),
            dict(pooling or {}),
            dict(head or {}),
        )
        self.sharing, self.reading = (
            dict(sharing or {"name": "one"}),
            None if reading is None else dict(reading),
        )
        self.adapter = None if adapter is None else dict(adapter)
        super().__init__(**settings)


class EncoreForSequenceClassification(PreTrainedModel):
    """Encoders, poolings and head of a run. Weights are float32 always; with `dtype=torch.bfloat16`
    the encoder's products are taken in that.
    """

    config_class = EncoreConfig
    base_model_prefix = "network"
    main_input_name = "input_ids"
    _keep_in_fp32_modules_strict = ["network"]  # noqa: RUF012

    def __init__(self, config: EncoreConfig) -> None:
        super().__init__(config)
        self.reading = None if config.reading is None else PairReader(**config.reading)
        self.temperature = config.to_dict().get("logit_temperature", 1.0)
        with torch.device(
            "cpu"
        ):  # from_pretrained would have it on the meta device, without what is no parameter
            self.network = assemble_model(
                config.encoder_config, _part(config), config.sharing, config.adapter
            )
        requested = getattr(config, "dtype", None)
        for encoder in encoders_of(self.network):
            encoder.dtype = (
                torch.bfloat16 if requested in (torch.bfloat16, "bfloat16") else torch.float32
            )
        # Loading empties every buffer that is in no file (a borrowed encoder's position numbers),
        # and fills those anew whose module was not filled before.
        for module in self.network.modules():
            module.__dict__.pop("_is_hf_initialized", None)
        self.post_init()

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *args: Any, **settings: Any
    ) -> Any:
        """Load as transformers does. Raises DataError where the weights are not finite, or, of a
        folder, not those that its config.json describes.
        """
        folder = Path(str(pretrained_model_name_or_path))
        weights = folder / "model.safetensors"
        if weights.exists():
            _check_header(folder, weights)
        found = super().from_pretrained(pretrained_model_name_or_path, *args, **settings)
        model = found[0] if isinstance(found, tuple) else found  # output_loading_info=True
        require_finite(model.state_dict(), weights)
        return found

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput | tuple[Tensor, ...]:
        """input_ids, attention_mask, token_type_ids: (rows, length), padded on whichever side.
        labels: as the stock classes take them. Raises DataError, in eval mode, where scores are not
        finite.
        """
        given = (input_ids, attention_mask, token_type_ids)
        read = [tokens_of(*given)] if self.reading is None else self.reading.tokens(*given)
        logits = torch.stack([self.network(tokens).scores for tokens in read]).mean(dim=0)
        logits = logits if self.temperature == 1 else logits / self.temperature
        if not self.training:
            check_finite(
                {"": logits.detach().float().cpu().numpy()},
                np.arange(1, len(logits) + 1),
                where="this batch",
            )
        loss = None if labels is None else _loss(logits, labels, self.config.problem_type)
        found = SequenceClassifierOutput(loss=loss, logits=logits)
        return found.to_tuple() if return_dict is False else found

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, WordTable):
            nn.init.normal_(module.weight, std=0.02)


def _check(encoder: Mapping[str, Any] | None, reading: Mapping[str, Any] | None) -> None:
    if encoder:
        borrowed = encoders.family(encoder.get("model_type")) is None
        check_config(encoder, borrowed=borrowed, where="config.json encoder_config")
    if reading is not None:
        checked_settings(_Reading, reading, "config.json reading")


def _check_header(folder: Path, weights: Path) -> None:
    """Compare what model.safetensors declares with config.json, before memory is taken for either.
    A borrowed encoder cannot be built without memory; of it, the numbers of weights are compared.
    """
    config = EncoreConfig(**read_object(folder / "config.json"))
    found = {key.removeprefix("network."): each for key, each in read_header(weights).items()}
    if encoders.family(config.encoder_config.get("model_type")) is None:
        compare_sizes(config.encoder_config, found, weights)
        return
    skeleton = encoders.build_skeleton(config.encoder_config)
    with encoders.on_meta_device():
        network = assemble(
            {"": _part(config)},
            config.sharing,
            skeleton,
            skeleton.shape,
            seed=0,
            adapter=config.adapter,
        )
    require_fit(network[""], found, weights)


class _Frozen(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class _Template(_Frozen):
    ids: _Ids
    segments: _Ids
    counts: _Ids
    text_segments: _Ids


class _Reading(_Frozen):
    """The settings of `PairReader`, as config.json may hold them."""

    pair: dict[str, Any]
    max_length: Annotated[int, Field(ge=1, le=10_000_000)]
    truncation: Truncation
    templates: Annotated[list[_Template], Field(min_length=2, max_length=2)]


class _Calibration(_Frozen):
    logit_temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PairReader:
    """Rows of two texts as Encore makes them of the same texts. pair: as a recipe names it;
    templates: the special tokens around one text, and around two.

    Its tokenizer puts both texts into one row, each as if it were alone (all of the second one in
    segment 1), and cuts nothing: where to cut is not to be known before both lengths are.
    """

    def __init__(
        self,
        *,
        pair: Mapping[str, Any],
        max_length: int,
        truncation: Truncation,
        templates: Sequence[Mapping[str, Any]],
    ) -> None:
        self.pairing: Any = catalogue.build("pairs", pair)
        self.how: Any = {"max_length": max_length, "truncation": truncation}
        single, both = (
            Template(**{key: tuple(value) for key, value in one.items()}) for one in templates
        )
        self.around = Templates({False: single, True: both})

    def tokens(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> list[Tokens]:
        """The batches to score, one or one for each order; the output is the mean of their scores.
        Raises DataError if a row does not have two texts.
        """
        texts, pairs = self.texts(input_ids, attention_mask, token_type_ids)
        store = self.pairing.tokenize(self.around, texts, pairs, **self.how)
        every = np.arange(len(texts))
        rows = Rows(
            store,
            every,
            "",
            every,
            np.ones(len(texts), np.float32),
            self.pairing.n_sides,
            self.pairing.both_orders,
        )
        return [
            collate(store, rows.at(every, swapped), input_ids.device) for swapped in rows.orders
        ]

    def texts(
        self, input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The ids of all first texts and of all second ones, without special tokens."""
        if token_type_ids is None:
            example = "model(**tokenizer(texts, other_texts, padding=True, return_tensors='pt'))"
            raise DataError(
                f"token_type_ids: expected those of the tokenizer, by which this model tells "
                f"its two texts apart, got none. Write {example}."
            )
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        before, after = self.around.templates[False].counts
        found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for row, (ids, shown, segments) in enumerate(
            zip(*(part.cpu().numpy() for part in (input_ids, real, token_type_ids)), strict=True)
        ):
            for side, name in enumerate(("first", "second")):
                own = ids[(shown != 0) & (segments == side)].astype(np.int32)
                if len(own) < before + after:
                    raise DataError(
                        f"row {row} of the batch: has no {name} text, and this model compares "
                        f"two. (`pipeline` loses a second text that is empty.)"
                    )
                found[side].append(own[before : len(own) - after])
        return found


def tokens_of(
    input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
) -> Tokens:
    """(rows, length) with padding → the real tokens end to end, counted from 0 in each row. Raises
    DataError for a row without tokens.
    """
    real = (
        torch.ones_like(input_ids, dtype=torch.bool)
        if attention_mask is None
        else attention_mask.bool()
    )
    ids = input_ids[real]
    segments = torch.zeros_like(ids) if token_type_ids is None else token_type_ids[real].long()
    lengths = real.sum(dim=1)
    counts = tuple(lengths.tolist())
    if 0 in counts:
        raise DataError(
            f"row {counts.index(0)} of the batch: its attention_mask hides every token. Every "
            f"row needs at least its special tokens."
        )
    offsets = F.pad(lengths.cumsum(0), (1, 0))
    positions = torch.arange(len(ids), device=ids.device) - torch.repeat_interleave(
        offsets[:-1], lengths
    )
    return Tokens(ids, segments, positions, offsets, counts)


def _part(config: EncoreConfig) -> TaskSpec:
    names, pair = (
        tuple((config.id2label or {}).values()),
        {"name": PAIRING_OF_SIDES[1]} if config.reading is None else config.reading["pair"],
    )
    kinds = {"regression": "regression", "multi_label_classification": "multilabel"}
    kind: Any = kinds.get(str(config.problem_type), "binary" if len(names) == 2 else "multiclass")
    return TaskSpec(LabelSpace(kind, names), config.pooling, config.head, pair)


def _loss(logits: Tensor, labels: Tensor, problem_type: str | None) -> Tensor:
    """The loss of transformers' own classes for each kind of problem."""
    if problem_type == "regression":
        return F.mse_loss(logits.squeeze(1), labels.view(-1).float())
    if problem_type == "multi_label_classification":
        return F.binary_cross_entropy_with_logits(logits, labels.float())
    return F.cross_entropy(logits, labels.view(-1))

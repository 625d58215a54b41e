"""The place of each parameter in its model, and with it whether and how fast it trains.

Depth comes from the encoder and not from names, so copies of a layer that belong to single tasks
have the depth of the layer they were copied from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from torch import nn

from encore.encoder.encoder import Encoder, Frozen
from encore.encoder.huggingface import HuggingFaceEncoder
from encore.errors import RecipeError
from encore.model.task_model import Branch, TaskModel
from encore.types import Phase

__all__ = [
    "ParameterInfo",
    "Role",
    "Selector",
    "base_names",
    "encoder_infos",
    "freezes_encoder",
    "needs_layers",
    "parameter_infos",
    "rate_factor",
]

Role = Literal["tables", "embeddings", "block", "norm", "adapter", "pooler", "pooling", "head"]
_TABLES = ("word", "position")  # what METHODS 3.2 calls embeddings where it freezes them
_PART = re.compile(r"all|heads|pooler|embeddings|adapters|top:\d+")


@dataclass(frozen=True)
class ParameterInfo:
    """A parameter's place in the model.

    role: word and position tables, the rest of the embedding layer, a block, the norm behind the
    blocks, an adapter (all that trains in an encoder that has one), the checkpoint's pooler, what
    else poolings train, a head. depth: of a block, from 1; 0 for embeddings. above: the number of
    blocks above it. A borrowed encoder has neither.
    """

    role: Role
    depth: int | None = None
    above: int | None = None


@dataclass(frozen=True)
class Selector:
    """The parameters that a phase trains: a union of all, heads (poolings and heads), pooler (the
    checkpoint's), embeddings, adapters and top:k (the k highest blocks, or their adapters, and the
    norm behind them, and the embeddings where k exceeds the number of blocks), joined by +.
    """

    parts: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Raises RecipeError where a part of `text` is none of these."""
        parts = tuple(text.split("+"))
        for part in parts:
            if not _PART.fullmatch(part):
                raise RecipeError(
                    f"trainable: '{part}' is no part of a model. Write all, heads, pooler, "
                    f"embeddings, adapters, top:k, or several of them with +."
                )
        return cls(parts)

    @property
    def k(self) -> int:
        """The number of blocks from the top that train, where not all do."""
        return max(
            (int(part.partition(":")[2]) for part in self.parts if part.startswith("top:")),
            default=0,
        )

    @property
    def in_encoder(self) -> bool:
        """True if weights of the encoder train; its pooler is not one of them."""
        return self.k > 0 or not {"all", "embeddings", "adapters"}.isdisjoint(self.parts)

    def selects(self, info: ParameterInfo) -> bool:
        """True if the parameter trains."""
        if "all" in self.parts:
            return True
        reached = info.above is not None and info.above < self.k
        return {
            "tables": reached or "embeddings" in self.parts,
            "embeddings": reached or "embeddings" in self.parts,
            "block": reached,
            "norm": self.k > 0,
            "adapter": reached or "adapters" in self.parts,
            "pooler": "pooler" in self.parts,
            "pooling": "heads" in self.parts,
            "head": "heads" in self.parts,
        }[info.role]


def freezes_encoder(phase: Phase) -> bool:
    """True if no weight of an encoder trains in this phase: the encoder then runs once per text,
    in eval mode (METHODS 1.12, 3.5).
    """
    return not Selector.parse(phase.trainable).in_encoder


def parameter_infos(models: Mapping[str, TaskModel]) -> dict[int, ParameterInfo]:
    """id of a parameter → what it is, for all that may ever train. Left out are `Frozen` encoders
    with the poolers of their branches, and weights of poolings and heads that are frozen now. To be
    called before a phase freezes anything.
    """
    found: dict[int, ParameterInfo] = {}
    for model in models.values():
        for branch in model.branches:
            for parameter, info in _branch_infos(branch):
                found.setdefault(id(parameter), info)
        for parameter in cast(nn.Module, model.head).parameters():
            if parameter.requires_grad:
                found.setdefault(id(parameter), ParameterInfo("head"))
    return found


def needs_layers(phase: Phase) -> bool:
    """True if the phase needs to know the encoder's layers, which a borrowed encoder hides."""
    return Selector.parse(phase.trainable).k > 0 or phase.rates.layer_decay != 1


def rate_factor(info: ParameterInfo, phase: Phase) -> float:
    """The factor on the phase's rate for one parameter (METHODS 3.2). The options multiply.

    The pooler, and embeddings unless `decay_embeddings`, keep the phase's rate.
    """
    rates, factor = phase.rates, 1.0
    in_layers = info.role in ("block", "adapter")
    if info.above is not None and (in_layers or rates.decay_embeddings):
        factor *= rates.layer_decay**info.above
    if info.role in ("pooling", "head"):
        factor *= rates.head_multiplier
    if info.role == "tables" and rates.embedding_lr is not None:
        factor *= rates.embedding_lr / phase.lr
    return factor


def _branch_infos(branch: Branch) -> Iterator[tuple[nn.Parameter, ParameterInfo]]:
    pretrained = {id(parameter) for parameter in branch.pooling.pretrained()}
    frozen = isinstance(branch.encoder, Frozen) or _is_adapted(branch.encoder)
    if not isinstance(branch.encoder, Frozen):
        yield from encoder_infos(branch.encoder)
    for parameter in cast(nn.Module, branch.pooling).parameters():
        if id(parameter) in pretrained:
            if not frozen:
                yield parameter, ParameterInfo("pooler")
        elif parameter.requires_grad:
            yield parameter, ParameterInfo("pooling")


def base_names(models: Mapping[str, TaskModel]) -> set[str]:
    """The names in the models' `state_dict`s, `TASK.NAME`, of what adapters leave as it is: it
    belongs to the encoder that they were put into.
    """
    return {
        f"{task}.branches.{place}.encoder.{name}"
        for task, model in models.items()
        for place, branch in enumerate(model.branches)
        if isinstance(encoder := branch.encoder, Encoder) and encoder.own is not None
        for name in encoder.state_dict()
        if name not in encoder.own
    }


def _is_adapted(encoder: Encoder | HuggingFaceEncoder) -> bool:
    return isinstance(encoder, Encoder) and encoder.own is not None


def encoder_infos(
    encoder: Encoder | HuggingFaceEncoder,
) -> Iterator[tuple[nn.Parameter, ParameterInfo]]:
    """The parameters of an encoder that may train, and what each is."""
    if isinstance(encoder, HuggingFaceEncoder):
        for parameter in encoder.embed.parameters():
            yield parameter, ParameterInfo("tables")
        for parameter in encoder.model.parameters():
            yield parameter, ParameterInfo("block")
        return
    n_blocks = len(encoder.blocks)
    if encoder.own is not None:
        parameters = dict(encoder.named_parameters())
        for name in sorted(encoder.own):
            if parameters[name].requires_grad:  # adapters that are fused stay as they are
                depth = int(name.split(".")[1]) + 1
                yield parameters[name], ParameterInfo("adapter", depth, n_blocks - depth)
        return
    for name, parameter in encoder.embed.named_parameters():
        role: Role = "tables" if name.split(".")[0] in _TABLES else "embeddings"
        yield parameter, ParameterInfo(role, 0, n_blocks)
    for depth, block in enumerate(encoder.blocks, start=1):
        for parameter in block.parameters():
            yield parameter, ParameterInfo("block", depth, n_blocks - depth)
    if encoder.final_norm is not None:
        for parameter in encoder.final_norm.parameters():
            yield parameter, ParameterInfo("norm")

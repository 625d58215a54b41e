"""The parameters that a phase trains, by place, rate and weight decay."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import torch

from encore.model.selection import ParameterInfo, Role

__all__ = ["ParameterGroup", "PhaseStart", "groups_of"]

_ORDER = {role: place for place, role in enumerate((*get_args(Role), "loss"))}
_SETTINGS = operator.itemgetter("params", "factor", "weight_decay")


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters of one place, rate and weight decay. role: of `ParameterInfo`, or loss: weights
    that a loss learns. depth: of a block, from 1; 0 for embeddings, None for what has none.
    n_parameters: of word tables, those of the words in the training texts.
    """

    role: str
    depth: int | None
    lr: float
    weight_decay: float
    n_tensors: int
    n_parameters: int


@dataclass(frozen=True)
class PhaseStart:
    """A phase as training enters it, from its start or resumed. number: from 1."""

    number: int
    n_phases: int
    epochs: int
    groups: tuple[ParameterGroup, ...]


def groups_of(
    optimiser: torch.optim.Optimizer, infos: Mapping[int, ParameterInfo], lr: float
) -> tuple[ParameterGroup, ...]:
    """The groups of everything that the optimiser updates, from the embeddings up: each parameter
    is in exactly one. infos: id of a parameter → its place. lr: the phase's rate.
    """
    sizes: dict[tuple[int, str, int | None, float, float], list[int]] = {}
    for group in optimiser.param_groups:
        parameters, factor, decay = _SETTINGS(group)
        for parameter in parameters:
            info = infos.get(id(parameter))
            role, depth = ("loss", None) if info is None else (info.role, info.depth)
            place = (_ORDER[role], role, depth, lr * factor, decay)
            sizes.setdefault(place, []).append(parameter.numel())
    return tuple(
        ParameterGroup(role, depth, rate, decay, len(found), sum(found))
        for (_, role, depth, rate, decay), found in sorted(
            sizes.items(), key=lambda item: (item[0][0], item[0][2] or 0, *item[0][3:])
        )
    )

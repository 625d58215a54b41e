"""Beside what is trained, a frozen copy of the pretrained encoder, which all tasks share (static
BERT).

Source: SerBERTus §3, Table 5 (METHODS 4.4).
Differs: `of` says how the trained part is shared, for which the paper has one encoder per task
(separate).
Cost: an encoder that is run once for each text (each time where that would keep more than 1 GB);
the head sees one vector more.
Needs: a pooling that brings no new parameters (pooler, cls, mean, max, …).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import cast

from torch import nn

from encore import catalogue
from encore.encoder.adapted import without_adapters
from encore.encoder.encoder import Encoder, Frozen
from encore.errors import RecipeError
from encore.model.task_model import Branch
from encore.types import Pooling, Sharing, Spec

__all__ = ["StaticEncoder"]


class StaticEncoder(Sharing[Branch]):
    """The frozen branch comes last."""

    keeps_pretrained = True

    def __init__(self, *, of: Spec = "separate") -> None:
        self.trained: Sharing[Branch] = catalogue.build("sharing", of)

    def __call__(
        self, branches: Mapping[str, Branch], owners: Mapping[str, str]
    ) -> dict[str, list[Branch]]:
        """Raises RecipeError for tasks whose pooling has new weights."""
        learning = [task for task, branch in branches.items() if _has_new_weights(branch.pooling)]
        if learning:
            what = (
                "weights that start from nothing (its pooling, or siamese_attend), which no "
                "frozen copy can learn"
            )
            instead = "Take the pooling pooler, cls, mean or max, and pair: cross or siamese."
            raise RecipeError(
                f"task '{task}' reads its texts with {what}. {instead}" for task in learning
            )
        encoder = next(iter(branches.values())).encoder
        plain = without_adapters(encoder) if isinstance(encoder, Encoder) else encoder
        frozen = Frozen(copy.deepcopy(plain))
        still = {
            task: Branch(frozen, _frozen_copy(branches[task].pooling))
            for task in dict.fromkeys(owners.values())
        }
        trained = self.trained(branches, owners)
        return {task: [*own, still[owners[task]]] for task, own in trained.items()}


def _has_new_weights(pooling: Pooling) -> bool:
    pretrained = {id(parameter) for parameter in pooling.pretrained()}
    return any(
        parameter.requires_grad and id(parameter) not in pretrained
        for parameter in cast(nn.Module, pooling).parameters()
    )


def _frozen_copy(pooling: Pooling) -> Pooling:
    frozen = copy.deepcopy(pooling)
    cast(nn.Module, frozen).requires_grad_(False)
    return frozen

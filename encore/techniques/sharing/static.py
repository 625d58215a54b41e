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
from typing import Any, cast

from encore import catalogue
from encore.encoder.encoder import Encoder, Frozen
from encore.errors import RecipeError
from encore.model.task_model import Branch
from encore.techniques.pooling.pooler import Pooler
from encore.types import Spec

__all__ = ["static"]


def static(
    branches: Mapping[str, Branch], alike: Mapping[str, str], *, of: Spec = "separate"
) -> dict[str, list[Branch]]:
    """Every task's branches, see `one`: the frozen one last. Raises RecipeError."""
    learning = [task for task, branch in branches.items() if _learns(branch.pooling)]
    if learning:
        what = (
            "weights that start from nothing (its pooling, or siamese_attend), which no "
            "frozen copy can learn"
        )
        instead = "Take the pooling pooler, cls, mean or max, and pair: cross or siamese."
        raise RecipeError(
            f"task '{task}' reads its texts with {what}. {instead}" for task in learning
        )
    frozen = Frozen(cast(Encoder, copy.deepcopy(next(iter(branches.values())).encoder)))
    still = {
        task: Branch(frozen, cast(Any, copy.deepcopy(branches[task].pooling)).requires_grad_(False))
        for task in dict.fromkeys(alike.values())
    }
    trained = catalogue.build("sharing", of, branches, alike)
    return {task: [*own, still[alike[task]]] for task, own in trained.items()}


def _learns(pooling: Any) -> bool:
    return not isinstance(pooling, Pooler) and any(True for _ in pooling.parameters())

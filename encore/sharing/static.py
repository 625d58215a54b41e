"""Beside what is trained, a frozen copy of the pretrained encoder, which all tasks share (static BERT).

Source: SerBERTus §3, Table 5 (METHODS 4.4).   Differs: `of` says how the trained part is shared, for which the paper has one encoder per task (separate).
Cost: an encoder that is run and not trained; the head sees one vector more.   Needs: a pooling that brings no new parameters (pooler, cls, mean, max, …).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

from encore import catalogue
from encore.encoder.encoder import Encoder, Frozen
from encore.errors import RecipeError
from encore.model import Branch
from encore.pooling.pooler import Pooler
from encore.types import Spec

__all__ = ["static"]


def static(branches: Mapping[str, Branch], alike: Mapping[str, str], *, of: Spec = "separate") -> dict[str, list[Branch]]:
    """Every task's branches, see `one`: the frozen one last. Raises RecipeError."""
    frozen = Frozen(cast(Encoder, copy.deepcopy(next(iter(branches.values())).encoder)))
    still = {task: Branch(frozen, _frozen(branches[task].pooling)) for task in dict.fromkeys(alike.values())}
    trained = catalogue.build("sharing", of, branches, alike)
    return {task: [*own, still[alike[task]]] for task, own in trained.items()}


def _frozen(pooling: Any) -> Any:
    """A copy that never changes."""
    if not isinstance(pooling, Pooler) and any(True for _ in pooling.parameters()):
        raise RecipeError(f"static: a frozen copy cannot learn the weights that {type(pooling).__name__} brings. Take the pooling pooler, cls, mean or max.")
    return copy.deepcopy(pooling).requires_grad_(False)

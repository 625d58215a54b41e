"""An encoder of its own for every task: nothing is shared (triple BERT).

Source: SerBERTus §3, "triple" (METHODS 4.1).
Differs: trained in one run, step by step in turns; no step of one task moves another.
Cost: an encoder per task.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

from encore.model.task_model import Branch

__all__ = ["separate"]


def separate(branches: Mapping[str, Branch], alike: Mapping[str, str]) -> dict[str, list[Branch]]:
    """Every task's branches, see `one`. The first task keeps the encoder, the others get copies."""
    return {
        task: [Branch(copy.deepcopy(own.encoder) if number else own.encoder, own.pooling)]
        for number, (task, own) in enumerate(branches.items())
    }

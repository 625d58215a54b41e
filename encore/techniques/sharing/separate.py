"""An encoder of its own for every task: nothing is shared (triple BERT).

Source: SerBERTus §3, "triple" (METHODS 4.1).
Differs: trained in one run, step by step in turns; no step of one task moves another.
Cost: an encoder per task.
"""

from __future__ import annotations

from collections.abc import Mapping

from encore.encoder.adapted import copied
from encore.model.task_model import Branch
from encore.types import Sharing

__all__ = ["SeparateEncoders"]


class SeparateEncoders(Sharing[Branch]):
    """The first task keeps the encoder, the others get copies."""

    shares_weights = False

    def __call__(
        self, branches: Mapping[str, Branch], owners: Mapping[str, str]
    ) -> dict[str, list[Branch]]:
        return {
            task: [Branch(copied(own.encoder) if number else own.encoder, own.pooling)]
            for number, (task, own) in enumerate(branches.items())
        }

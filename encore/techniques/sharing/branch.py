"""Embeddings and lower layers for all tasks together, the top layers for each task alone
(CerBERTus).

Source: SerBERTus §3, §4.3.6, Fig. 8, k = 2 (METHODS 4.6).
Differs: the paper's parameter counts leave open whether the pooler is shared; here it is, unless
`pooler: own`.
Cost: `own_layers` layers for every task after the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

from encore.encoder.adapted import copied
from encore.encoder.encoder import Encoder
from encore.errors import RecipeError
from encore.model.task_model import Branch
from encore.types import Sharing

__all__ = ["BranchedEncoder"]


class BranchedEncoder(Sharing[Branch]):
    """Each copy of the top layers starts from the same pretrained ones."""

    def __init__(self, *, own_layers: int = 2, pooler: Literal["shared", "own"] = "shared") -> None:
        self.own_layers, self.pooler = own_layers, pooler

    def __call__(
        self, branches: Mapping[str, Branch], owners: Mapping[str, str]
    ) -> dict[str, list[Branch]]:
        """Raises RecipeError where the encoder has fewer layers than `own_layers`."""
        encoder = cast(Encoder, next(iter(branches.values())).encoder)
        n_layers = len(encoder.blocks)  # of a borrowed encoder this raises, since it has no blocks
        if not 0 <= self.own_layers <= n_layers:
            raise RecipeError(
                f"own_layers: expected a number from 0 to {n_layers}, the encoder's layers, got "
                f"{self.own_layers}."
            )
        found = {}
        for number, (task, own) in enumerate(branches.items()):
            apart = number > 0 and self.own_layers > 0
            above = copied(encoder, above=n_layers - self.own_layers) if apart else encoder
            pooling = branches[owners[task]].pooling if self.pooler == "shared" else own.pooling
            found[task] = [Branch(above, pooling)]
        return found

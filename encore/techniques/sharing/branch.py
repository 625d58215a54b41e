"""Embeddings and lower layers for all tasks together, the top layers for each task alone
(CerBERTus).

Source: SerBERTus §3, §4.3.6, Fig. 8, k = 2 (METHODS 4.6).
Differs: the paper's parameter counts leave open whether the pooler is shared; here it is, unless
`pooler: own`.
Cost: `own_layers` layers for every task after the first.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal, cast

from encore.encoder.encoder import Encoder
from encore.errors import RecipeError
from encore.model.task_model import Branch

__all__ = ["branch"]


def branch(
    branches: Mapping[str, Branch],
    alike: Mapping[str, str],
    *,
    own_layers: int = 2,
    pooler: Literal["shared", "own"] = "shared",
) -> dict[str, list[Branch]]:
    """Every task's branches, see `one`. Each copy of the top layers starts from the same pretrained
    ones. Raises RecipeError.
    """
    encoder = cast(Encoder, next(iter(branches.values())).encoder)
    n_layers = len(encoder.blocks)  # a borrowed encoder has none to give, and says so
    if not 0 <= own_layers <= n_layers:
        raise RecipeError(
            f"own_layers: expected a number from 0 to {n_layers}, the encoder's layers, got "
            f"{own_layers}."
        )
    found = {}
    for number, (task, own) in enumerate(branches.items()):
        above = _above(encoder, n_layers - own_layers) if number and own_layers else encoder
        found[task] = [
            Branch(above, branches[alike[task]].pooling if pooler == "shared" else own.pooling)
        ]
    return found


def _above(encoder: Encoder, at: int) -> Encoder:
    """The encoder's own blocks [0, at), and copies of the rest and of the norm behind it."""
    found = Encoder(
        encoder.embed,
        [*encoder.blocks[:at], *copy.deepcopy(encoder.blocks[at:])],
        final_norm=copy.deepcopy(encoder.final_norm),
    )
    found.dtype = encoder.dtype
    return found

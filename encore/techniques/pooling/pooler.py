"""BERT's own pooler: tanh of a dense layer on the [CLS] state, pretrained where the checkpoint has
one.

Source: Devlin et al. 2019; RTE §2.1, SerBERTus §3 (METHODS 1.2).
Differs: none. `frozen: true` leaves it as it was pretrained, as a frozen BERT has it.
Cost: width² + width parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from encore.encoder import ragged
from encore.encoder.encoder import Shape
from encore.techniques.pooling._module import PoolingModule
from encore.types import Encoded, Tokens

__all__ = ["Pooler"]


class Pooler(PoolingModule):
    layers = (-1,)
    unit = "rows"
    first_only = True

    def __init__(self, shape: Shape, *, frozen: bool = False) -> None:
        super().__init__()
        self.width = self.reduced_width = shape.width
        self.dense = nn.Linear(shape.width, shape.width)
        if shape.pooler is None:  # the checkpoint has none: BERT's own start
            nn.init.normal_(self.dense.weight, std=0.02)
            nn.init.zeros_(self.dense.bias)
        else:
            self.dense.load_state_dict(shape.pooler.state_dict())
        self.frozen, self.has_pretrained = frozen, shape.has_pooler
        self.dense.requires_grad_(not frozen)

    def reduce(self, encoded: Encoded) -> Tensor:
        """(rows, width) float32: the [CLS] state, before the dense layer."""
        (state,) = encoded.read(self.layers)
        return ragged.first(state, encoded.tokens).float()

    def finish(self, reduced: Tensor, tokens: Tokens) -> Tensor:
        return torch.tanh(self.dense(reduced))

    def pretrained(self) -> list[nn.Parameter]:
        trained_before = self.has_pretrained and not self.frozen
        return list(self.dense.parameters()) if trained_before else []

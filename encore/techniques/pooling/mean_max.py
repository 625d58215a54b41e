"""Mean and maximum of the last layer over a row's tokens, side by side.

Source: RTE §2.2, eqs. 1–2 (METHODS 1.10).
Differs: none; the head has the dropout.
Cost: the head sees 2·width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from encore.encoder import ragged
from encore.encoder.encoder import Shape
from encore.techniques.pooling._module import RowPooling
from encore.types import Encoded

__all__ = ["MeanMax"]


class MeanMax(RowPooling):
    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.width = self.reduced_width = 2 * shape.width

    def reduce(self, encoded: Encoded) -> Tensor:
        """(rows, 2·width) float32: the mean first."""
        (state,) = encoded.read(self.layers)
        return torch.cat(
            [ragged.mean(state, encoded.tokens), ragged.max(state, encoded.tokens).float()], dim=1
        )

"""The maximum of the last layer over a row's tokens, coordinate by coordinate.

Source: RTE eq. 2, there beside the mean only (METHODS 0.3, 1.10).
Differs: a pooling of its own; [CLS] and [SEP] are tokens.
Cost: none.
"""

from __future__ import annotations

from torch import Tensor

from encore.encoder import ragged
from encore.techniques.pooling._module import RowPooling
from encore.types import Encoded

__all__ = ["Max"]


class Max(RowPooling):
    def reduce(self, encoded: Encoded) -> Tensor:
        """(rows, width) float32."""
        (state,) = encoded.read(self.layers)
        return ragged.max(state, encoded.tokens).float()

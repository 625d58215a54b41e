"""The raw [CLS] state of the last layer.

Source: MaxPoolBERT §3.1 (METHODS 1.1).
Differs: none: the pretrained pooler is not used at all.
Cost: none.
"""

from __future__ import annotations

from torch import Tensor

from encore.encoder import ragged
from encore.techniques.pooling._module import RowPooling
from encore.types import Encoded

__all__ = ["Cls"]


class Cls(RowPooling):
    first_only = True

    def reduce(self, encoded: Encoded) -> Tensor:
        """(rows, width) float32."""
        (state,) = encoded.read(self.layers)
        return ragged.first(state, encoded.tokens).float()

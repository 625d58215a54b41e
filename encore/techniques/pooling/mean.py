"""The mean of the last layer over a row's tokens.

Source: RTE eq. 1, Sentence-BERT (METHODS 1.9).
Differs: none; [CLS] and [SEP] count as tokens unless `include_special` is false.
Cost: none.
"""

from __future__ import annotations

from torch import Tensor

from encore.encoder import ragged
from encore.encoder.encoder import Shape
from encore.techniques.pooling._module import RowPooling
from encore.types import Encoded

__all__ = ["Mean"]


class Mean(RowPooling):
    def __init__(self, shape: Shape, *, include_special: bool = True) -> None:
        super().__init__(shape)
        self.include_special = include_special

    def reduce(self, encoded: Encoded) -> Tensor:
        """(rows, width) float32; 0 for a row that has nothing but special tokens, where they do not
        count.
        """
        (state,) = encoded.read(self.layers)
        if self.include_special:
            return ragged.mean(state, encoded.tokens)
        words = ~ragged.special(encoded.tokens).unsqueeze(1)
        return ragged.total(state * words, encoded.tokens) / ragged.total(
            words, encoded.tokens
        ).clamp(min=1)

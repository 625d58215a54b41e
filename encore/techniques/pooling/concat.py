"""Several representations side by side: any list of the others, each with its own settings.

Source: none; generalises RTE §2.2 (METHODS 1.10).
Differs: nothing to differ from.
Cost: that of its parts; the head sees the sum of their widths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from encore import catalogue
from encore.encoder import ragged
from encore.encoder.encoder import Shape
from encore.errors import RecipeError
from encore.techniques.pooling._module import PoolingModule
from encore.types import Encoded, Pooling, Spec, Tokens

__all__ = ["Concat"]


class Concat(PoolingModule):
    def __init__(self, shape: Shape, *, of: tuple[Spec, ...] = ("cls", "mean")) -> None:
        super().__init__()
        self.parts = nn.ModuleList(_built(of, shape))
        self.layers = tuple(sorted({layer for part in self._parts for layer in part.layers}))
        self.width = sum(part.width for part in self._parts)
        self.unit = "tokens" if any(part.unit == "tokens" for part in self._parts) else "rows"
        self.reduced_width = sum(part.reduced_width for part in self._parts)
        self.frozen = any(part.frozen for part in self._parts)

    @property
    def _parts(self) -> Sequence[Pooling]:
        return cast("Sequence[Pooling]", self.parts)

    def reduce(self, encoded: Encoded) -> Tensor:
        """(rows, …) or, if one of the parts needs its tokens, (tokens, …), float32: then the parts
        that do not have their numbers at each row's first token.
        """
        found = []
        for part in self._parts:
            reduced = part.reduce(encoded)
            if part.unit != self.unit:
                reduced = reduced.new_zeros(encoded.tokens.n_tokens, part.reduced_width).index_copy(
                    0, encoded.tokens.offsets[:-1], reduced
                )
            found.append(reduced)
        return torch.cat(found, dim=1)

    def finish(self, reduced: Tensor, tokens: Tokens) -> Tensor:
        """Each part from its own columns, side by side: (rows, width)."""
        found = []
        for part, columns in zip(
            self._parts,
            reduced.split([part.reduced_width for part in self._parts], dim=1),
            strict=True,
        ):
            found.append(
                part.finish(
                    columns if part.unit == self.unit else ragged.first(columns, tokens), tokens
                )
            )
        return torch.cat(found, dim=1)

    def forward(self, encoded: Encoded) -> Tensor:
        return torch.cat([part(encoded) for part in self._parts], dim=1)

    def pretrained(self) -> list[nn.Parameter]:
        return [parameter for part in self._parts for parameter in part.pretrained()]


def _built(of: Sequence[Spec], shape: Shape) -> list[nn.Module]:
    """The parts. Raises RecipeError with everything that is wrong with any of them."""
    problems, parts = [], []
    if isinstance(of, str) or not of:
        raise RecipeError(
            f"pooling 'concat': expected a list of poolings in of, got {of!r}. Write, for "
            f"example, of: [cls, mean]."
        )
    for number, spec in enumerate(of):
        try:
            if not isinstance(spec, str) and not (isinstance(spec, Mapping) and "name" in spec):
                raise RecipeError(
                    f"expected the name of a pooling, or {{name: …, setting: …}}, got {spec!r}."
                )
            parts.append(catalogue.build("pooling", spec, shape))
        except RecipeError as error:
            problems += [f"pooling 'concat': of[{number}]: {problem}" for problem in error.lines]
    if problems:
        raise RecipeError(problems)
    return parts

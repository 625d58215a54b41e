"""The exponential moving average of the weights after each step (EMA).

Source: Polyak & Juditsky 1992; Morales-Brotons et al. 2024.
Differs: without bias towards the first weights. They count like any others of their age, as in
Adam's moments: the average is divided by 1 − decayⁿ.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from encore.types import Average

__all__ = ["ExponentialAverage"]


class ExponentialAverage(Average):
    """Weights in the average → the share of the next ones: (1 − decay) / (1 − decayⁿ⁺¹).

    decay: what a step leaves of the weight of earlier steps; 1 / (1 − decay) steps count for most.
    """

    every = "step"

    def __init__(self, *, decay: Annotated[float, Field(ge=0, lt=1)] = 0.99) -> None:
        self.decay = decay

    def __call__(self, n: int) -> float:
        return (1 - self.decay) / (1 - self.decay ** (n + 1))

"""The mean of the weights after each epoch (stochastic weight averaging). The weights that training
started from are not in it.

Source: Izmailov et al. 2018; minBERT generalization §4.6 (METHODS 8.3).
Differs: none. Encore's encoders have no batch norm, whose statistics would have to be taken anew.
"""

from __future__ import annotations

from encore.types import Average

__all__ = ["MeanAverage"]


class MeanAverage(Average):
    """Weights in the average → the share of the next ones: all of them have the same."""

    every = "epoch"

    def __call__(self, n: int) -> float:
        return 1 / (n + 1)

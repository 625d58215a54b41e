"""Stochastic weight averaging: a trained model goes on training at a small constant rate, and the
mean of its weights after each epoch takes their place.

Source: Izmailov et al. 2018; minBERT generalization §4.6 (METHODS 8.3).
Differs: none.
Needs: a trained model to begin with: `encoder: {run: …}`, and `head_from` for each task.
"""

from __future__ import annotations

from encore import catalogue
from encore.types import DEFAULTS, Phase, Plan

__all__ = ["Swa"]


class Swa(Plan):
    """One phase over all tasks, whose average is evaluated and kept."""

    def __init__(
        self,
        *,
        epochs: int = 5,
        lr: float = 1e-5,
        batch_size: int = DEFAULTS.batch_size,
        weight_decay: float = DEFAULTS.weight_decay,
    ) -> None:
        self.epochs, self.lr = epochs, lr
        self.batch_size, self.weight_decay = batch_size, weight_decay

    def __call__(self, tasks: tuple[str, ...]) -> list[Phase]:
        return [
            Phase(
                tasks,
                self.epochs,
                self.lr,
                batch_size=self.batch_size,
                weight_decay=self.weight_decay,
                average=catalogue.build("averages", "mean"),
            )
        ]

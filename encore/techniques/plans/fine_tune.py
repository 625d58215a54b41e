"""Everything trains together from the first step: one phase.

Source: Devlin et al. 2019; MaxPoolBERT §4 (METHODS §2).
Differs: none.
"""

from __future__ import annotations

from typing import Annotated

from encore import catalogue
from encore.types import DEFAULTS, Curve, Phase, Plan, Spec

__all__ = ["FineTune"]


class FineTune(Plan):
    """One phase over all tasks.

    clip_norm: the longest that the gradient may be, None for no limit. freeze_encoder: train
    poolings and heads only; the encoder, in eval mode, runs once (METHODS 1.12).
    """

    def __init__(
        self,
        *,
        epochs: int = DEFAULTS.epochs,
        lr: float = DEFAULTS.lr,
        batch_size: int = DEFAULTS.batch_size,
        curve: Annotated[Spec, "curves"] = "linear",
        warmup_frac: float = DEFAULTS.warmup_frac,
        weight_decay: float = DEFAULTS.weight_decay,
        clip_norm: float | None = DEFAULTS.clip_norm,
        freeze_encoder: bool = False,
    ) -> None:
        self.epochs, self.lr, self.batch_size = epochs, lr, batch_size
        self.curve: Curve = catalogue.build("curves", curve, warmup_frac)
        self.weight_decay, self.clip_norm = weight_decay, clip_norm
        self.freeze_encoder = freeze_encoder

    def __call__(self, tasks: tuple[str, ...]) -> list[Phase]:
        return [
            Phase(
                tasks,
                self.epochs,
                self.lr,
                batch_size=self.batch_size,
                curve=self.curve,
                weight_decay=self.weight_decay,
                clip_norm=self.clip_norm,
                trainable="heads" if self.freeze_encoder else "all",
            )
        ]

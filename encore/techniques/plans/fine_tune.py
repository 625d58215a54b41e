"""Everything trains together from the first step: one phase.

Source: Devlin et al. 2019; MaxPoolBERT §4 (METHODS §2).
Differs: none.
"""

from __future__ import annotations

from typing import Annotated, Literal

from encore import catalogue
from encore.types import DEFAULTS, Phase, Spec

__all__ = ["fine_tune"]


def fine_tune(
    tasks: tuple[str, ...],
    *,
    epochs: int = DEFAULTS.epochs,
    lr: float = DEFAULTS.lr,
    batch_size: int = DEFAULTS.batch_size,
    curve: Annotated[Spec, "curves"] = "linear",
    warmup_frac: float = DEFAULTS.warmup_frac,
    weight_decay: float = DEFAULTS.weight_decay,
    clip_norm: float | None = DEFAULTS.clip_norm,
    freeze_encoder: bool = False,
) -> list[Phase]:
    """One phase over all tasks; `clip_norm` None switches clipping off. `freeze_encoder`: only
    poolings and heads train, on what the encoder says in eval mode, which is computed once (METHODS
    1.12).
    """
    trainable: Literal["all", "heads"] = "heads" if freeze_encoder else "all"
    return [
        Phase(
            tasks,
            epochs,
            lr,
            batch_size=batch_size,
            curve=catalogue.build("curves", curve, warmup_frac),
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            trainable=trainable,
        )
    ]

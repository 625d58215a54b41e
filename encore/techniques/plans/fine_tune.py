"""Everything trains together from the first step: one phase.

Source: Devlin et al. 2019; MaxPoolBERT §4 (METHODS §2).
Differs: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from encore import catalogue
from encore.types import Phase

__all__ = ["fine_tune"]


def fine_tune(
    tasks: tuple[str, ...],
    *,
    epochs: int = 4,
    lr: float = 5e-5,
    batch_size: int = 32,
    curve: str | Mapping[str, Any] = "linear",
    warmup_frac: float = 0.1,
    weight_decay: float = 0.01,
    clip_norm: float | None = 1.0,
    freeze_encoder: bool = False,
) -> list[Phase]:
    """One phase over all tasks; `clip_norm` None switches clipping off. `freeze_encoder`: only
    poolings and heads train, on what the encoder says in eval mode, which is computed once (METHODS
    1.12).
    """
    chosen = {"name": curve} if isinstance(curve, str) else dict(curve)
    shape = catalogue.build("curves", {"warmup_frac": warmup_frac, **chosen})
    trainable: Literal["all", "heads"] = "heads" if freeze_encoder else "all"
    return [
        Phase(
            tasks,
            epochs,
            lr,
            batch_size=batch_size,
            curve=shape,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            trainable=trainable,
        )
    ]

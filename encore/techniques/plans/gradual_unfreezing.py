"""Gradual unfreezing: first the heads and the checkpoint's pooler alone, then one more layer after
every epoch, from the top, and the embeddings last.

Source: Howard & Ruder 2018; SerBERTus §2 (METHODS 3.4).
Differs: none. While no weight of the encoder trains it runs in eval mode, once per text.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from encore import catalogue
from encore.types import DEFAULTS, Phase, Plan, Spec

__all__ = ["GradualUnfreezing"]


class GradualUnfreezing(Plan):
    """A phase for every `every` epochs, each with one layer more than the one before. After as many
    phases as the encoder has layers, and two more, everything trains. The curve spans the whole
    plan, the optimiser continues, and an epoch of any phase may be the best.
    """

    def __init__(
        self,
        *,
        every: Annotated[int, Field(ge=1)] = 1,
        epochs: int = DEFAULTS.epochs,
        lr: float = DEFAULTS.lr,
        batch_size: int = DEFAULTS.batch_size,
        curve: Annotated[Spec, "curves"] = "linear",
        warmup_frac: float = DEFAULTS.warmup_frac,
        weight_decay: float = DEFAULTS.weight_decay,
        clip_norm: float | None = DEFAULTS.clip_norm,
    ) -> None:
        self.every, self.epochs = every, epochs
        self.phase = Phase(
            (),
            epochs,
            lr,
            batch_size=batch_size,
            curve=catalogue.build("curves", curve, warmup_frac),
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            fresh_optimiser=False,
            curve_spans="plan",
        )

    def __call__(self, tasks: tuple[str, ...]) -> list[Phase]:
        return [
            replace(
                self.phase,
                tasks=tasks,
                epochs=min(self.every, self.epochs - start),
                trainable=f"heads+pooler+top:{layers}" if layers else "heads+pooler",
            )
            for layers, start in enumerate(range(0, self.epochs, self.every))
        ]

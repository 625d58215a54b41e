"""LP-FT: first the heads alone on the frozen encoder (linear probing), then everything, from the
heads so found and with a fresh optimiser.

Source: Kumar et al. 2022; minBERT generalization §4.2 (METHODS 3.5).
Differs: the encoder runs in eval mode while the heads train, so its features are computed once; the
paper's rate of the first phase is not reported, here 1e-3, constant.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from encore import catalogue
from encore.types import DEFAULTS, Phase, Plan, Spec

__all__ = ["LpFt"]


class LpFt(Plan):
    """Two phases over all tasks; the best epoch is one of the second.

    probe_epochs, probe_lr: of the phase with the encoder frozen. The other settings
    are those of the second phase; batch size and weight decay hold for both.
    """

    def __init__(
        self,
        *,
        probe_epochs: Annotated[int, Field(ge=1)] = 10,
        probe_lr: Annotated[float, Field(gt=0, le=1)] = 1e-3,
        epochs: int = DEFAULTS.epochs,
        lr: float = DEFAULTS.lr,
        batch_size: int = DEFAULTS.batch_size,
        curve: Annotated[Spec, "curves"] = "linear",
        warmup_frac: float = DEFAULTS.warmup_frac,
        weight_decay: float = DEFAULTS.weight_decay,
    ) -> None:
        self.probe_epochs, self.probe_lr = probe_epochs, probe_lr
        self.tuned = Phase(
            (),
            epochs,
            lr,
            batch_size=batch_size,
            curve=catalogue.build("curves", curve, warmup_frac),
            weight_decay=weight_decay,
        )

    def __call__(self, tasks: tuple[str, ...]) -> list[Phase]:
        tuned = replace(self.tuned, tasks=tasks)
        probe = replace(
            tuned,
            epochs=self.probe_epochs,
            lr=self.probe_lr,
            curve=None,
            trainable="heads",
            selects=False,
        )
        return [probe, tuned]

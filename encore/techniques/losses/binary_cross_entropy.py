"""Binary cross-entropy: one decision per label, averaged over the labels; of a binary task its one
decision.

Source: SerBERTus §3 (METHODS §4.1).
Differs: also for several labels per row, where the paper has one; of a binary task's two scores it
takes the difference for the logit, which makes it the same as cross-entropy.
Needs: targets (rows, labels) in [0, 1], or classes 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F

from encore.types import Batch, LabelSpace, Loss, LossTerm, Output

__all__ = ["BinaryCrossEntropy"]


class BinaryCrossEntropy(Loss):
    kinds = ("binary", "multilabel")

    def __init__(self, labels: LabelSpace) -> None:
        pass

    def __call__(self, model: Callable[..., Output], batch: Batch, output: Output) -> LossTerm:
        binary = batch.targets.ndim == 1
        logits = output.scores[:, 1:] - output.scores[:, :1] if binary else output.scores
        targets = batch.targets.to(logits.dtype).unsqueeze(1) if binary else batch.targets
        per_row = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=1)
        return LossTerm((per_row * batch.weights).sum(), self.weight(batch))

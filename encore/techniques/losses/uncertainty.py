"""Another loss, weighted by an uncertainty that is learnt: exp(−s)·loss + s/2 for classes, half of
the loss for a regression, with s = log σ².

Source: Kendall et al. 2018, Multi-Task Learning Using Uncertainty, eqs. 7 and 10.
Differs: s is what is trained, from 0, as the authors advise.
Cost: one parameter per task, which moves by about the rate per step.
Needs: several tasks, or it only changes the rate
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from encore import catalogue
from encore.errors import RecipeError
from encore.techniques.losses._default import LOSS_OF_KIND
from encore.types import Batch, LabelSpace, Loss, LossTerm, Output, Spec

__all__ = ["Uncertainty"]


class Uncertainty(nn.Module, Loss):
    """`of`: the loss, that of the task's kind if null."""

    kinds = (*LOSS_OF_KIND, "unlabelled")

    def __init__(self, labels: LabelSpace, *, of: Spec | None = None) -> None:
        super().__init__()
        if of is None and labels.kind not in LOSS_OF_KIND:
            raise RecipeError(
                "of: a task without labels has no loss of its own. Name one that needs none, "
                "such as simcse."
            )
        self.inner: Loss = catalogue.build(
            "losses", LOSS_OF_KIND[labels.kind] if of is None else of, labels
        )
        if labels.kind not in self.inner.kinds:
            chosen = of["name"] if isinstance(of, Mapping) else of
            fitting = (
                f"a {labels.kind} task, which needs '{LOSS_OF_KIND[labels.kind]}'"
                if labels.kind in LOSS_OF_KIND
                else "a task without labels"
            )
            raise RecipeError(f"of: '{chosen}' does not fit {fitting}.")
        if self.inner.has_teacher:
            raise RecipeError(
                "of: a loss with a teacher cannot be weighted by uncertainty. Take one of the two."
            )
        self.couples_rows, self.n_sides = self.inner.couples_rows, self.inner.n_sides
        self.extra_passes = self.inner.extra_passes
        self.rereads = self.inner.rereads
        self.factor = 0.5 if labels.kind == "regression" else 1.0
        self.log_variance = nn.Parameter(torch.zeros(1))

    def weight(self, batch: Batch) -> Tensor:
        return self.inner.weight(batch)

    def forward(self, model: Callable[..., Output], batch: Batch, output: Output) -> LossTerm:
        total, weight = self.inner(model, batch, output)
        weighted = self.factor * (-self.log_variance).exp() * total
        return LossTerm((weighted + self.log_variance / 2 * weight).squeeze(), weight)

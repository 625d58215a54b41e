"""The sum of ‖I − V‖² over the value matrices of AdapterFusion, which begin near the identity.

Source: Pfeiffer et al. 2021, AdapterHub's regulariser (METHODS 7.2).
Differs: none.
Needs: the adapter fusion, which adds this term with weight 0.01 by itself
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from encore.techniques.adapters._fused import FusedAdapters
from encore.types import LABELLED, Batch, LabelSpace, Loss, LossTerm, Output

__all__ = ["FusionValues"]


class FusionValues(Loss):
    kinds = ()
    joins = (*LABELLED, "unlabelled")

    def __init__(self, labels: LabelSpace) -> None:
        pass

    def __call__(self, model: Callable[..., Output], batch: Batch, output: Output) -> LossTerm:
        weight = self.weight(batch)
        modules = model.modules() if isinstance(model, nn.Module) else ()
        places = [module for module in modules if isinstance(module, FusedAdapters)]
        penalties = [place.penalty() for place in places]
        total = torch.stack(penalties).sum() if penalties else weight.new_zeros(())
        return LossTerm(total * weight, weight)

"""SMART's proximal term: the distance of the scores from those of the model's own averaged weights,
which holds each step back.

Source: Jiang et al. 2020 §3.2, momentum Bregman proximal point optimisation.
Differs: one momentum throughout, where the paper raises it from 0.99 to 0.999 after a tenth of the
steps; the averaged model reads without dropout, as teachers do. Several labels and values have
SMART's distances.
Cost: one more forward pass, and the weights in memory once more.
Needs: the task's loss beside it
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from encore.techniques.losses._divergence import divergence
from encore.types import LABELLED, Batch, LabelSpace, Loss, LossTerm, Output, Tokens

__all__ = ["Bregman"]


class Bregman(nn.Module, Loss):
    """momentum: the share of the averages that stays at each step. Before training they are the
    weights themselves.
    """

    kinds = ()
    joins = LABELLED
    extra_passes = 1

    def __init__(
        self, labels: LabelSpace, *, momentum: Annotated[float, Field(ge=0, lt=1)] = 0.99
    ) -> None:
        super().__init__()
        self.kind, self.momentum = labels.kind, momentum
        self.names: tuple[str, ...] = ()  # of the weights that are averaged; buffers mean0, mean1 …

    def begin(self, model: nn.Module) -> None:
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.names = tuple(trained)
        for number, parameter in enumerate(trained.values()):
            self.register_buffer(f"mean{number}", parameter.detach().clone())

    @torch.no_grad()
    def after_step(self, model: nn.Module) -> None:
        parameters = dict(model.named_parameters())
        for name, mean in self._means().items():
            mean.lerp_(parameters[name], 1 - self.momentum)

    def forward(self, model: Callable[..., Output], batch: Batch, output: Output) -> LossTerm:
        now, average = output.scores, self._scores(model, batch.tokens)
        both = divergence(now, average, self.kind)
        if self.kind != "regression":  # whose distance is the same from both sides
            both = both + divergence(average, now, self.kind)
        return LossTerm((both * batch.weights).sum(), self.weight(batch))

    def _means(self) -> dict[str, Tensor]:
        return dict(zip(self.names, self.buffers(), strict=True))

    @torch.no_grad()
    def _scores(self, model: Callable[..., Output], tokens: Tokens) -> Tensor:
        """Of the averaged weights, without dropout."""
        if not self.names:
            return model(tokens).scores
        module = cast(nn.Module, model)
        training = module.training
        module.eval()
        try:
            read: Output = torch.func.functional_call(module, self._means(), (tokens,))
        finally:
            module.train(training)
        return read.scores

"""Attention over the adapters at one place of a block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from encore.encoder.adapted import MixedAdapters
from encore.encoder.dropout import dropout
from encore.encoder.layers import Linear

__all__ = ["FusedAdapters"]


class FusedAdapters(MixedAdapters):
    """Attention over what several adapters, all frozen, would add to a token: (tokens, width) →
    (tokens, width). adapters: by their numbers in `of`.
    """

    def __init__(
        self, width: int, adapters: Mapping[int, nn.Module], *, temperature: float, p: float
    ) -> None:
        super().__init__()
        self.places = tuple(adapters)
        self.adapters = nn.ModuleList(adapters.values()).requires_grad_(False)
        self.query, self.key = Linear(width, width), Linear(width, width)
        self.value = Linear(width, width, bias=False)
        self.temperature, self.p = temperature, p
        for layer in (self.query, self.key):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.value.weight, 1e-6)
        with torch.no_grad():
            self.value.weight.fill_diagonal_(1.0)

    def forward(self, h: Tensor) -> Tensor:
        changes = self.changes(h)
        weights = self.weights(h, changes).to(h.dtype)
        return h + (weights.unsqueeze(1) @ self.value(changes)).squeeze(1)

    def mixture(self, h: Tensor) -> Tensor:
        return self.weights(h, self.changes(h))

    def changes(self, h: Tensor) -> Tensor:
        """(tokens, adapters, width): what each adapter would add to h."""
        return torch.stack([cast(Any, each).change(h) for each in self.adapters], dim=1)

    def weights(self, h: Tensor, changes: Tensor) -> Tensor:
        """(tokens, adapters) float32, which add up to 1 for each token."""
        scores = (self.key(changes) @ self.query(h).unsqueeze(2)).squeeze(2).float()
        dropped = dropout(scores, self.p if self.training else 0.0, "tokens")
        return torch.softmax(dropped / self.temperature, dim=1)

    def load_adapter(self, number: int, trained: Mapping[str, Tensor]) -> None:
        """Take over the weights of one adapter; none where it has none at this place."""
        if trained:
            self.adapters[self.places.index(number)].load_state_dict(trained)

    def penalty(self) -> Tensor:
        """‖I − V‖²."""
        weight = self.value.weight
        identity = torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
        return (identity - weight).square().sum()

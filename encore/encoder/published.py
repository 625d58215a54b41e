"""Weights under the names of a published checkpoint, from those under Encore's."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

__all__ = ["published_weights"]


def published_weights(
    shapes: Mapping[str, tuple[int, ...]],
    rename: Callable[[dict[str, Tensor]], Mapping[str, Tensor]],
    weights: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Weights under the names that `shapes` lists, without those that have no counterpart among
    `weights`.

    `rename`, from published names to ours, is the only table of names, so it is called: every line
    of every tensor gets a number, and where the numbers come out is where the lines belong.
    """
    out: dict[str, Tensor] = {}
    names = list(shapes)
    counts = torch.tensor([shapes[name][0] for name in names])
    # From 1, so that a constant that a family puts in is nobody's line.
    starts = counts.cumsum(0) - counts + 1
    numbered = {
        name: torch.arange(start, start + count)
        for name, start, count in zip(names, starts.tolist(), counts.tolist(), strict=True)
    }
    for key, lines in rename(numbered).items():
        if key not in weights:
            continue
        owners = torch.searchsorted(starts, lines, right=True) - 1
        for owner in owners.unique().tolist():
            if owner >= 0:
                own = owners == owner
                name = names[owner]
                if name not in out:
                    out[name] = torch.zeros(shapes[name])
                out[name][lines[own] - starts[owner]] = weights[key][own]
    return out

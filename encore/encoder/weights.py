"""Weights from safetensors files into modules: all that is needed and fits, finite, or nothing."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor, nn

from encore.data.table import display_path
from encore.errors import DataError, Problem

__all__ = ["fill", "read_tensors", "refusing", "require_finite"]


def fill(module: nn.Module, weights: Mapping[str, Tensor], where: Path) -> None:
    """Copy weights in, all or nothing. Raises DataError that names what is missing, unexpected, of
    the wrong shape or not finite.
    """
    own = module.state_dict()
    problems = [
        f"{display_path(where)}: tensor for '{key}' is missing."
        for key in own
        if key not in weights
    ]
    problems += [
        f"{display_path(where)}: tensor '{key}' has no place in this model."
        for key in weights
        if key not in own
    ]
    problems += [
        f"{display_path(where)}: tensor for '{key}' has shape {tuple(weights[key].shape)}, the "
        f"configuration says {tuple(value.shape)}."
        for key, value in own.items()
        if key in weights and weights[key].shape != value.shape
    ]
    if problems:
        raise DataError(problems)
    require_finite(weights, where)
    module.load_state_dict(dict(weights))


def require_finite(weights: Mapping[str, Tensor], where: Path) -> None:
    """Raise DataError that names each tensor with a value that is not finite, and how many."""
    problems = []
    for name, tensor in weights.items():
        # One pass without a copy: a sum is finite only if every value is.
        if not tensor.is_floating_point() or math.isfinite(tensor.sum().item()):
            continue
        if n_wrong := int((~tensor.isfinite()).sum()):
            problems.append(
                Problem(
                    where=display_path(where),
                    message=f"tensor '{name}' has {n_wrong:,} of {tensor.numel():,} values that "
                    f"are not finite.",
                    remedy="Download or train it again.",
                )
            )
    if problems:
        raise DataError(problems)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name. Raises DataError."""
    with refusing(path):
        return safetensors.torch.load_file(path)


@contextlib.contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Raise DataError for what safetensors cannot read inside."""
    try:
        yield
    except safetensors.SafetensorError as error:
        raise DataError(
            f"{display_path(path)}: cannot be read as safetensors ({error}). Download or save "
            f"it again."
        ) from None

"""Weights from safetensors files into modules: all that is needed and fits, finite, or nothing."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from encore.data.bounded import require_regular
from encore.data.table import display_path
from encore.errors import DataError, Problem, format_given, on_one_line

__all__ = [
    "fill",
    "read_header",
    "read_tensors",
    "refuse_misfits",
    "require_finite",
    "require_fit",
]

_MOST_HEADER = 16 << 20  # bytes, of names and shapes: about 150,000 tensors
_MOST_DIMENSIONS = 8
_MOST_LINES = 8  # of one file's problems
_AGAIN = "Download or save it again."
_TYPES = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "BOOL": torch.bool,
    "I32": torch.int32,
    "I64": torch.int64,
}  # others are no weights of an encoder, and count as whole numbers


def fill(module: nn.Module, weights: Mapping[str, Tensor], where: Path) -> None:
    """Copy weights in, all or nothing. Raises DataError that names what is missing, unexpected, of
    the wrong shape or not finite.
    """
    require_fit(module, weights, where)
    require_finite(weights, where)
    module.load_state_dict(dict(weights))


def require_fit(module: nn.Module, weights: Mapping[str, Tensor], where: Path) -> None:
    """Raise DataError where weights are not those of a module, by names and shapes. Both may be on
    the meta device.
    """
    own = module.state_dict()
    problems = [
        f"tensor '{key}' holds {str(value.dtype).removeprefix('torch.')}, expected floating-point "
        f"numbers."
        for key, value in weights.items()
        if not value.is_floating_point()
    ]
    problems += [f"tensor for '{key}' is missing." for key in own if key not in weights]
    problems += [
        f"tensor {format_given(key)} has no place in this model."
        for key in weights
        if key not in own
    ]
    problems += [
        f"tensor for '{key}' has shape {tuple(weights[key].shape)}, the configuration says "
        f"{tuple(value.shape)}."
        for key, value in own.items()
        if key in weights and weights[key].shape != value.shape
    ]
    refuse_misfits(problems, where)


def refuse_misfits(problems: Sequence[str], where: Path) -> None:
    """Raise DataError with these problems of a file's tensors, if there are any: the first ones,
    and how many more.
    """
    shown = list(problems)
    if len(shown) > _MOST_LINES:
        n_more = len(shown) - _MOST_LINES + 1
        shown[_MOST_LINES - 1 :] = [f"{n_more:,} more tensors do not fit."]
    if shown:
        raise DataError(f"{display_path(where)}: {problem}" for problem in shown)


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


def read_header(path: Path) -> dict[str, Tensor]:
    """The tensors that a safetensors file declares, on the meta device: names, shapes and types,
    and no memory. safetensors compares them with each other and with the size of the file. Raises
    DataError, also for what is no weight of an encoder.
    """
    where, size = display_path(path), require_regular(path)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > min(_MOST_HEADER, size):
        expected = f"at most {min(_MOST_HEADER, size):,} bytes"
        raise DataError(f"{where}: expected a header of {expected}, got {length:,}. {_AGAIN}")
    with refusing(path), safetensors.safe_open(path, framework="pt") as opened:
        declared = {
            name: (opened.get_slice(name).get_dtype(), opened.get_slice(name).get_shape())
            for name in opened.keys()  # noqa: SIM118
        }
    problems = [
        f"{where}: tensor {format_given(name)} has shape {format_given(shape)}, which no weight "
        f"has. {_AGAIN}"
        for name, (_, shape) in declared.items()
        if len(shape) > _MOST_DIMENSIONS or any(not 0 <= size < 1 << 31 for size in shape)
    ]
    if problems:
        raise DataError(problems[:_MOST_LINES])
    return {
        name: torch.empty(shape, device="meta", dtype=_TYPES.get(kind, torch.uint8))
        for name, (kind, shape) in declared.items()
    }


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name. Raises DataError."""
    with refusing(path):
        return safetensors.torch.load_file(path)


@contextlib.contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Raise DataError for what safetensors cannot read inside."""
    try:
        yield
    except (safetensors.SafetensorError, MemoryError) as error:
        raise DataError(
            f"{display_path(path)}: cannot be read as safetensors ({on_one_line(error)[:200]}). "
            f"{_AGAIN}"
        ) from None

"""Names of parameters and buffers when models share parts: each shared part counts once, under its
first name.

Only this module reads private attributes of torch's modules: the buffers that a `state_dict` leaves
out, and the part of it that a single module writes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from encore import rng
from encore.encoder.word_table import WordTable

__all__ = ["first_names", "seeded_initialisers", "unique_parameters", "unique_state", "word_tables"]


def unique_parameters(models: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """Every parameter once, under its first name, as optimiser, checkpoint and averaging name
    it.
    """
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for task, model in models.items():
        for name, parameter in model.named_parameters(remove_duplicate=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                found[f"{task}.{name}"] = parameter
    return found


def first_names(models: Mapping[str, nn.Module]) -> dict[str, str]:
    """Each name in the models' `state_dict`s → its first name, which differs where a part is
    shared.
    """
    found: dict[str, str] = {}
    for prefix, first, module in _modules(models):
        own = [name for name, parameter in module.named_parameters(recurse=False)]
        own += [
            name
            for name, _ in module.named_buffers(recurse=False)
            if name not in module._non_persistent_buffers_set
        ]
        found |= {f"{prefix}{name}": f"{first}{name}" for name in own}
    return found


def unique_state(models: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The models' `state_dict`s with each shared part once, under its first name: safetensors
    stores no tensor twice.
    """
    found: dict[str, Tensor] = {}
    for prefix, first, module in _modules(models):
        if prefix == first:
            # The module's own tensors, without those of its submodules.
            module._save_to_state_dict(found, prefix, keep_vars=False)
    return found


def _modules(models: Mapping[str, nn.Module]) -> Iterator[tuple[str, str, nn.Module]]:
    """(prefix, first prefix, module): the prefix of its parameters' names here, and where the
    module occurs first.
    """
    firsts: dict[int, str] = {}
    for task, model in models.items():
        for name, module in model.named_modules(remove_duplicate=False):
            prefix = f"{task}.{name}." if name else f"{task}."
            yield prefix, firsts.setdefault(id(module), prefix), module


def word_tables(models: Iterable[nn.Module]) -> list[WordTable]:
    """Every word table once, in the order of the models."""
    return list(
        {
            id(module): module
            for model in models
            for module in model.modules()
            if isinstance(module, WordTable)
        }.values()
    )


@contextlib.contextmanager
def seeded_initialisers(seed: int, *purpose: str | int) -> Iterator[None]:
    """Let torch's initialisers draw from the stream of (seed, purpose). Torch's own random state is
    restored afterwards.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.key(seed, *purpose) % 2**63)
        yield

"""Names of parameters and buffers when models share parts: each shared part counts once, under its
first name.

The one place that reads private parts of torch's modules: which buffers a `state_dict` leaves out,
and what a single module puts into it.
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
    """Every parameter once, under its first name: what optimiser, checkpoint and averaging all
    use.
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
    """The name of everything in the models' `state_dict`s → the name under which it was met first,
    which is another one where a part is shared.
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
    """What the models' `state_dict`s hold, each shared part once, under its first name: safetensors
    takes no tensor twice.
    """
    found: dict[str, Tensor] = {}
    for prefix, first, module in _modules(models):
        if prefix == first:
            module._save_to_state_dict(
                found, prefix, keep_vars=False
            )  # its own, without what is inside it
    return found


def _modules(models: Mapping[str, nn.Module]) -> Iterator[tuple[str, str, nn.Module]]:
    """Every module with the beginning of its parameters' names, and with what that was where it was
    met first.
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
    """Inside, torch's initialisers draw from the stream of (seed, purpose); outside nothing has
    changed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.key(seed, *purpose) % 2**63)
        yield

"""Precision, threads and processes of this machine."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import torch

from encore.errors import Problem, RecipeError, TrainingError
from encore.recipe.schema import Recipe
from encore.training.forked_ranks import can_fork

__all__ = ["cores", "division_of", "instruction_set", "precision_of", "require_same_instructions"]


def precision_of(setting: str) -> str:
    """The precision that a recipe's setting resolves to: "auto" is bf16 where the processor or GPU
    has bf16 matrix multiplication, fp32 elsewhere.
    """
    if setting != "auto":
        return setting
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    capability = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return (
        "bf16"
        if capability.get("avx512_bf16") or capability.get("amx_bf16") or capability.get("bf16")
        else "fp32"
    )


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_MOST_SHARES = 8  # each more adds as much traffic of gradients, and saves less time
_TOKENS_OF_A_SHARE = 100  # with fewer, what each process does for every batch outweighs its rows


def division_of(recipe: Recipe, device: str, n_tokens: float) -> tuple[int, int]:
    """Threads of a process, and processes, of a run. n_tokens: of a usual batch.

    Where the recipe leaves both open, the cores of a CPU go to processes of one thread, since
    matrices of few lines gain little from several threads. Raises RecipeError for what cannot be.
    """
    threads, shares = recipe.threads, recipe.shares
    possible = device == "cpu" and can_fork()
    if shares is not None and shares > 1:
        if not possible:
            where = "a GPU" if device != "cpu" else sys.platform
            raise RecipeError(
                Problem(setting="shares", message=f"on {where} a run is one process: shares=1.")
            )
        if (threads or 1) > 1:
            raise RecipeError(
                Problem(
                    setting="shares",
                    message=f"expected threads=1 beside several processes, got threads={threads}: "
                    "a forked process computes with one thread.",
                    remedy="Leave threads out.",
                )
            )
        return 1, shares
    if threads is not None or shares is not None or not possible:
        return threads or cores(), 1
    found = min(cores(), _MOST_SHARES, int(n_tokens // _TOKENS_OF_A_SHARE))
    return (1, found) if found > 1 else (cores(), 1)


def instruction_set(device: str) -> str:
    """The hardware that the last bits of a result depend on: of a processor its architecture, the
    vector code that torch chose and the extensions that other libraries choose by; of a GPU its
    name.

    device: "cpu" or "cuda".
    """
    if device != "cpu":
        return torch.cuda.get_device_name()
    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    extensions = sorted(name for name, has in found.items() if has is True)
    return " ".join([platform.machine(), torch.backends.cpu.get_cpu_capability(), *extensions])


def require_same_instructions(folder: Path, begun: str, here: str) -> None:
    """Raise TrainingError where the run in `folder` was begun on a processor whose results differ.
    begun, here: of `instruction_set`.
    """
    if begun == here:
        return
    theirs, ours = set(begun.split()), set(here.split())
    raise TrainingError(
        Problem(
            where=str(folder),
            message=f"was begun on a processor of another instruction set, whose results "
            f"differ in their last bits (only there: {_listed(theirs - ours)}; only here: "
            f"{_listed(ours - theirs)}).",
            remedy="Resume it on such a processor, or remove the folder to start again.",
        )
    )


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"

"""Precision and threads of this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    pass

__all__ = ["cores", "precision_of"]


def precision_of(asked: str) -> str:
    """bf16 where the processor or GPU multiplies bf16 matrices itself, fp32 elsewhere; or what
    was asked for.
    """
    if asked != "auto":
        return asked
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

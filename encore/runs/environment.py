"""The machine and the software that a run is made with, and its use of memory."""

from __future__ import annotations

import platform
import resource
import sys
from importlib import metadata
from typing import Any

import torch

from encore.errors import shown_command
from encore.runs.hardware import instruction_set
from encore.runs.prepared import Prepared

__all__ = ["describe_environment", "peak_memory"]

_PACKAGES = ("torch", "numpy", "tokenizers", "safetensors", "scikit-learn", "scipy", "pyarrow")


def describe_environment(prepared: Prepared) -> dict[str, Any]:
    """The contents of environment.json: versions, processor, device, threads, and the command
    line, without credentials.
    """
    names = list(_PACKAGES)
    if "transformers" in sys.modules:  # only where an encoder is borrowed from it
        names.append("transformers")
    return {
        "encore": metadata.version("encore-nlp"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "instructions": instruction_set(prepared.device),
        "device": torch.cuda.get_device_name() if prepared.device == "cuda" else "cpu",
        "threads": prepared.threads,
        "processes": prepared.shares,
        "precision": prepared.precision,
        "command": shown_command(sys.argv),
        "packages": {name: metadata.version(name) for name in names},
    }


def _processor() -> str:
    try:
        return torch.cpu.get_capabilities().get("cpu_name", platform.processor())
    except AttributeError:  # an older torch
        return platform.processor()


def peak_memory() -> int:
    """The greatest resident memory of this process so far, in bytes."""
    # The kernel counts in KiB on Linux and in bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

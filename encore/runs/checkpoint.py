"""Checkpoints of a run under way: the state of training, and the figures logged so far.

Each is a folder with a manifest, written under another name and then renamed: it is whole or it is
not there. At most one is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from encore import files
from encore.runs.contents import CHECKPOINT_FILES, damaged_files
from encore.training.state import FitState

__all__ = ["Checkpoint", "read_checkpoint", "save_checkpoint"]

_TENSORS, _NUMBERS = CHECKPOINT_FILES


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as it was saved. state: the numbers of `FitState.snapshot`. log: the figures
    that the writer of the run folder has added.
    """

    state: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    log: Mapping[str, Any]


def save_checkpoint(folder: Path, state: FitState, log: Mapping[str, Any]) -> None:
    """Save the state and the log, then remove older checkpoints in `folder`. Does nothing where
    this step and epoch are saved already.
    """
    target = folder / f"step-{state.step:09d}-epoch-{state.epoch:05d}"
    if target.exists():
        return
    snapshot = state.snapshot()
    with files.commit_folder(target) as being_written:
        safetensors.torch.save_file(
            {name: tensor.contiguous() for name, tensor in snapshot.tensors().items()},
            being_written / _TENSORS,
        )
        numbers = {"state": snapshot.numbers, "log": log}
        (being_written / _NUMBERS).write_text(json.dumps(numbers), encoding="utf-8")
    for older in target.parent.iterdir():
        if older != target:
            files.remove(older)


def read_checkpoint(folder: Path, usable: Callable[[Mapping[str, Any]], bool]) -> Checkpoint | None:
    """The newest whole checkpoint in `folder` whose log is `usable`; None where there is none.
    Damaged and unusable ones are removed: the next one is saved under the same name.
    """
    if not folder.is_dir():
        files.remove(folder)
        folder.mkdir()
    for saved in sorted(folder.iterdir(), reverse=True):
        if not damaged_files(saved, "checkpoint"):
            numbers = files.read_json(saved / _NUMBERS)
            if usable(numbers["log"]):
                tensors = safetensors.torch.load_file(saved / _TENSORS)
                return Checkpoint(numbers["state"], tensors, numbers["log"])
        files.remove(saved)
    return None

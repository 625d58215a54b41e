"""Checkpoints of a run under way: the state of training, and the figures logged so far.

Each is a folder with a manifest, written under another name and then renamed: it is whole or it is
not there. At most one is kept.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import safetensors.torch
from torch import Tensor

from encore import files
from encore.runs.contents import CHECKPOINT_FILES, damaged_files

__all__ = ["Checkpoint", "CheckpointClock", "Resumable", "read_checkpoint", "save_checkpoint"]

_TENSORS, _NUMBERS = CHECKPOINT_FILES


class _Snapshot(Protocol):
    @property
    def numbers(self) -> Mapping[str, Any]: ...
    def tensors(self) -> dict[str, Tensor]: ...


class Resumable(Protocol):
    """The state of training, of a run (`FitState`) or of pre-training."""

    @property
    def step(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    def snapshot(self) -> _Snapshot: ...


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as it was saved. state: the numbers of the state's snapshot. log: the figures
    that the writer of the run folder has added.
    """

    state: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    log: Mapping[str, Any]


class CheckpointClock:
    """Tells when a checkpoint is due: every `seconds`, and where something is complete (an epoch),
    if saving takes less than a twentieth of the time, however large the model and slow the disk;
    with `steps` every so many steps and where something is complete, however long it takes.
    """

    def __init__(self, seconds: float, steps: int | None, step: int) -> None:
        self.seconds, self.steps = seconds, steps
        self.saved_at, self.saved_step, self.cost = time.monotonic(), step, 0.0

    def save_if_due(self, step: int, save: Callable[[], None], *, complete: bool) -> None:
        """Call `save` after `step` where it is due. complete: an epoch ends here."""
        due = time.monotonic() - self.saved_at > max(
            0.0 if complete else self.seconds, 20 * self.cost
        )
        if due or (self.steps is not None and (complete or step - self.saved_step >= self.steps)):
            begun = time.monotonic()
            save()
            self.saved_at, self.saved_step = time.monotonic(), step
            self.cost = self.saved_at - begun


def save_checkpoint(folder: Path, state: Resumable, log: Mapping[str, Any]) -> None:
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

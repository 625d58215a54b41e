"""The files that a run under way has written beside its checkpoint, which holds their digests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encore import files

__all__ = ["RunLog", "WrittenFiles"]

_STEPS = "steps.jsonl"


@dataclass(frozen=True)
class RunLog:
    """The part of a checkpoint that is not the state of training.

    epochs: the lines of metrics.jsonl. rates: those of `Rates.to_json`. instructions: those of
    `hardware.instruction_set`. steps_bytes, steps_sha256: length and digest of steps.jsonl.
    predictions: file → digest.
    """

    epochs: list[dict[str, Any]]
    kept_epoch: int
    seconds: float
    rates: Mapping[str, Any]
    instructions: str
    steps_bytes: int
    steps_sha256: str
    predictions: Mapping[str, str]


class WrittenFiles:
    """The log of steps and the predictions in a run's folder, as far as this run wrote them. A run
    resumes from a checkpoint only where its `RunLog` fits them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.predictions: dict[str, str] = {}
        self._n_bytes, self._steps = 0, hashlib.sha256()

    def to_json(self) -> dict[str, Any]:
        """The fields of a `RunLog` that are about files."""
        return {
            "steps_bytes": self._n_bytes,
            "steps_sha256": self._steps.hexdigest(),
            "predictions": self.predictions,
        }

    def fits(self, log: RunLog) -> bool:
        """True where the folder still holds all that `log` lists. The log of steps may be longer: a
        killed process had not counted the rest.
        """
        try:
            return hashlib.sha256(self._counted(log)).hexdigest() == log.steps_sha256 and all(
                files.sha256(self.folder / name) == digest
                for name, digest in log.predictions.items()
            )
        except OSError:
            return False

    def restore(self, log: RunLog | None) -> None:
        """Resume from files that fit, or begin anew: the log is cut back to what is counted."""
        steps = self._counted(log) if log else b""
        self._n_bytes, self._steps = len(steps), hashlib.sha256(steps)
        self.predictions = dict(log.predictions) if log else {}
        files.write(self.folder / _STEPS, steps)

    def add_steps(self, lines: Sequence[bytes]) -> None:
        """Append lines to the log of steps, on the disk when this returns. Raises TrainingError."""
        content = b"".join(lines)
        with files.explained(self.folder / _STEPS), (self.folder / _STEPS).open("ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self._n_bytes += len(content)
        self._steps.update(content)

    def add_predictions(self, name: str) -> None:
        """Count a file of predictions that was just written. name: relative to the folder."""
        self.predictions[name] = files.sha256(self.folder / name)

    def _counted(self, log: RunLog) -> bytes:
        with (self.folder / _STEPS).open("rb") as file:
            return file.read(log.steps_bytes)

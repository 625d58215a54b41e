"""A trial of a search and the trials of a search, as values."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from encore.experiments.search_parameters import Parameter
from encore.types import DEFAULTS

__all__ = ["Objective", "TrialReport", "TrialScore", "Trials"]


@dataclass(frozen=True)
class Trials:
    """The trials of a search. name: the study's in the database. n: how many in all. longest:
    reports of the longest trial. maximise: higher is better. folder: the study's, on this machine.
    storage: the URL of the database; None: SQLite in the folder.
    """

    name: str
    folder: Path
    parameters: tuple[Parameter, ...]
    n: int
    seed: int
    maximise: bool
    sampler: str = DEFAULTS.sampler
    pruner: str = "none"
    longest: int = 1
    storage: str | None = None

    @property
    def url(self) -> str:
        """The URL of the database."""
        return self.storage or f"sqlite:///{self.folder.absolute() / 'study.db'}"

    @property
    def owner(self) -> str:
        """The identity of this folder on this machine; a lock admits one command at a time."""
        return hashlib.sha256(
            f"{socket.gethostname()}:{self.folder.absolute()}".encode()
        ).hexdigest()[:16]


@dataclass(frozen=True)
class TrialScore:
    """The score of a trial. values: one for each of its seeds; `value` is their mean.
    value_at_best_epoch: mean over the seeds of each one's best epoch (METHODS 8.4).
    """

    value: float
    values: tuple[float, ...] = ()
    runs: tuple[str, ...] = ()
    value_at_best_epoch: float | None = None
    seconds: float = 0.0


class TrialReport(Protocol):
    """(step, value) → nothing; raises Pruned where the trial is not worth continuing, unless it is
    about to end anyway (`final`).
    """

    def __call__(self, step: int, value: float, *, final: bool = False) -> None: ...


class Objective(Protocol):
    """(given: path → number or label of a choice, report) → the trial's score. An EncoreError
    fails this trial and no other.
    """

    def __call__(self, given: Mapping[str, Any], report: TrialReport) -> TrialScore: ...

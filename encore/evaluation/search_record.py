"""The figures of a search as values: what results.json holds, and what tables and reports read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from encore.evaluation.comparison_record import StudyResult

__all__ = ["BestTrial", "FreshResult", "Importances", "SearchRecord", "TrialCounts"]


@dataclass(frozen=True)
class TrialCounts:
    """Trials of a search by how they ended. requested: how many were to be made."""

    requested: int
    complete: int
    pruned: int
    failed: int

    def to_json(self) -> dict[str, Any]:
        """Its entry in results.json."""
        return {
            "requested": self.requested,
            "complete": self.complete,
            "pruned": self.pruned,
            "failed": self.failed,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> TrialCounts:
        """The inverse of `to_json`."""
        return cls(stored["requested"], stored["complete"], stored["pruned"], stored["failed"])


@dataclass(frozen=True)
class BestTrial:
    """The best trial. value: the mean of `values`, one for each seed of a trial. params: setting →
    number or label of a choice. value_at_best_epoch: see `TrialScore`.
    """

    trial: int
    value: float | None
    params: Mapping[str, Any]
    values: tuple[float, ...]
    value_at_best_epoch: float | None
    runs: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Its entry in results.json."""
        return {
            "trial": self.trial,
            "value": self.value,
            "params": dict(self.params),
            "values": list(self.values),
            "value_at_best_epoch": self.value_at_best_epoch,
            "runs": list(self.runs),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> BestTrial:
        """The inverse of `to_json`."""
        return cls(
            stored["trial"],
            stored["value"],
            stored["params"],
            tuple(stored["values"]),
            stored["value_at_best_epoch"],
            tuple(stored["runs"]),
        )


@dataclass(frozen=True)
class Importances:
    """Setting → share of the variance of the complete trials, largest first; empty with a reason
    (`why`) where they cannot be computed. by: the method.
    """

    by: str
    values: Mapping[str, float]
    why: str | None

    def to_json(self) -> dict[str, Any]:
        """Its entry in results.json."""
        return {"by": self.by, "values": dict(self.values), "why": self.why}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Importances:
        """The inverse of `to_json`."""
        return cls(stored["by"], stored["values"], stored["why"])


@dataclass(frozen=True)
class FreshResult:
    """The best configuration, trained again with seeds that no trial had. comparison: the name of
    the folder that holds those runs.
    """

    comparison: str
    seeds: tuple[int, ...]
    studies: tuple[StudyResult, ...]

    def to_json(self) -> dict[str, Any]:
        """Its entry in results.json."""
        return {
            "comparison": self.comparison,
            "seeds": list(self.seeds),
            "studies": [one.to_json() for one in self.studies],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> FreshResult:
        """The inverse of `to_json`."""
        return cls(
            stored["comparison"],
            tuple(stored["seeds"]),
            tuple(map(StudyResult.from_json, stored["studies"])),
        )


@dataclass(frozen=True)
class SearchRecord:
    """All figures of a search, as results.json keeps them. deciding: the value of a trial in words
    ("rte accuracy on dev"). search: setting → its space, as the recipe has it.
    """

    name: str
    deciding: str
    maximise: bool
    trials: TrialCounts
    sampler: str
    pruner: str
    seed: int
    trial_seeds: tuple[int, ...]
    search: Mapping[str, Mapping[str, Any]]
    best: BestTrial
    importances: Importances
    notes: tuple[str, ...]
    fresh: FreshResult

    def to_json(self) -> dict[str, Any]:
        """Plain data, as results.json has it."""
        return {
            "name": self.name,
            "deciding": self.deciding,
            "maximise": self.maximise,
            "trials": self.trials.to_json(),
            "sampler": self.sampler,
            "pruner": self.pruner,
            "seed": self.seed,
            "trial_seeds": list(self.trial_seeds),
            "search": {path: dict(space) for path, space in self.search.items()},
            "best": self.best.to_json(),
            "importances": self.importances.to_json(),
            "notes": list(self.notes),
            "fresh": self.fresh.to_json(),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> SearchRecord:
        """The inverse of `to_json`."""
        return cls(
            stored["name"],
            stored["deciding"],
            stored["maximise"],
            TrialCounts.from_json(stored["trials"]),
            stored["sampler"],
            stored["pruner"],
            stored["seed"],
            tuple(stored["trial_seeds"]),
            stored["search"],
            BestTrial.from_json(stored["best"]),
            Importances.from_json(stored["importances"]),
            tuple(stored["notes"]),
            FreshResult.from_json(stored["fresh"]),
        )

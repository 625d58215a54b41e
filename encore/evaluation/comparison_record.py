"""The figures of a comparison as values: what results.json holds, and what tables and reports read.

All figures are in the metric's own unit (fractions, never percent). `to_json` gives exactly what
the file holds, in its order; `from_json` is its inverse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from encore.evaluation.claims import Contrast
from encore.evaluation.ensemble_record import EnsembleRow
from encore.evaluation.sequence_record import SequenceResult
from encore.evaluation.task_record import AverageResult, ClaimResult

__all__ = [
    "CommonEpoch",
    "ComparisonRecord",
    "MetricResult",
    "RaceSummary",
    "Round",
    "StudyRace",
    "StudyResult",
    "VariantResult",
]


@dataclass(frozen=True)
class CommonEpoch:
    """The deciding metric at the epoch that is best for all tasks together, where the recipe's
    source reports such a figure: this one (`expected`), or an average over tasks at that epoch.
    values: one for each seed that ended.
    """

    values: tuple[float, ...]
    mean: float
    sd: float | None
    best: float
    expected: float | None

    def to_json(self) -> dict[str, Any]:
        """Its entry in results.json."""
        return {
            "values": list(self.values),
            "mean": self.mean,
            "sd": self.sd,
            "best": self.best,
            "expected": self.expected,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> CommonEpoch:
        """The inverse of `to_json`."""
        return cls(
            tuple(stored["values"]),
            stored["mean"],
            stored["sd"],
            stored["best"],
            stored["expected"],
        )


@dataclass(frozen=True)
class VariantResult:
    """A variant, or the reference, under one metric on one dev set.

    values: one for each of `seeds`, in its order. best: their maximum, or the minimum where lower
    is better. expected, expected_sd, expected_max: what the recipe's source reports. collapsed,
    failed: seed → why. not_applicable: why the variant cannot be run at all. contrast: against the
    reference; None of the reference itself, and of what cannot be run. common: at the common epoch
    of several tasks, where the source reports that too.
    """

    variant: str
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    mean: float | None
    sd: float | None
    best: float | None
    expected: float | None
    expected_sd: float | None
    collapsed: Mapping[int, str]
    failed: Mapping[int, str]
    not_applicable: str | None
    contrast: Contrast | None
    expected_max: float | None = None
    common: CommonEpoch | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data; seeds that are keys become strings. What only some sources report is a key
        only where it is reported.
        """
        found = {
            "variant": self.variant,
            "seeds": list(self.seeds),
            "values": list(self.values),
            "mean": self.mean,
            "sd": self.sd,
            "best": self.best,
            "expected": self.expected,
            "expected_sd": self.expected_sd,
            "collapsed": {str(seed): why for seed, why in self.collapsed.items()},
            "failed": {str(seed): why for seed, why in self.failed.items()},
            "not_applicable": self.not_applicable,
            "contrast": self.contrast.to_json() if self.contrast else None,
        }
        if self.expected_max is not None:
            found["expected_max"] = self.expected_max
        if self.common is not None:
            found["common"] = self.common.to_json()
        return found

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> VariantResult:
        """The inverse of `to_json`."""
        against = stored["contrast"]
        return cls(
            stored["variant"],
            tuple(stored["seeds"]),
            tuple(stored["values"]),
            stored["mean"],
            stored["sd"],
            stored["best"],
            stored["expected"],
            stored["expected_sd"],
            {int(seed): why for seed, why in stored["collapsed"].items()},
            {int(seed): why for seed, why in stored["failed"].items()},
            stored["not_applicable"],
            Contrast.from_json(stored["variant"], against) if against else None,
            stored.get("expected_max"),
            CommonEpoch.from_json(stored["common"]) if "common" in stored else None,
        )


@dataclass(frozen=True)
class MetricResult:
    """All variants under one metric on one dev set, the reference first. metric: its name in the
    catalogue.
    """

    metric: str
    variants: tuple[VariantResult, ...]

    def variant(self, name: str) -> VariantResult | None:
        """The variant of this name; None where it has left a race."""
        return next((one for one in self.variants if one.variant == name), None)

    def to_json(self) -> dict[str, Any]:
        """Its entry in results.json."""
        return {"metric": self.metric, "variants": [one.to_json() for one in self.variants]}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> MetricResult:
        """The inverse of `to_json`."""
        return cls(stored["metric"], tuple(map(VariantResult.from_json, stored["variants"])))


@dataclass(frozen=True)
class Round:
    """One decision of a race. scores: variant → mean of the deciding metric, None where a run of
    it failed. left: in the order of the recipe; failed: variant → why.
    """

    number: int
    seeds: tuple[int, ...]
    scores: Mapping[str, float | None]
    stayed: tuple[str, ...]
    left: tuple[str, ...]
    failed: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Its entry in results.json."""
        return {
            "round": self.number,
            "seeds": list(self.seeds),
            "scores": dict(self.scores),
            "stayed": list(self.stayed),
            "left": list(self.left),
            "failed": dict(self.failed),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Round:
        """The inverse of `to_json`."""
        return cls(
            stored["round"],
            tuple(stored["seeds"]),
            stored["scores"],
            tuple(stored["stayed"]),
            tuple(stored["left"]),
            stored["failed"],
        )


@dataclass(frozen=True)
class StudyRace:
    """The race of one study. metric: which decides, None where nothing can be measured. started,
    stayed: variants.
    """

    metric: str | None
    started: tuple[str, ...]
    rounds: tuple[Round, ...]
    stayed: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Its entry in results.json."""
        return {
            "metric": self.metric,
            "started": list(self.started),
            "rounds": [one.to_json() for one in self.rounds],
            "stayed": list(self.stayed),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> StudyRace:
        """The inverse of `to_json`."""
        return cls(
            stored["metric"],
            tuple(stored["started"]),
            tuple(map(Round.from_json, stored["rounds"])),
            tuple(stored["stayed"]),
        )


@dataclass(frozen=True)
class StudyResult:
    """One dev set of a task in one study.

    study: its label in tables. point: the settings of `each` that make it. dev_set: None where the
    task cannot be run at all; then there are no metrics, and not_applicable (variant → why, ""
    where it could) gives the reasons. baselines: predictor without an encoder → metric → value.
    race: None without one.
    """

    study: str
    point: Mapping[str, Any]
    task: str
    dev_set: str | None
    n_rows: int
    metrics: tuple[MetricResult, ...]
    baselines: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]
    not_applicable: Mapping[str, str]
    race: StudyRace | None = None

    @property
    def title(self) -> str:
        """The study's label, with the task where it trains several."""
        several = "+" in self.study.split(" ")[0]
        return f"{self.study}: {self.task}" if several else self.study

    def to_json(self) -> dict[str, Any]:
        """Its entry in results.json."""
        found = {
            "study": self.study,
            "point": dict(self.point),
            "task": self.task,
            "set": self.dev_set,
            "rows": self.n_rows,
            "metrics": [one.to_json() for one in self.metrics],
            "baselines": {name: dict(values) for name, values in self.baselines.items()},
            "notes": list(self.notes),
            "not_applicable": dict(self.not_applicable),
        }
        return found | ({"race": self.race.to_json()} if self.race else {})

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> StudyResult:
        """The inverse of `to_json`."""
        return cls(
            stored["study"],
            stored["point"],
            stored["task"],
            stored["set"],
            stored["rows"],
            tuple(map(MetricResult.from_json, stored["metrics"])),
            stored["baselines"],
            tuple(stored["notes"]),
            stored["not_applicable"],
            StudyRace.from_json(stored["race"]) if "race" in stored else None,
        )


@dataclass(frozen=True)
class RaceSummary:
    """The settings of a comparison's race, and how many runs it made instead of the full grid's."""

    factor: int
    seeds: tuple[int, ...]
    n_runs: int
    n_runs_of_the_grid: int

    def to_json(self) -> dict[str, Any]:
        """Its entry in results.json."""
        return {
            "factor": self.factor,
            "seeds": list(self.seeds),
            "runs": self.n_runs,
            "runs_of_the_grid": self.n_runs_of_the_grid,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> RaceSummary:
        """The inverse of `to_json`."""
        return cls(
            stored["factor"], tuple(stored["seeds"]), stored["runs"], stored["runs_of_the_grid"]
        )


@dataclass(frozen=True)
class ComparisonRecord:
    """All figures of a comparison, as results.json keeps them. reference: the variant that the
    others are compared with. claims: those of the recipe, judged.
    """

    name: str
    reference: str
    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    studies: tuple[StudyResult, ...]
    averages: tuple[AverageResult, ...]
    notes: tuple[str, ...]
    race: RaceSummary | None = None
    sequences: tuple[SequenceResult, ...] = ()
    ensembles: tuple[EnsembleRow, ...] = ()
    claims: tuple[ClaimResult, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data, as results.json has it."""
        found = {
            "name": self.name,
            "reference": self.reference,
            "variants": list(self.variants),
            "seeds": list(self.seeds),
            "studies": [one.to_json() for one in self.studies],
            "averages": [one.to_json() for one in self.averages],
            "notes": list(self.notes),
        }
        beside = {
            "sequences": [one.to_json() for one in self.sequences],
            "ensembles": [one.to_json() for one in self.ensembles],
            "claims": [one.to_json() for one in self.claims],
        }
        found |= {key: rows for key, rows in beside.items() if rows}
        return found | ({"race": self.race.to_json()} if self.race else {})

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ComparisonRecord:
        """The inverse of `to_json`."""
        return cls(
            stored["name"],
            stored["reference"],
            tuple(stored["variants"]),
            tuple(stored["seeds"]),
            tuple(map(StudyResult.from_json, stored["studies"])),
            tuple(map(AverageResult.from_json, stored["averages"])),
            tuple(stored["notes"]),
            RaceSummary.from_json(stored["race"]) if "race" in stored else None,
            tuple(SequenceResult.from_json(**one) for one in stored.get("sequences", ())),
            tuple(EnsembleRow.from_json(**one) for one in stored.get("ensembles", ())),
            tuple(ClaimResult(**one) for one in stored.get("claims", ())),
        )

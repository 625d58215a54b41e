"""Averages and claims over all tasks of a comparison, as values in results.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from encore.evaluation.claims import Contrast

__all__ = ["AverageResult", "ClaimResult", "Outcome"]

Outcome = Literal["held", "not held", "cannot be judged"]


@dataclass(frozen=True)
class AverageResult:
    """A mean over tasks, of the variants that have every column. values, expected: variant →
    figure; expected: what the recipe's source reports. common, expected_common: the same at the
    epoch that is best for all tasks together, of the variants whose source reports it. contrasts:
    variant → against the reference, on the seeds that both have on every task.
    """

    name: str
    title: str
    values: Mapping[str, float]
    expected: Mapping[str, float]
    common: Mapping[str, float] = field(default_factory=dict)
    expected_common: Mapping[str, float] = field(default_factory=dict)
    contrasts: Mapping[str, Contrast] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Its entry in results.json. What not every average has is a key only where it is there."""
        found: dict[str, Any] = {
            "name": self.name,
            "title": self.title,
            "values": dict(self.values),
            "expected": dict(self.expected),
        }
        if self.common:
            found |= {
                "common": dict(self.common),
                "expected_common": dict(self.expected_common),
            }
        contrasts = {name: one.to_json() for name, one in self.contrasts.items()}
        return found | ({"contrasts": contrasts} if contrasts else {})

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> AverageResult:
        """The inverse of `to_json`."""
        return cls(
            stored["name"],
            stored["title"],
            stored["values"],
            stored["expected"],
            stored.get("common", {}),
            stored.get("expected_common", {}),
            {
                name: Contrast.from_json(name, one)
                for name, one in stored.get("contrasts", {}).items()
            },
        )


@dataclass(frozen=True)
class ClaimResult:
    """A claim of a recipe, judged. about: the settings of its studies, "" where those differ in the
    task only. why: the verdicts that it was judged by, in words.
    """

    claim: str
    outcome: Outcome
    why: str
    about: str = ""

    def to_json(self) -> dict[str, Any]:
        """Its entry in results.json."""
        found = {"claim": self.claim, "outcome": self.outcome, "why": self.why}
        return found | ({"about": self.about} if self.about else {})

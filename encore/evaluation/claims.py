"""Differences between a variant and the reference as values, and their verdicts in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = [
    "FEWEST_SEEDS",
    "Badge",
    "Claim",
    "Contrast",
    "Stability",
    "Verdict",
    "finite",
    "not_judged",
]

Verdict = Literal["better", "worse", "no evidence"]
Badge = Literal["better", "worse", "no evidence", "not judged"]

# Of a verdict: with two seeds 9 % of the claims for new examples are false (encore.evaluation.
# intervals).
FEWEST_SEEDS = 3


@dataclass(frozen=True)
class Claim:
    """A test of a difference: *for this dev set* (new seeds, these rows) or *for new examples too*
    (new seeds, new rows).

    low, high: 95 % confidence interval, not adjusted. p_holm: p adjusted over the variants of the
    comparison (Holm), from which the verdict follows. seeds_needed: seeds with which the observed
    difference would be found in 80 % of all studies at level .05 / variants; None above 1,000.
    rows_needed: where no number of seeds on this dev set would do, the fewest rows that would,
    with unlimited seeds; None above a million. An end that is not finite is None.
    """

    low: float | None
    high: float | None
    standard_error: float | None
    df: float | None
    p: float
    p_holm: float
    verdict: Verdict
    seeds_needed: int | None
    rows_needed: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields in the order in which results.json has them."""
        return _in_order(
            self,
            "low high standard_error df p p_holm verdict seeds_needed rows_needed",
        )

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Claim:
        """The inverse of `to_json`."""
        return cls(**stored)


@dataclass(frozen=True)
class Stability:
    """Variance over seeds, variant / baseline, with its 95 % F interval. The verdict follows from
    p_holm. An end that is not finite is None.

    The F test takes the two samples as independent. Where both arms share their seeds, values of
    the same seed tend to go together, and the test is conservative: false claims become rarer.
    """

    ratio: float
    low: float | None
    high: float | None
    p: float
    p_holm: float
    verdict: Literal["more stable", "less stable", "no evidence"]

    def to_json(self) -> dict[str, Any]:
        """The fields in the order in which results.json has them."""
        return _in_order(self, "ratio low high p p_holm verdict")

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Stability:
        """The inverse of `to_json`."""
        return cls(**stored)


@dataclass(frozen=True)
class Contrast:
    """A variant against the reference, on the seeds that both have. None: cannot be computed, or
    fewer than three seeds; `notes` say why.
    """

    variant: str
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    delta: float | None
    this_dev_set: Claim | None
    new_examples: Claim | None
    sign_flip_p: float | None
    stability: Stability | None
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """The verdict as a phrase: the claim, what it holds for, and what a claim would need where
        there is none.
        """
        here, anew = self.this_dev_set, self.new_examples
        if len(self.seeds) < FEWEST_SEEDS:
            return not_judged(len(self.seeds))
        if here is None or anew is None or not self.delta:
            return "no evidence"
        if here.verdict == anew.verdict == "no evidence":
            needed, for_new = _needed(here), _needed(anew)
            also = (
                ", for new examples too" if for_new == needed else f"; for new examples {for_new}"
            )
            return f"no evidence (needs {needed}{also})"
        if anew.verdict == "no evidence":
            return (
                f"{here.verdict} on this dev set, no evidence for new examples (needs "
                f"{_needed(anew)})"
            )
        if here.verdict == "no evidence":
            # No contradiction: many rows show how much the mean may vary, where few seeds show
            # little of their own spread.
            return (
                f"{anew.verdict} for new examples, though the seeds alone leave it open "
                f"(needs {_needed(here)})"
            )
        return f"{here.verdict}, for new examples too"

    @property
    def badge(self) -> Badge:
        """The strongest claim of the verdict, without what it holds for."""
        here, anew = self.this_dev_set, self.new_examples
        if len(self.seeds) < FEWEST_SEEDS:
            return "not judged"
        if here is None or anew is None or not self.delta:
            return "no evidence"
        return anew.verdict if here.verdict == "no evidence" else here.verdict

    def to_json(self) -> dict[str, Any]:
        """Its entry in results.json, the verdict in words included."""
        return {
            "seeds": list(self.seeds),
            "differences": list(self.differences),
            "delta": self.delta,
            "verdict": self.verdict,
            "this_dev_set": self.this_dev_set.to_json() if self.this_dev_set else None,
            "new_examples": self.new_examples.to_json() if self.new_examples else None,
            "sign_flip_p": self.sign_flip_p,
            "stability": self.stability.to_json() if self.stability else None,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, variant: str, stored: Mapping[str, Any]) -> Contrast:
        """The inverse of `to_json`; the verdict follows from the rest."""
        here, anew, stable = (stored[key] for key in ("this_dev_set", "new_examples", "stability"))
        return cls(
            variant,
            tuple(stored["seeds"]),
            tuple(stored["differences"]),
            stored["delta"],
            Claim.from_json(here) if here else None,
            Claim.from_json(anew) if anew else None,
            stored["sign_flip_p"],
            Stability.from_json(stable) if stable else None,
            tuple(stored["notes"]),
        )


def not_judged(n_seeds: int) -> str:
    """The verdict on too few seeds: "not judged: 2 seeds"."""
    return f"not judged: {n_seeds} seed{'' if n_seeds == 1 else 's'}"


def finite(value: float) -> float | None:
    """The value; None for infinities and NaN, which JSON cannot represent."""
    return value if math.isfinite(value) else None


def _in_order(value: Claim | Stability, names: str) -> dict[str, Any]:
    fields = asdict(value)
    return {name: fields[name] for name in names.split()}


def _needed(claim: Claim) -> str:
    """The seeds or rows with which the observed difference would be found, as a noun."""
    if claim.seeds_needed is not None:
        return f"about {claim.seeds_needed:,} seeds"
    if claim.rows_needed is not None:
        return f"a dev set of about {claim.rows_needed:,} rows, and many seeds"
    return "more than 1,000 seeds"

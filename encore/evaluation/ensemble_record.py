"""The figures of an ensemble as values: on the rows that chose it, and cross-fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from encore import catalogue
from encore.data.table import plural
from encore.evaluation.claims import Contrast
from encore.evaluation.ensembles import Choosing, Mixture, cross_fitted
from encore.evaluation.estimates import Estimate, estimate_metrics
from encore.evaluation.paired import PairedDifference, paired_differences

__all__ = ["EnsembleResult", "EnsembleRow", "MemberFigures", "measure_ensemble"]

Estimates = Mapping[str, Estimate]
_ALL = slice(None)


@dataclass(frozen=True)
class MemberFigures:
    """A model that could take part. values: metric → value on the dev set. taken: it takes part.
    weight: in a weighted sum. n_halves: of the two halves of the dev set, those on which it would
    be taken.
    """

    name: str
    values: Mapping[str, float]
    taken: bool
    weight: float | None
    n_halves: int


@dataclass(frozen=True)
class EnsembleResult:
    """An ensemble on one dev set. metrics: the first one decides.

    dev: on the rows that it was chosen on, which flatters it. cross_fitted: on the same rows, each
    scored by the ensemble that the other half of the rows chooses. single, single_cross_fitted: the
    same of the best model by itself, `best`. against_single: of the two cross-fitted ones.
    held_out: of a weighted ensemble, on the `n_held_out` rows (dev-dev) that its weights were not
    fitted on.
    """

    task: str
    dev_set: str
    n_rows: int
    metrics: tuple[str, ...]
    members: tuple[MemberFigures, ...]
    best: str
    dev: Estimates
    cross_fitted: Estimates
    single: Estimates
    single_cross_fitted: Estimates
    against_single: Mapping[str, PairedDifference]
    held_out: Estimates
    n_held_out: int = 0
    notes: tuple[str, ...] = ()

    @property
    def n_taken(self) -> int:
        """The models that take part."""
        return sum(one.taken for one in self.members)

    def gap(self, metric: str) -> float:
        """The figure on the rows that chose the ensemble less the cross-fitted one."""
        return self.dev[metric].value - self.cross_fitted[metric].value

    def to_json(self) -> dict[str, Any]:
        """Its entry in results.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> EnsembleResult:
        """The inverse of `to_json`. Raises KeyError, TypeError or AttributeError."""
        rest = dict(stored)
        measured: dict[str, Any] = {
            name: {metric: _with_notes(Estimate, one) for metric, one in rest.pop(name).items()}
            for name in ("dev", "cross_fitted", "single", "single_cross_fitted", "held_out")
        }
        against = {
            metric: _with_notes(PairedDifference, one)
            for metric, one in rest.pop("against_single").items()
        }
        members = tuple(MemberFigures(**one) for one in rest.pop("members"))
        listed: dict[str, Any] = {name: tuple(rest.pop(name)) for name in ("metrics", "notes")}
        return cls(members=members, against_single=against, **measured, **listed, **rest)


@dataclass(frozen=True)
class EnsembleRow:
    """An ensemble over the runs of a study in a comparison. against: under the deciding metric, the
    cross-fitted ensemble less each run of a variant, for each variant.
    """

    study: str
    method: str
    result: EnsembleResult
    against: tuple[Contrast, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Its entry in results.json."""
        against = {one.variant: one.to_json() for one in self.against}
        fields = {"study": self.study, "method": self.method}
        return {**fields, "result": self.result.to_json(), "against": against}

    @classmethod
    def from_json(
        cls, *, result: Mapping[str, Any], against: Mapping[str, Any] | None = None, **fields: Any
    ) -> EnsembleRow:
        """The inverse of `to_json`."""
        contrasts = (Contrast.from_json(name, one) for name, one in (against or {}).items())
        return cls(result=EnsembleResult.from_json(result), against=tuple(contrasts), **fields)


def _with_notes(kind: Any, stored: Mapping[str, Any]) -> Any:
    return kind(**{**stored, "notes": tuple(stored.get("notes", ()))})


def measure_ensemble(
    rule: Choosing,
    scores: Sequence[np.ndarray],
    targets: np.ndarray,
    metrics: Sequence[str],
    *,
    task: str,
    dev_set: str,
    seed: int,
) -> tuple[Mixture, EnsembleResult, np.ndarray]:
    """Choose an ensemble on a dev set and measure it there, beside the best single model; the array
    is that of `cross_fitted`. scores: of each model of `rule.names`. seed: of the bootstrap
    intervals, which draw the groups of `rule` whole. Raises RecipeError.
    """
    labels, alone = rule.labels, replace(rule, method="best")
    mixture, single = rule.choose(scores, targets), alone.choose(scores, targets)
    fitted, parts = cross_fitted(rule, scores, targets)
    fitted_single, _ = cross_fitted(alone, scores, targets)
    usable = tuple(
        name
        for name in metrics
        if rule.method != "vote" or not catalogue.find("metrics", name).needs_probabilities
    )

    def estimates(found: np.ndarray, at: Any = _ALL) -> dict[str, Estimate]:
        own = None if rule.groups is None else rule.groups[at]
        return estimate_metrics(found[at], targets[at], labels, usable, seed, groups=own)

    combined = mixture.of(scores, labels)
    rest = rule.halves(len(targets))[1] if mixture.weights else None
    weights = dict(zip(mixture.members, mixture.weights, strict=False))
    members = tuple(
        MemberFigures(
            name,
            {each: catalogue.find("metrics", each)(own, targets, labels) for each in usable},
            number in mixture.members,
            weights.get(number),
            sum(number in part.members for part in parts),
        )
        for number, (name, own) in enumerate(zip(rule.names, scores, strict=True))
    )
    result = EnsembleResult(
        task,
        dev_set,
        len(targets),
        usable,
        members,
        rule.names[single.members[0]],
        estimates(combined),
        estimates(fitted),
        estimates(single.of(scores, labels)),
        estimates(fitted_single),
        paired_differences(
            fitted, fitted_single, targets, labels, usable, seed, groups=rule.groups
        ),
        {} if rest is None else estimates(combined, rest),
        0 if rest is None else len(rest),
        tuple(_notes(rule, mixture)),
    )
    return mixture, result, fitted


def _notes(rule: Choosing, mixture: Mixture) -> list[str]:
    found = []
    if rule.method == "regression" and not mixture.weights:
        found.append("the values of a regression task are averaged without weights")
    if len(mixture.members) == 1 and rule.method != "best":
        found.append(f"one of {plural(len(rule.names), 'model')} takes part")
    return found

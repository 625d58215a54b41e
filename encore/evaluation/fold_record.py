"""The figures of a cross-validation: of each fold, their mean and spread, and those of all rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from encore.evaluation.estimates import Estimate

__all__ = ["FoldFigures", "FoldsRecord"]


@dataclass(frozen=True)
class FoldFigures:
    """One fold. run: the name of the run that did not train on it. n_rows: of the fold. baselines:
    predictor without an encoder → metric → value.
    """

    run: str
    n_rows: int
    estimates: Mapping[str, Estimate]
    baselines: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class FoldsRecord:
    """All figures. group: the column whose rows are drawn together in intervals, and n_groups.
    out_of_fold: of all rows, each scored by the run that did not train on it.
    """

    task: str
    n_rows: int
    folds: tuple[FoldFigures, ...]
    out_of_fold: Mapping[str, Estimate]
    group: str | None = None
    n_groups: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """Their names, the one that decides first."""
        return tuple(self.out_of_fold)

    def of_folds(self, metric: str) -> tuple[float, ...]:
        """The value of a metric on each fold."""
        return tuple(fold.estimates[metric].value for fold in self.folds)

    def baseline(self, name: str, metric: str) -> tuple[float, ...]:
        """The value of a baseline on each fold that has it."""
        found = (fold.baselines.get(name, {}).get(metric) for fold in self.folds)
        return tuple(value for value in found if value is not None)

    def to_json(self) -> dict[str, Any]:
        """The contents of results.json."""
        summary = {
            name: {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))}
            for name in self.metrics
            for values in [self.of_folds(name)]
        }
        return {**asdict(self), "over_folds": summary}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> FoldsRecord:
        """The inverse of `to_json`. Raises KeyError or TypeError."""
        entries = {key: value for key, value in stored.items() if key != "over_folds"}
        folds = (
            FoldFigures(**{**one, "estimates": _estimates(one.get("estimates"))})
            for one in entries.pop("folds")
        )
        return cls(
            folds=tuple(folds),
            out_of_fold=_estimates(entries.pop("out_of_fold")),
            notes=tuple(entries.pop("notes")),
            **entries,
        )


def _estimates(stored: Mapping[str, Mapping[str, Any]]) -> dict[str, Estimate]:
    return {
        name: Estimate(**{**one, "notes": tuple(one.get("notes", ()))})
        for name, one in stored.items()
    }

"""One figure for several tasks: MaxPoolBERT's mean of twelve columns, the leaderboard's mean of
nine tasks, and overall scores with r or with (1 + r) / 2.

Source: METHODS 2 and 8.7. All values have one unit, fractions or percent, and so has the mean; r
and (1 + r) / 2 are fractions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from encore.errors import RecipeError

__all__ = [
    "AVERAGE_WEIGHTS",
    "GLUE_COLUMNS",
    "GlueAverages",
    "OverallScores",
    "glue_averages",
    "normalised",
    "overall_scores",
]

# task → its columns in MaxPoolBERT's Tables 2 and 3, as "metric" or "dev set.metric".
_GLUE = {
    "cola": ("mcc",),
    "mrpc": ("accuracy", "f1"),
    "qnli": ("accuracy",),
    "mnli": ("dev_matched.accuracy", "dev_mismatched.accuracy"),
    "sst2": ("accuracy",),
    "stsb": ("spearman",),
    "rte": ("accuracy",),
    "qqp": ("accuracy", "f1"),
    "wnli": ("accuracy",),
}
GLUE_COLUMNS: tuple[str, ...] = tuple(
    f"{task}.{column}" for task, columns in _GLUE.items() for column in columns
)

# Average → the weight of each of its columns, for differences: what a constant adds is left out.
AVERAGE_WEIGHTS: Mapping[str, Mapping[str, float]] = {
    "glue.columns": dict.fromkeys(GLUE_COLUMNS, 1 / len(GLUE_COLUMNS)),
    "glue.tasks": {
        f"{task}.{column}": 1 / (len(_GLUE) * len(columns))
        for task, columns in _GLUE.items()
        for column in columns
    },
    "cs224n.r": dict.fromkeys(("sst5.accuracy", "quora.accuracy", "sts.pearson"), 1 / 3),
    "cs224n.normalised": {"sst5.accuracy": 1 / 3, "quora.accuracy": 1 / 3, "sts.pearson": 1 / 6},
}


@dataclass(frozen=True)
class GlueAverages:
    """columns: mean of the twelve columns, in which MRPC, MNLI and QQP count twice (MaxPoolBERT,
    Table 3). tasks: mean of the nine tasks.

    None where a column is missing: a mean of the others would be of something else. missing: which,
    in the order of GLUE_COLUMNS.
    """

    columns: float | None
    tasks: float | None
    missing: tuple[str, ...] = ()


def glue_averages(values: Mapping[str, float | None]) -> GlueAverages:
    """Both averages of the nine GLUE tasks. values: column → value, named as in GLUE_COLUMNS; None
    or absent where a cell failed.

    Raises RecipeError for a column that GLUE does not have.
    """
    unknown = [column for column in values if column not in GLUE_COLUMNS]
    if unknown:
        raise RecipeError(
            [
                f"average: GLUE has no column '{column}'. Known: {', '.join(GLUE_COLUMNS)}."
                for column in unknown
            ]
        )
    there = {column: value for column in GLUE_COLUMNS if (value := values.get(column)) is not None}
    missing = tuple(column for column in GLUE_COLUMNS if column not in there)
    if missing:
        return GlueAverages(None, None, missing)
    tasks = [
        _mean([there[f"{task}.{column}"] for column in columns]) for task, columns in _GLUE.items()
    ]
    return GlueAverages(_mean(list(there.values())), _mean(tasks))


@dataclass(frozen=True)
class OverallScores:
    """The mean over tasks, where one of them is a correlation. Not comparable with each other:
    print both, by name.

    with_r: as SerBERTus averages. with_normalised: (1 + r) / 2 in place of r, as GEN and ADF do.
    """

    with_r: float
    with_normalised: float


def overall_scores(others: Mapping[str, float], r: Mapping[str, float]) -> OverallScores:
    """Both overall scores of tasks with other metrics (`others`) and with correlations (`r`), all
    as fractions: task → value.

    Raises RecipeError where there is no task.
    """
    if not others and not r:
        raise RecipeError("overall score: expected at least one task, got none.")
    rest = list(others.values())
    return OverallScores(
        _mean([*rest, *r.values()]), _mean([*rest, *(normalised(one) for one in r.values())])
    )


def normalised(r: float) -> float:
    """(1 + r) / 2: a correlation on the scale from 0 to 1."""
    return (1 + r) / 2


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)

"""The settings of a decision: what is fitted on the dev set when a run ends, or afterwards."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PlainValidator

from encore import catalogue
from encore.errors import format_given
from encore.recipe.data_recipe import RecipeSection
from encore.recipe.fields import Flaws, refuse

__all__ = ["AUTO", "DecisionRecipe", "Wanted", "parse_abstention", "parse_threshold_metric"]

AUTO = "auto"
# A confidence, or the accuracy or the coverage from which it is found.
Wanted = float | dict[str, float]
_KINDS = ("accuracy", "coverage")


def parse_threshold_metric(value: Any) -> str | None:
    """The metric that thresholds are tuned for; `auto` for the task's first. Raises Flaws."""
    if value is None or value == AUTO:
        return value
    if not isinstance(value, str):
        expected = f"{AUTO}, or the metric that thresholds are tuned for, such as f1"
        refuse(expected=expected, got=format_given(value))
    if value not in catalogue.names("metrics"):
        raise Flaws([((), catalogue.unknown_name("metrics", value))])
    return value


def parse_abstention(value: Any) -> Wanted | None:
    """A confidence, or {accuracy: …} or {coverage: …}. Raises Flaws."""
    if value is None:
        return None
    if isinstance(value, dict) and len(value) == 1 and set(value) <= {*_KINDS}:
        (kind, share), *_ = value.items()
        return {kind: _share(share)}
    if isinstance(value, dict):
        example = "{accuracy: 0.95} or {coverage: 0.9}"
        refuse(expected=f"a confidence, or one of {example}", got=format_given(value))
    return _share(value)


def _share(value: Any) -> float:
    """A number from 0 to 1. Raises Flaws."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1:
        remedy = f"Write {value / 100:g}." if number and 1 < value <= 100 else ""
        refuse(expected="a number from 0 to 1", got=format_given(value), remedy=remedy)
    return float(value)


class DecisionRecipe(RecipeSection):
    """A decision to fit. temperature: calibrate the probabilities. thresholds: the metric that
    those of labels are tuned for (`auto`: the task's first), None for none. abstain: the confidence
    below which no label is given, or {accuracy: …}, {coverage: …} on the dev set; None for never.
    parts: of the dev set, for the cross-fitted figures.
    """

    temperature: bool = True
    thresholds: Annotated[str | None, PlainValidator(parse_threshold_metric)] = None
    abstain: Annotated[float | dict[str, float] | None, PlainValidator(parse_abstention)] = None
    parts: Annotated[int, Field(ge=2, le=100)] = 5

"""Techniques as recipes choose them, and the terms of a loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from encore import catalogue
from encore.catalogue import Flaw, TechniqueSpec
from encore.errors import Problem, format_given
from encore.recipe.fields import Flaws, unsafe_name_problems
from encore.recipe.messages import suggest

__all__ = ["Technique", "Term", "parse_loss_terms", "parse_technique"]


class Technique(Mapping[str, Any]):
    """A technique as a recipe chooses it: its name and the settings that are given, which nothing
    can change: `{"name": "linear", "dropout": 0.1}`. Its file is imported only where there are
    settings to check; `catalogue.specify` makes the complete specification of it.
    """

    __slots__ = ("_entries",)
    _entries: dict[str, Any]

    def __init__(self, name: str, settings: Mapping[str, Any] | None = None) -> None:
        object.__setattr__(self, "_entries", {"name": name, **(settings or {})})

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Technique is frozen: {name} cannot be set")

    @property
    def name(self) -> str:
        return self._entries["name"]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that are given; the technique's own defaults are not in here."""
        return {key: value for key, value in self._entries.items() if key != "name"}

    def __getitem__(self, key: str) -> Any:
        return self._entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"Technique({dict(self._entries)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Technique, (self.name, self.settings)


@dataclass(frozen=True)
class Term:
    """One term of the loss. `loss` None: the kind of the task decides (cross-entropy; binary
    cross-entropy per label; squared error).
    """

    loss: Technique | None = None
    weight: float = 1.0


def parse_technique(
    value: Any, kind: str, default: str | None = None, *, optional: bool = False
) -> Technique | None:
    """`name` or `{name: …, setting: …}` → Technique. Raises Flaws."""
    if isinstance(value, Technique) or (value is None and optional):
        return value
    flaws: list[Flaw] = []
    chosen = _chosen(value, kind, default, flaws)
    if flaws or chosen is None:
        raise Flaws(flaws)
    return chosen


def _chosen(value: Any, kind: str, default: str | None, flaws: list[Flaw]) -> Technique | None:
    found: list[Flaw] = []
    chosen = catalogue.parse_choice(value, kind, found, default=default, suggest=suggest)
    for steps, problem in found:
        if (kind, steps) == ("curves", ("warmup_frac",)):
            problem = replace(problem, remedy="Write plan: {warmup_frac: …}.")
        flaws.append((steps, problem))
    if chosen is None:
        return None
    name, settings = chosen
    return Technique(name, {key: _without_specs(value) for key, value in settings.items()})


def _without_specs(value: Any) -> Any:
    """A setting as the recipe would say it: an inner technique is its name, or a mapping."""
    if isinstance(value, TechniqueSpec):
        data = value.to_json()
        return data if len(data) > 1 else value.name
    return tuple(map(_without_specs, value)) if isinstance(value, tuple) else value


def parse_loss_terms(value: Any) -> dict[str, Term]:
    """A mapping from names to losses, with weights → Terms. Raises Flaws."""
    if not isinstance(value, dict):
        expected = "a mapping from a name of your own to a loss, such as {task: cross_entropy}"
        raise Flaws([((), Problem(expected=expected, got=format_given(value)))])
    flaws: list[Flaw] = []
    if not value:
        remedy = "Write {task: null}, and the kind of the task decides."
        flaws.append(((), Problem(expected="at least one loss", got="none", remedy=remedy)))
    terms: dict[str, Term] = {}
    for name, spec in value.items():
        if isinstance(spec, Term):
            terms[name] = spec
            continue
        inner: list[Flaw] = [((), problem) for problem in unsafe_name_problems(name, "loss term")]
        terms[name] = _term(spec, inner)
        flaws += [((name, *steps), problem) for steps, problem in inner]
    if flaws:
        raise Flaws(flaws)
    return terms


def _term(spec: Any, flaws: list[Flaw]) -> Term:
    weight: Any = 1.0
    if isinstance(spec, dict):
        spec = dict(spec)
        weight = spec.pop("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or weight < 0:
            problem = Problem(expected="a number of at least 0", got=format_given(weight))
            flaws.append((("weight",), problem))
            weight = 1.0
        if spec.get("name") is None:
            known = f"Known: {', '.join(catalogue.names('losses'))}."
            flaws += [
                (
                    (key,),
                    Problem(
                        message="a setting needs the loss that it belongs to.",
                        remedy=f"Write {{name: …, {key}: …}}. {known}",
                    ),
                )
                for key in spec
                if key != "name"
            ]
            spec = None
    return Term(None if spec is None else _chosen(spec, "losses", None, flaws), float(weight))

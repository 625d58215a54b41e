"""References to runs: `{run: first.yaml, task: sst5, seed: 1, at: best}` in the place of what a run
made, such as its encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from encore.catalogue import Flaw
from encore.errors import Problem, did_you_mean, format_given
from encore.recipe.fields import Flaws, refuse
from encore.recipe.messages import suggest

__all__ = ["RunReference", "parse_encoder", "parse_reference"]

_KEYS = ("run", "task", "seed", "at", "forgetting")
_KEPT = ("best", "last")


@dataclass(frozen=True)
class RunReference:
    """A run, and what of it is meant.

    run: as a recipe has it a file, a name, a folder, a mapping or a variant of the same comparison;
    a `Recipe` once it was read. task: of several, None for the first. seed: None for that of the
    run that refers to it. at: the epoch, None for the one that the run keeps. step: of a
    pre-training, the step whose encoder it keeps. forgetting: True to measure what the encoder
    knows of that run's task afterwards.
    """

    run: Any
    task: str | None = None
    seed: int | None = None
    at: Literal["best", "last"] | int | None = None
    step: int | None = None
    forgetting: bool = False

    def __str__(self) -> str:
        if isinstance(self.run, str):
            return f"of the run {self.run}"
        if isinstance(self.run, Mapping):
            tasks = self.run.get("tasks") or [self.run.get("task")]
        else:
            tasks = self.run.tasks
        return f"of a run on {'+'.join(map(str, tasks))}"

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> RunReference:
        """The reference that a mapping with the key `run` describes. Raises Flaws."""
        flaws: list[Flaw] = [
            ((key,), Problem(message="no such setting.", remedy=did_you_mean(key, _KEYS)))
            for key in value
            if key not in _KEYS
        ]
        run, seed = value.get("run"), value.get("seed")
        at, step = _place_in_training(value.get("at"))
        if not (isinstance(run, str) and run) and not (isinstance(run, Mapping) and run):
            expected = "a recipe or the folder of a run"
            flaws.append((("run",), Problem(expected=expected, got=format_given(run))))
        if not isinstance(task := value.get("task"), str | None):
            flaws.append((("task",), Problem(expected="a task", got=format_given(task))))
        if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or seed < 0):
            flaws.append((("seed",), Problem(expected="a number from 0", got=format_given(seed))))
        if at is not None and not _is_number(at) and at not in _KEPT:
            expected = "best, last, {epoch: N}, or of a pre-training {step: N}"
            flaws.append((("at",), Problem(expected=expected, got=format_given(at))))
        if not isinstance(forgetting := value.get("forgetting", False), bool):
            expected = "true or false"
            flaws.append(
                (("forgetting",), Problem(expected=expected, got=format_given(forgetting)))
            )
        if flaws:
            raise Flaws(flaws)
        return cls(run, task, seed, cast(Any, at), step, forgetting)

    def to(self, recipe: Any) -> RunReference:
        """The same reference to a recipe that was read."""
        return replace(self, run=recipe)

    def to_json(self, run: Any) -> dict[str, Any]:
        """The mapping of a recipe, with `run` as plain data."""
        at = self.at if self.step is None else {"step": self.step}
        given = {"task": self.task, "seed": self.seed, "at": at}
        given |= {"forgetting": True} if self.forgetting else {}
        return {"run": run, **{key: each for key, each in given.items() if each is not None}}


def _place_in_training(at: Any) -> tuple[Any, int | None]:
    """The epoch, and the step, that `{epoch: N}` or `{step: N}` names; anything else as it is."""
    if isinstance(at, Mapping) and len(at) == 1:
        ((kind, number),) = at.items()
        if kind == "epoch" and _is_number(number):
            return number, None
        if kind == "step" and (_is_number(number) or number == 0):
            return None, number
    return at, None


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def parse_reference(value: Any) -> str | RunReference | None:
    """A reference, or a run by its name alone. Raises Flaws."""
    if value is None or isinstance(value, RunReference) or (isinstance(value, str) and value):
        return value
    if isinstance(value, Mapping):
        return RunReference.parse(value)
    refuse(expected="a run, or {run: …, task: …}", got=format_given(value))


def parse_encoder(value: Any) -> str | RunReference:
    """The name of an encoder, or a reference to the run that trained it. Raises Flaws."""
    if isinstance(value, RunReference) or (isinstance(value, str) and value):
        return value
    if isinstance(value, Mapping) and "run" in value:
        return RunReference.parse(value)
    expected = "text or {run: …}"
    refuse(expected=expected, got=format_given(value), remedy=suggest(value, str))

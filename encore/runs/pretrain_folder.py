"""Reads the folder of a pre-training: its figures, and where the kept encoders are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from encore import files
from encore.errors import DataError, Problem, RecipeError
from encore.recipe.reference import RunReference
from encore.recipe.schema import Recipe
from encore.runs.contents import damaged_files
from encore.training.pretraining import Keep

__all__ = [
    "PretrainFigures",
    "PretrainResult",
    "read_pretraining",
    "step_folder_name",
    "with_pretrained",
]


def step_folder_name(step: int, last: int) -> str:
    """The folder of the encoder of a step, relative to that of the pre-training. last: the last
    step.
    """
    return "encoder" if step == last else f"steps/{step:09d}"


@dataclass(frozen=True)
class PretrainFigures:
    """The contents of results.json. rows, held_out_rows: rows to train and to measure on; tokens:
    of all, without special ones; tokens_trained_on: over all steps, with special ones.
    """

    steps: int
    rows: int
    held_out_rows: int
    tokens: int
    tokens_trained_on: int
    vocabulary: int
    kept: tuple[Keep, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` makes the same figures of it."""
        return {**asdict(self), "kept": [asdict(each) for each in self.kept]}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> PretrainFigures:
        """The figures that `to_json` wrote."""
        kept = tuple(Keep.from_json(each) for each in stored.get("kept", ()))
        return cls(**{**stored, "kept": kept})


@dataclass(frozen=True)
class PretrainResult:
    """A finished pre-training. encoder: the folder of the trained encoder."""

    folder: Path
    figures: PretrainFigures
    seconds: float
    tokens_per_second: float
    already_complete: bool = False

    @property
    def encoder(self) -> Path:
        return self.folder / step_folder_name(self.figures.steps, self.figures.steps)

    @property
    def kept(self) -> dict[int, Path]:
        """Step → the folder of its encoder, the last step's among them."""
        last = self.figures.steps
        return {
            one.step: self.folder / step_folder_name(one.step, last) for one in self.figures.kept
        }


def read_pretraining(folder: Path, *, already_complete: bool = False) -> PretrainResult:
    """The result of a complete pre-training. Raises DataError where files were changed."""
    wrong = damaged_files(folder, "pretraining")
    if wrong:
        raise DataError(
            f"{folder / name}: missing, or not as pre-training wrote it. Remove the folder and "
            f"give the command again."
            for name in wrong
        )
    try:  # no part of the results, so nothing vouches for it
        cost = files.read_json(folder / "cost.json")
    except (OSError, ValueError):
        cost = {}
    return PretrainResult(
        folder,
        PretrainFigures.from_json(files.read_json(folder / "results.json")),
        float(cost.get("seconds", 0.0)),
        float(cost.get("tokens_per_second", 0.0)),
        already_complete,
    )


def with_pretrained(recipe: Recipe) -> Recipe:
    """The recipe with the folder of an encoder in the place of a reference to the folder of a
    pre-training. Raises RecipeError where it kept no encoder at that step.
    """
    given = recipe.encoder
    if not isinstance(given, RunReference) or not isinstance(given.run, str):
        return recipe
    folder = recipe.path(given.run)
    if not (folder / "pretraining.json").is_file():
        return recipe
    result = read_pretraining(folder)
    steps = ", ".join(map(str, result.kept))
    step = result.figures.steps if given.step is None else given.step
    if given.at not in (None, "last") or given.task is not None or given.seed is not None:
        message = f"'{given.run}' is a pre-training, of which a reference names a step alone."
        problem = Problem(message=message, remedy=f"Write at: {{step: N}}, one of {steps}.")
    elif step not in result.kept:
        expected = f"a step whose encoder '{given.run}' keeps ({steps})"
        remedy = "To have it kept, add it to `keep` in that recipe and pre-train again."
        problem = Problem(expected=expected, got=str(step), remedy=remedy)
    else:
        return recipe.model_copy(update={"encoder": str(result.kept[step])})
    raise RecipeError(recipe.problem(("encoder",), problem))

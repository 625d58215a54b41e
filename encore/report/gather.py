"""Reads a run's or a comparison's folder for a report.

Nothing is trained or predicted again. Figures come from files whose digests are checked.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from encore import catalogue, files
from encore.encoder import load as encoders
from encore.errors import DataError, EncoreError
from encore.evaluation.comparison_record import ComparisonRecord
from encore.experiments.cell_state import CellState
from encore.model.parameters import unique_parameters
from encore.recipe.load import load_recipe
from encore.recipe.schema import Recipe
from encore.runs.compatibility import build_skeletons, head_of, parts_of
from encore.runs.contents import damaged_files
from encore.runs.folder import RunResult, read_result
from encore.types import LabelSpace

__all__ = [
    "GatheredComparison",
    "GatheredRun",
    "gather_comparison",
    "gather_run",
    "offline",
    "parameters",
    "unvouched",
]


@dataclass(frozen=True)
class GatheredRun:
    """A complete run. The mappings are its files: identity (resolved.json), data, environment,
    cost; epochs: the lines of metrics.jsonl. diagnostics: loss term → its figures about itself,
    from steps.jsonl, in order.
    """

    result: RunResult
    identity: Mapping[str, Any]
    data: Mapping[str, Any]
    environment: Mapping[str, Any]
    cost: Mapping[str, Any]
    epochs: Sequence[Mapping[str, Any]]
    diagnostics: Mapping[str, Sequence[Mapping[str, float]]]
    labels: Mapping[str, LabelSpace]
    recipe: Recipe | None  # None: this version of Encore cannot read it any more

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.result.folder

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @property
    def scores_train(self) -> bool:
        """True where the metrics on its training rows are of eval mode."""
        return bool(self.identity.get("plan", {}).get("score_train", False))

    def gives_probabilities(self, task: str) -> bool:
        """True where the scores of the task's head are logits, or where its head is not known."""
        if self.recipe is None:
            return True
        head = head_of(self.recipe, task).name
        return catalogue.find("heads", head).gives_probabilities


@dataclass(frozen=True)
class GatheredComparison:
    """A comparison that has figures. runs: run name → run, those that can be read; lost: run name →
    why it cannot. recipe: its text.
    """

    folder: Path
    record: ComparisonRecord
    study: Mapping[str, Any]
    recipe: str
    cells: Sequence[CellState]
    cost: Mapping[str, Any]
    runs: Mapping[str, GatheredRun]
    lost: Mapping[str, str]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    def runs_of(self, study: str, variant: str, seeds: Sequence[int]) -> dict[int, GatheredRun]:
        """Seed → run of one cell's row, those of `seeds` that can be read."""
        mine = [
            cell
            for cell in self.cells
            if cell.study == study and cell.variant == variant and cell.seed in seeds
        ]
        return {
            cell.seed: self.runs[cell.run] for cell in mine if cell.run and cell.run in self.runs
        }

    def seeds_of(self, study: str, variant: str, seeds: Sequence[int]) -> list[list[GatheredRun]]:
        """For each of `seeds` its run, or the runs of all its folds, where all can be read."""
        mine: dict[int, list[str | None]] = {}
        for cell in self.cells:
            if cell.study == study and cell.variant == variant and cell.seed in seeds:
                mine.setdefault(cell.seed, []).append(cell.run)
        return [
            [self.runs[name] for name in names if name is not None]
            for names in mine.values()
            if all(name in self.runs for name in names)
        ]


def gather_run(folder: Path) -> GatheredRun:
    """Raises DataError where the run is not complete, or not as it was written."""
    result = read_result(folder)
    data = files.read_json(folder / "data.json")
    environment, cost = (unvouched(folder / name) for name in ("environment.json", "cost.json"))
    epochs = [json.loads(line) for line in files.read_text(folder / "metrics.jsonl").splitlines()]
    labels = {
        task: LabelSpace(one["kind"], tuple(one["labels"]), _ordered(folder, task, one))
        for task, one in data.items()
    }
    try:
        recipe = load_recipe(folder / "recipe.yaml")
    except EncoreError:
        recipe = None
    return GatheredRun(
        result,
        files.read_json(folder / "resolved.json"),
        data,
        environment,
        cost,
        epochs,
        _diagnostics(folder / "steps.jsonl"),
        labels,
        recipe,
    )


def _diagnostics(file: Path) -> dict[str, list[Mapping[str, float]]]:
    """The `diagnostics` of GatheredRun. Of several tasks a term is called TASK.TERM."""
    found: dict[str, list[Mapping[str, float]]] = {}
    with file.open(encoding="utf-8") as lines:
        for step in (json.loads(line) for line in lines if '"diagnostics"' in line):
            for term, figures in step["diagnostics"].items():
                found.setdefault(term, []).append(figures)
    return found


def unvouched(file: Path) -> dict[str, Any]:
    """The contents of a file that no manifest covers; {} where it is missing or damaged, and then
    the report lacks them.
    """
    try:
        found = files.read_json(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _ordered(folder: Path, task: str, data: Mapping[str, Any]) -> bool:
    """True where the labels have an order. Runs of before 0.2 store that with their model only."""
    if "ordered" in data:
        return bool(data["ordered"])
    assembly = folder / "model" / "model.json"
    return bool(
        assembly.is_file() and files.read_json(assembly)["tasks"][task]["labels"]["ordered"]
    )


def _cells(folder: Path) -> list[CellState]:
    """The states in cells.json; none where it is missing or damaged."""
    try:
        return [CellState.from_json(one) for one in unvouched(folder / "cells.json")["cells"]]
    except (KeyError, TypeError, AttributeError):
        return []


def gather_comparison(folder: Path) -> GatheredComparison:
    """Raises DataError where there are no figures yet."""
    cells = _cells(folder)
    if not (folder / "results.json").is_file():
        n_done = len({cell.run for cell in cells if cell.state == "complete"})
        n_all = len({cell.run for cell in cells if cell.run})
        raise DataError(
            f"{folder}: not a finished comparison ({n_done} of {n_all} runs are complete). "
            f"Run the command that started it again; it resumes."
        )
    if (folder / files.MANIFEST).exists() and (wrong := damaged_files(folder, "comparison")):
        raise DataError(
            f"{folder / name}: missing, or not as the comparison wrote it. Run its command "
            f"again: it is rewritten."
            for name in wrong
        )
    try:
        record = ComparisonRecord.from_json(files.read_json(folder / "results.json"))
        study = files.read_json(folder / "study.json")
        text = files.read_text(folder / "recipe.yaml")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{folder}: damaged ({error}). Run the command that started it again: it is rewritten."
        ) from None
    runs, lost = {}, {}
    for name in dict.fromkeys(cell.run for cell in cells if cell.run and cell.state == "complete"):
        try:
            runs[name] = gather_run(folder.resolve().parent / name)
        except EncoreError as error:
            lost[name] = error.lines[0]
    return GatheredComparison(
        folder, record, study, text, cells, unvouched(folder / "cost.json"), runs, lost
    )


def parameters(found: GatheredRun) -> int | None:
    """All parameters of a run's models, counted in its weights, or in a model built like it; None
    where neither is to be had.
    """
    weights = found.folder / "model" / "weights.safetensors"
    # With an adapter, the file holds what was learned and no more.
    if weights.is_file() and (found.recipe is None or found.recipe.adapter is None):
        with safe_open(weights, "np") as file:
            return sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118
    if found.recipe is None:
        return None
    try:
        with offline():
            source = encoders.locate(found.recipe.pretrained, base=found.recipe.base)
        poolings = {task: settings["pooling"] for task, settings in found.identity["tasks"].items()}
        models = build_skeletons(
            parts_of(found.recipe, found.labels, poolings), found.recipe, source
        )
    except EncoreError:
        return None
    return sum(parameter.numel() for parameter in unique_parameters(models).values())


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """A report is made of what is here: what is not, is not downloaded for it."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before

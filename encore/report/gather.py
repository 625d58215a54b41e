"""What a report is made of, read from a run's or a comparison's folder into frozen data, and the
dev rows' texts read once more from where they were.

Nothing is trained or predicted again. Figures come from files whose digests are checked; texts only
from files that are still what they were.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import safe_open

from encore import catalogue, files
from encore.data.dataset import Dataset, TaskData
from encore.data.load import load_task
from encore.data.table import display_path
from encore.data.tokenizer import TextTokenizer
from encore.encoder import load as encoders
from encore.errors import DataError, EncoreError
from encore.model.parameters import unique_parameters
from encore.recipe.load import load_recipe
from encore.recipe.schema import Recipe, data_settings
from encore.runs.compatibility import build_skeletons, pair_of, parts_of
from encore.runs.explain import Explanation, explain
from encore.runs.folder import RunResult, read_result
from encore.runs.predict import load
from encore.training.streams import tokenize_set
from encore.types import LabelSpace

__all__ = [
    "GatheredComparison",
    "GatheredRun",
    "Sources",
    "Texts",
    "explanations",
    "gather_comparison",
    "gather_run",
    "kind_of",
    "offline",
    "parameters",
    "unvouched",
]


@dataclass(frozen=True)
class GatheredRun:
    """A complete run. The mappings are its files: identity (resolved.json), data, environment,
    cost; epochs: the lines of metrics.jsonl.
    """

    result: RunResult
    identity: Mapping[str, Any]
    data: Mapping[str, Any]
    environment: Mapping[str, Any]
    cost: Mapping[str, Any]
    epochs: Sequence[Mapping[str, Any]]
    labels: Mapping[str, LabelSpace]
    recipe: Recipe | None  # None: this version of Encore cannot read it any more

    @property
    def folder(self) -> Path:
        return self.result.folder

    @property
    def name(self) -> str:
        return self.folder.resolve().name


@dataclass(frozen=True)
class GatheredComparison:
    """A comparison that has figures. runs: run name → run, those that can be read; lost: run name →
    why it cannot. recipe: its text.
    """

    folder: Path
    results: Mapping[str, Any]
    study: Mapping[str, Any]
    recipe: str
    cells: Sequence[Mapping[str, Any]]
    cost: Mapping[str, Any]
    runs: Mapping[str, GatheredRun]
    lost: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    def runs_of(self, study: str, variant: str, seeds: Sequence[int]) -> dict[int, GatheredRun]:
        """Seed → run of one cell's row, those of `seeds` that can be read."""
        mine = [
            cell
            for cell in self.cells
            if cell["study"] == study and cell["variant"] == variant and cell["seed"] in seeds
        ]
        return {cell["seed"]: self.runs[cell["run"]] for cell in mine if cell["run"] in self.runs}


@dataclass(frozen=True)
class Texts:
    """Rows of a dev set as their file has them. places: the line of each in its file, or the row's
    number where a file has no lines; place: which. lengths: tokens of each row as the model reads
    it, None where the tokenizer is not to be had; cut: whether it lost tokens to `max_length`.
    """

    file: str
    place: str
    texts: Sequence[str]
    pairs: Sequence[str] | None
    places: np.ndarray
    lengths: np.ndarray | None
    cut: np.ndarray | None
    max_length: int


def kind_of(folder: Path) -> Literal["run", "comparison", "search"]:
    """Raises DataError where the folder is none of them."""
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such run, comparison or search. `encore ls` lists the runs that "
            f"there are."
        )
    if (folder / "study.json").is_file():
        return "search" if "sampler" in unvouched(folder / "study.json") else "comparison"
    if not (folder / "resolved.json").is_file():
        raise DataError(
            f"{folder}: no run, comparison or search. Give a folder that `encore train`, "
            f"`compare` or `tune` printed; `encore ls` lists the runs."
        )
    return "run"


def gather_run(folder: Path) -> GatheredRun:
    """Raises DataError where the run is not complete, or not as it was written."""
    result = read_result(folder)
    data = files.read_json(folder / "data.json")
    environment, cost = (unvouched(folder / name) for name in ("environment.json", "cost.json"))
    epochs = [
        json.loads(line)
        for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
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
        labels,
        recipe,
    )


def unvouched(file: Path) -> dict[str, Any]:
    """What a file says that no manifest vouches for; nothing where it is missing or damaged, and
    then the report says less.
    """
    try:
        found = files.read_json(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _ordered(folder: Path, task: str, data: Mapping[str, Any]) -> bool:
    """Whether the labels have an order. Runs of before 0.2 say so with their model only."""
    if "ordered" in data:
        return bool(data["ordered"])
    assembly = folder / "model" / "model.json"
    return bool(
        assembly.is_file() and files.read_json(assembly)["tasks"][task]["labels"]["ordered"]
    )


def gather_comparison(folder: Path) -> GatheredComparison:
    """Raises DataError where there are no figures yet."""
    cells = unvouched(folder / "cells.json").get("cells", [])
    if not (folder / "results.json").is_file():
        n_done = len({cell["run"] for cell in cells if cell["state"] == "complete"})
        n_all = len({cell["run"] for cell in cells if cell["run"]})
        raise DataError(
            f"{folder}: not a finished comparison ({n_done} of {n_all} runs are complete). "
            f"Give the command that started it once more; it goes on."
        )
    if (folder / files.MANIFEST).exists() and (wrong := files.wrong_files(folder)):
        raise DataError(
            f"{folder / name}: missing, or not as the comparison wrote it. Give its command "
            f"once more: it is written anew."
            for name in wrong
        )
    try:
        results, study = (
            files.read_json(folder / "results.json"),
            files.read_json(folder / "study.json"),
        )
        text = (folder / "recipe.yaml").read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder}: damaged ({error}). Give the command that started it once more: it is "
            f"written anew."
        ) from None
    runs, lost = {}, {}
    for name in dict.fromkeys(
        cell["run"] for cell in cells if cell["run"] and cell["state"] == "complete"
    ):
        try:
            runs[name] = gather_run(folder.resolve().parent / name)
        except EncoreError as error:
            lost[name] = error.lines[0]
    return GatheredComparison(
        folder, results, study, text, cells, unvouched(folder / "cost.json"), runs, lost
    )


def parameters(found: GatheredRun) -> int | None:
    """All parameters of a run's models, counted in its weights, or in a model built like it; None
    where neither is to be had.
    """
    weights = found.folder / "model" / "weights.safetensors"
    if weights.is_file():
        with safe_open(weights, "np") as file:
            return sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118
    if found.recipe is None:
        return None
    try:
        with offline():
            source = encoders.locate(found.recipe.encoder, base=found.recipe.base)
        poolings = {task: settings["pooling"] for task, settings in found.identity["tasks"].items()}
        models = build_skeletons(
            parts_of(found.recipe, found.labels, poolings), found.recipe, source
        )
    except EncoreError:
        return None
    return sum(parameter.numel() for parameter in unique_parameters(models).values())


def explanations(
    found: GatheredRun, task: str, texts: Texts, rows: Sequence[int]
) -> list[Explanation]:
    """Where the pooling looked on these rows; none where it has no token weights, or where the run
    keeps no model.
    """
    pooling = found.identity["tasks"][task]["pooling"]["name"]
    if not (found.folder / "model").is_dir() or not hasattr(
        catalogue.find("pooling", pooling), "weights"
    ):
        return []
    model = load(found.folder)
    chosen = model.task(task)
    if not chosen.explainable:
        return []
    first, second = (
        [texts.texts[row] for row in rows],
        None if texts.pairs is None else [texts.pairs[row] for row in rows],
    )
    return list(
        explain(
            chosen.model,
            model.tokenizer,
            first,
            second,
            max_length=chosen.max_length,
            truncation=chosen.truncation,  # type: ignore[arg-type]
        )
    )


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """A report is made of what is here: what is not, is not downloaded for it."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


# -------------------------------------------------------------------------------------------- texts


class Sources:
    """Reads the files that runs were measured on, each once. `notes` fills with what could not be
    had, and why, one line each.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._read: dict[str, TaskData | str] = {}

    def texts(
        self, found: GatheredRun, task: str, split: str, digest: str, rows: np.ndarray
    ) -> Texts | None:
        """The texts of the rows that are called (digest, rows[i]); None, with a note, where their
        file is gone or another one.
        """
        try:
            if found.recipe is None:
                raise DataError("the run's recipe is of another version of Encore.")
            dataset = self._dataset(found.recipe, task, split, digest, rows)
        except EncoreError as error:
            self._note(f"{task}, {split}: no texts are shown and no lengths: {error.lines[0]}")
            return None
        lengths, cut = self._lengths(found, found.recipe, task, dataset)
        place, places = (
            ("row", dataset.rows + 1) if dataset.lines is None else ("line", dataset.lines)
        )
        pairs = None if dataset.pairs is None else dataset.pairs.to_pylist()
        return Texts(
            Path(dataset.path).name,
            place,
            dataset.texts.to_pylist(),
            pairs,
            places,
            lengths,
            cut,
            found.recipe.tasks[task].max_length,
        )

    def _note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)

    def _dataset(
        self, recipe: Recipe, task: str, split: str, digest: str, rows: np.ndarray
    ) -> Dataset:
        """The dev set in the order of `rows`. Raises DataError."""
        how = data_settings(recipe, task)
        if "-" in (
            how["train"],
            *(how["dev"].values() if isinstance(how["dev"], dict) else [how["dev"]]),
        ):
            raise DataError("the rows came through standard input and were not kept.")
        key = repr((task, sorted(how.items(), key=str)))
        if key not in self._read:
            try:
                with offline():
                    self._read[key] = load_task(task, **how)
            except EncoreError as error:
                self._read[key] = error.lines[0]
        data = self._read[key]
        if isinstance(data, str):
            raise DataError(data)
        if split not in data.dev or data.dev[split].digest != digest:
            path = display_path(data.dev[split].path) if split in data.dev else split
            raise DataError(
                f"{path} is not the file any more that the run was measured on (its sha256 was "
                f"{digest[:12]}…)."
            )
        dataset = data.dev[split]
        at = {number: index for index, number in enumerate(dataset.rows.tolist())}
        if not set(rows.tolist()) <= set(at):
            raise DataError(
                f"{display_path(dataset.path)} is read into other rows than it was (another "
                f"version "
                f"of Encore, or of its settings)."
            )
        return dataset.take([at[number] for number in rows.tolist()])

    def _lengths(
        self, found: GatheredRun, recipe: Recipe, task: str, dataset: Dataset
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        model = found.folder / "model"
        try:
            with offline():
                tokenizer = TextTokenizer(
                    model
                    if model.is_dir()
                    else encoders.locate(recipe.encoder, base=recipe.base).folder
                )
        except EncoreError:
            tokenizer = None
        if tokenizer is None or tokenizer.digest != found.identity["tokeniser"]:
            self._note(
                f"{task}: no score by length: the tokenizer of encoder '{recipe.encoder}' is "
                f"not here, or another one."
            )
            return None, None
        settings = recipe.tasks[task]
        pair = pair_of(recipe, task)
        store = tokenize_set(
            dataset, tokenizer, pair, max_length=settings.max_length, truncation=settings.truncation
        )
        n_sides = catalogue.find("pairs", pair["name"]).n_sides
        sides = (-1, len(dataset))
        return store.lengths.reshape(sides)[:n_sides].sum(axis=0), np.asarray(
            store.cut.reshape(sides).any(axis=0)
        )

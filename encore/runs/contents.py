"""The files that each kind of folder holds in any case, which its manifest must therefore list."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Literal

from encore import files
from encore.runs.kind import FolderKind

__all__ = [
    "CHECKPOINT_FILES",
    "COMPARISON_FILES",
    "ENSEMBLE",
    "ENSEMBLE_FILES",
    "EXPORT_MARK",
    "FOLDS",
    "FOLDS_FILES",
    "MODEL_FILES",
    "OUT_OF_FOLD",
    "PRETRAIN_FILES",
    "RACE",
    "RUN_FILES",
    "SEARCH_FILES",
    "SOUP",
    "WEIGHTS",
    "Contents",
    "damaged_files",
    "foreign_files",
    "forgetting_file",
    "prediction_file",
    "weights_of_task",
]

Contents = Literal[
    "run", "model", "checkpoint", "comparison", "search", "pretraining", "ensemble", "folds"
]

RUN_FILES = (
    "recipe.yaml",
    "resolved.json",
    "data.json",
    "steps.jsonl",
    "metrics.jsonl",
    "results.json",
)
WEIGHTS = "weights.safetensors"
MODEL_FILES = ("config.json", "model.json", "tokenizer.json")  # and weights
CHECKPOINT_FILES = ("tensors.safetensors", "state.json")
COMPARISON_FILES = (
    "recipe.yaml",
    "study.json",
    "cells.json",
    "results.json",
    "table.csv",
    "table.tex",
)
RACE = "race.json"
SEARCH_FILES = ("recipe.yaml", "study.json", "trials.csv", "best.yaml", "results.json")
PRETRAIN_FILES = ("recipe.yaml", "pretraining.json", "steps.jsonl", "results.json")
ENSEMBLE = "ensemble.json"
SOUP = "soup.json"  # in the folder of a run that is the mean of others' weights
ENSEMBLE_FILES = (ENSEMBLE, "results.json")
FOLDS, OUT_OF_FOLD = "folds.json", "out_of_fold.parquet"
FOLDS_FILES = ("recipe.yaml", FOLDS, OUT_OF_FOLD, "results.json")
EXPORT_MARK = "encore_export.json"  # by which an export is known; nothing else is ever replaced
_REPORT = ("report.html", "report_figures")
# What commands write there beside the files that the manifest lists.
_BESIDE = {
    "run": (
        *(
            "environment.json",
            "cost.json",
            "lock",
            "checkpoint",
            "predictions",
            "forgetting",
            "model",
        ),
        *("test_opened.log", "test_results.json", "old_rows.json", SOUP, *_REPORT),
    ),
    "comparison": (
        *(RACE, "cost.json", "log", "jobs.json", "claims", "borrowed_weights.json"),
        *_REPORT,
    ),
    "pretraining": (
        *("start", "corpus", "checkpoint", "encoder", "steps"),
        *("cost.json", "compare.yaml", "lock"),
    ),
    "ensemble": (
        *("members", "tokenizers", "predictions", "lock", "decision.json"),
        *("test_opened.log", "test_results.json", *_REPORT),
    ),
    "folds": _REPORT,
    "search": ("cost.json", "log", "figures", "study.db", "study.db-journal", *_REPORT),
}


def weights_of_task(task: str) -> str:
    """The name of a task's weights, where each task is kept at its own best epoch."""
    return f"weights-{task}.safetensors"


def prediction_file(task: str, split: str, epoch: int) -> str:
    """The name of the predictions on a dev set after an epoch, relative to the run's folder."""
    return f"predictions/{task}/{split}-{epoch}.parquet"


def forgetting_file(task: str, split: str, epoch: int) -> str:
    """The name of the scores of a task that an earlier run trained, relative to the folder."""
    return f"forgetting/{task}/{split}-{epoch}.parquet"


def damaged_files(folder: Path, contents: Contents) -> list[str]:
    """The files of a complete folder that are missing, changed, or links; the manifest itself where
    it does not list all that such a folder holds.
    """
    try:
        required = _REQUIRED[contents](folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # A file that says what else there must be is damaged, which the manifest then shows.
        required = _ALWAYS[contents]
    return files.wrong_files(folder, required)


def foreign_files(folder: Path, kind: FolderKind) -> list[str]:
    """The names in a folder of this kind that no command of Encore wrote there, sorted."""
    if kind == "export":
        listed = _listed(folder)
        known = listed if EXPORT_MARK in listed else set()
        names = {
            str(file.relative_to(folder))
            for file in folder.rglob("*")
            if file.is_symlink() or not file.is_dir()
        }
    else:
        known = set() if kind == "nothing" else {*_ALWAYS[kind], *_BESIDE[kind]}
        names = {entry.name for entry in folder.iterdir()}
    if known:
        known.add(files.MANIFEST)
    return sorted(name for name in names - known if not _is_half_written(Path(name)))


def _is_half_written(path: Path) -> bool:
    return path.name.startswith(".") and path.suffix in (".part", ".gone", ".new")


def _listed(folder: Path) -> set[str]:
    """The names in the manifest of a folder; none where it is missing or damaged."""
    try:
        return {str(name) for name in files.read_json(folder / files.MANIFEST)}
    except (OSError, ValueError, TypeError):
        return set()


def _of_run(folder: Path) -> Collection[str]:
    lines = files.read_text(folder / "metrics.jsonl").splitlines()
    predictions = {
        name(task, split, record["epoch"])
        for record in map(json.loads, lines)
        for key, name in (("dev", prediction_file), ("forgetting", forgetting_file))
        for task, sets in record.get(key, {}).items()
        for split in sets
    }
    model = folder / "model"
    names = (files.MANIFEST, *_of_model(model)) if model.is_dir() else ()
    return {*RUN_FILES, *predictions, *(f"model/{name}" for name in names)}


def _of_model(folder: Path) -> Collection[str]:
    if (folder / WEIGHTS).exists():
        return (*MODEL_FILES, WEIGHTS)
    return (*MODEL_FILES, *map(weights_of_task, files.read_json(folder / "model.json")["tasks"]))


def _of_comparison(folder: Path) -> Collection[str]:
    raced = "race" in files.read_json(folder / "study.json")
    return (*COMPARISON_FILES, RACE) if raced else COMPARISON_FILES


def _of_search(folder: Path) -> Collection[str]:
    about = folder / "figures" / "about.json"
    if not about.exists():
        return SEARCH_FILES
    drawn = [f"figures/{name}{end}" for name in files.read_json(about) for end in (".svg", ".csv")]
    return (*SEARCH_FILES, "figures/about.json", *drawn)


def _of_ensemble(folder: Path) -> Collection[str]:
    members = files.read_json(folder / ENSEMBLE).get("members")
    own = ("recipe.yaml", "data.json", *MODEL_FILES[:2], "tensors.json", WEIGHTS)
    tokenizers = {f"tokenizers/{one.get('tokenizer')}/tokenizer.json" for one in members}
    of_members = {f"members/{n}/{name}" for n in range(1, len(members) + 1) for name in own}
    return {*ENSEMBLE_FILES, *tokenizers, *of_members}


_ALWAYS: Mapping[Contents, tuple[str, ...]] = {
    "run": RUN_FILES,
    "model": MODEL_FILES,
    "checkpoint": CHECKPOINT_FILES,
    "comparison": COMPARISON_FILES,
    "search": SEARCH_FILES,
    "pretraining": PRETRAIN_FILES,
    "ensemble": ENSEMBLE_FILES,
    "folds": FOLDS_FILES,
}
_REQUIRED: Mapping[Contents, Callable[[Path], Collection[str]]] = {
    "run": _of_run,
    "model": _of_model,
    "checkpoint": lambda _: CHECKPOINT_FILES,
    "comparison": _of_comparison,
    "search": _of_search,
    "pretraining": lambda _: PRETRAIN_FILES,
    "ensemble": _of_ensemble,
    "folds": lambda _: FOLDS_FILES,
}

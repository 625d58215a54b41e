"""`encore ls`: the runs in a folder, the named tasks, the recipes that come with Encore, the
techniques of all kinds or of one.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from encore import catalogue, files
from encore.cli.output import console, print_json, say
from encore.cli.run_listing import runs, runs_table
from encore.data import named
from encore.errors import RecipeError, did_you_mean
from encore.experiments.cell_state import NEEDED
from encore.experiments.search_space import N_TRIALS
from encore.experiments.study_keys import N_SEEDS
from encore.recipe import builtin
from encore.recipe.digest import settings_digest
from encore.recipe.load import load_recipe
from encore.recipe.located_yaml import read_yaml
from encore.recipe.schema import STUDY
from encore.recipe.values import to_plain
from encore.recipe.write import anchored, to_yaml
from encore.runs.identity import RESULTS_VERSION
from encore.runs.kind import FolderKind, folder_kind
from encore.tables.listing import Listing, show

__all__ = [
    "list_things",
    "named_tasks",
    "recipes",
    "recipes_table",
    "table",
    "techniques",
]


def list_things(what: str | None, runs_folder: Path, *, json_: bool) -> None:
    """Print the runs in a folder, the named tasks, the recipes, all techniques, or those of one
    kind. what: None for runs, also a folder that holds some. Raises RecipeError for an unknown
    kind.
    """
    known = ["runs", "tasks", "recipes", "techniques", *catalogue.kinds()]
    if what is not None and what not in known and Path(what).is_dir():
        what, runs_folder = "runs", Path(what)
    if what is not None and what not in known:
        raise RecipeError(f"encore ls: nothing called '{what}'. {did_you_mean(what, known)}")
    if what is None or what == "runs":
        listed = runs(runs_folder)
        found, listing = [run.to_json() for run in listed], runs_table(listed)
    elif what == "recipes":
        found = recipes(runs_folder)
        listing = recipes_table(found)
    else:
        found = named_tasks() if what == "tasks" else techniques(what)
        listing = table(found)
    if json_:
        print_json({what or "runs": found})
    elif not found:
        say(f"no runs in {runs_folder}. Start one: encore train FILE.csv")
    else:
        show(listing, console())


def named_tasks() -> list[dict[str, Any]]:
    """Every named task, what it is, and where its files are."""
    found = []
    for name in named.task_names():
        task = named.read_named_tasks()[name]
        what = {
            "binary": "two classes",
            "multiclass": f"{len(task.labels)} classes",
            "regression": "a number",
            "unlabelled": "nothing",
        }[task.kind]
        official = "yes" if task.official is True else "no"
        found.append(
            {
                "task": name,
                "predicts": what,
                "of": "pairs" if task.text_pair else "texts",
                "metrics": ", ".join(task.metrics),
                "official": official,
            }
        )
        found[-1]["files"] = named.whereabouts(name)
    return found


def recipes(folder: Path) -> list[dict[str, Any]]:
    """Every recipe that comes with Encore: what it repeats, how many runs that takes, and what
    there is of it in a folder of runs.

    `found`: per comparison (or for all runs of a recipe for one run) the settings that were
    changed, and how many of its runs are complete. `verified`: the records of docs/results.py.
    Nothing is computed, and no data is read.
    """
    verified = builtin.verified_results()
    return [_recipe(name, folder, verified.get(name, [])) for name in builtin.recipe_names()]


def _recipe(name: str, folder: Path, verified: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    file = builtin.recipe_path(name)
    content = file.read_bytes()
    settings = to_plain(read_yaml(content.decode(), str(file)))
    command = _command_for(settings)
    n_seeds = len(settings.get("seeds") or range(N_SEEDS))
    n_runs = {
        "train": 1,
        "pretrain": len(settings.get("variants") or [""]),
        "tune": (settings.get("trials") or N_TRIALS) * (settings.get("seeds_per_trial") or 1)
        + n_seeds,
        "compare": math.prod(
            [
                *map(len, (settings.get("each") or {}).values()),
                1 + len(settings.get("variants") or {}),
                n_seeds,
            ]
        ),
    }[command]
    digest = settings_digest(settings)
    if command == "train":
        found = _runs_of(folder, name, settings.get("source"))
    elif command == "pretrain":
        found = []
    else:
        found = _made_with(
            content,
            sorted(folder.glob(f"{command}-{file.stem}-*")),
            "search" if command == "tune" else "comparison",
            _of_search if command == "tune" else _of_comparison,
        )
    records = [
        {**record, "recipe_unchanged": record["settings_sha256"] == digest} for record in verified
    ]
    entry = {"source": settings.get("source"), "recipe": name, "command": command, "runs": n_runs}
    return entry | {
        "status": _status(found, records),
        "found": found,
        "verified": records,
        "file": str(file),
    }


def _command_for(settings: Mapping[str, Any]) -> str:
    if "texts" in settings:
        return "pretrain"
    if "search" in settings:
        return "tune"
    return "compare" if any(key in settings for key in STUDY) else "train"


def _made_with(
    content: bytes,
    folders: Sequence[Path],
    kind: FolderKind,
    counted: Callable[[Path, Mapping[str, Any]], tuple[int, int]],
) -> list[dict[str, Any]]:
    """The comparisons or searches among the folders that were made with this very recipe. counted:
    (folder, its study.json) → (complete runs, runs).
    """
    found = []
    for each in folders:
        try:
            study = files.read_json(each / "study.json")
            if folder_kind(each) == kind and files.read_bytes(each / "recipe.yaml") == content:
                n_complete, n_runs = counted(each, study)
                found.append(
                    {
                        "folder": str(each),
                        "with": " ".join(study["overrides"]),
                        "complete": n_complete,
                        "runs": n_runs,
                    }
                )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # one that was killed before its first file, or something else of that name
    return found


def _of_comparison(folder: Path, study: Mapping[str, Any]) -> tuple[int, int]:
    names = {
        cell["run"]
        for cell in files.read_json(folder / "cells.json")["cells"]
        if cell["run"] and cell["state"] in NEEDED
    }
    return sum((folder.parent / name / files.MANIFEST).exists() for name in names), len(names)


def _of_search(folder: Path, study: Mapping[str, Any]) -> tuple[int, int]:
    n_runs = study["trials"] * study["seeds_per_trial"] + len(study["seeds"])
    if (folder / files.MANIFEST).exists():
        return n_runs, n_runs
    return sum(
        len(line["runs"].split())
        for line in csv.DictReader(_read(folder / "trials.csv").splitlines())
    ), n_runs


def _runs_of(folder: Path, name: str, source: str | None) -> list[dict[str, Any]]:
    """The runs of a recipe for a single run, whatever their seed."""
    likely = [
        file
        for file in sorted(folder.glob("*/recipe.yaml"))
        if (file.parent / "resolved.json").exists() and str(source) in _read(file)
    ]
    if not likely:
        return []
    same = _but_seed(to_yaml(anchored(load_recipe(builtin.recipe_path(name)))))
    names = [file.parent for file in likely if _but_seed(_read(file)) == same]
    n_complete = sum((run / files.MANIFEST).exists() for run in names)
    return (
        [{"folder": str(folder), "with": "", "complete": n_complete, "runs": len(names)}]
        if names
        else []
    )


def _read(file: Path) -> str:
    try:
        return files.read_text(file)
    except (OSError, ValueError):
        return ""


def _but_seed(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("seed:")]


def _status(found: Sequence[Mapping[str, Any]], records: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for record in records[-1:]:
        changed = "" if record["recipe_unchanged"] else ", before the recipe was changed"
        parts.append(
            f"verified on {record['date']}{_with(record['with'])} ({record['runs']} runs{changed})"
            f"{_of_another_version(record)}"
        )
    for one in found:
        n, of = one["complete"], one["runs"]
        parts.append(
            f"{'complete' if n == of else f'{n} of {of} runs complete'}"
            f"{_with(one['with'])}{f' ({of} runs)' if n == of else ''}"
        )
    return "; ".join(parts) or "not run here"


def _of_another_version(record: Mapping[str, Any]) -> str:
    """With which results version the figures were made, where the code is at another."""
    version = record.get("results_version", RESULTS_VERSION)
    if version == RESULTS_VERSION:
        return ""
    return f", with results version {version}; the code is at {RESULTS_VERSION}"


def _with(settings: str) -> str:
    return f" with {settings}" if settings else ""


def recipes_table(found: Sequence[Mapping[str, Any]]) -> Listing:
    """Paper and table → recipe → status."""
    rows = tuple(
        (
            entry["source"] or "",
            entry["recipe"],
            entry["command"],
            f"{entry['runs']:,}",
            entry["status"],
        )
        for entry in found
    )
    notes = ("To run one: encore COMMAND RECIPE; encoder=minilm runs it without a network.",)
    return Listing(
        "", ("source", "recipe", "command", "runs", "status"), rows, notes, frozenset({3})
    )


def techniques(kind: str) -> list[dict[str, Any]]:
    """Every technique of a kind, or of all kinds ("techniques"), with its first sentence."""
    if kind == "techniques":
        return [{"kind": one, **entry} for one in catalogue.kinds() for entry in techniques(one)]
    return [{"name": name, "what": catalogue.about(kind, name)} for name in catalogue.names(kind)]


def table(found: Sequence[Mapping[str, Any]]) -> Listing:
    """Equal entries as lines."""
    missing = any(entry.get("files") == "not here" for entry in found)
    notes = (
        (
            "files: set ENCORE_DATA to a folder that holds those not here, or ENCORE_DATA_REPO "
            "to a Hugging Face data set that does.",
        )
        if missing
        else ()
    )
    return Listing("", tuple(found[0]), tuple(tuple(entry.values()) for entry in found), notes)

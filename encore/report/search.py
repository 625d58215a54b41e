"""The report of a search as a page: the best configuration on fresh seeds, beside it the tuned
figure; the figures, and every trial.
"""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from encore import files
from encore.errors import DataError, hide_credentials
from encore.evaluation.search_record import SearchRecord
from encore.report.drawing import undescribed
from encore.report.figures import Figure
from encore.report.gather import unvouched
from encore.report.page import Code, Facts, Notes, Page, Section, slug
from encore.runs.contents import damaged_files
from encore.tables.formatting import format_duration, format_setting
from encore.tables.listing import Listing
from encore.tables.search import search_tables
from encore.types import DEFAULTS

__all__ = ["page"]


def page(folder: Path) -> Page:
    """Raises DataError where the search is not complete, or not as it was written."""
    if not (folder / files.MANIFEST).exists():
        raise DataError(
            f"{folder}: not a complete search (no {files.MANIFEST}). Run the command that "
            f"started it again; it resumes."
        )
    if wrong := damaged_files(folder, "search"):
        raise DataError(
            f"{folder / name}: missing, or not as the search wrote it. Run the command that "
            f"started it again."
            for name in wrong
        )
    record = SearchRecord.from_json(files.read_json(folder / "results.json"))
    study = files.read_json(folder / "study.json")
    tables = search_tables(record)
    about = (
        f"Search {folder.resolve().name}: {study['trials']} trials over "
        f"{', '.join(study['search'])}, by {record.deciding}."
    )
    fresh = folder.parent / record.fresh.comparison
    sections = (
        Section("Results", tuple(tables)),
        Section("Figures", tuple(_pictures(folder / "figures"))),
        Section("Trials", (_trials(folder, list(study["search"])),)),
        Section("Cost", (_cost(folder),)),
        Section("Reproduction", tuple(_repeat(folder, study, fresh))),
    )
    return Page(
        study["name"],
        about,
        folder.resolve().name,
        (Notes(record.notes),) if record.notes else (),
        sections,
    )


def _pictures(folder: Path) -> Iterator[Figure]:
    """The figures as the search drew them."""
    for name, description in files.read_json(folder / "about.json").items():
        with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            columns, *rows = csv.reader(file)
        svg = undescribed((folder / f"{name}.svg").read_text(encoding="utf-8"))
        yield Figure(
            slug(name),
            description["title"],
            description["alt"],
            description["caption"],
            tuple(columns),
            tuple(map(tuple, rows)),
            svg,
        )


def _trials(folder: Path, paths: list[str]) -> Listing:
    with (folder / "trials.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    rows = [
        (
            line["trial"],
            line["state"],
            _short(line["value"]),
            *(_short(line[path]) for path in paths),
            line["runs"] or line["problems"],
        )
        for line in lines
    ]
    notes = (
        ("pruned: stopped early; the value is the last one reported.",)
        if any(line["state"] == "pruned" for line in lines)
        else ()
    )
    return Listing(
        "", ("trial", "state", "value", *paths, "runs"), tuple(rows), notes, frozenset({0, 2})
    )


def _short(cell: str) -> str:
    try:
        return format_setting(json.loads(cell))
    except ValueError:
        return cell


def _cost(folder: Path) -> Facts:
    cost = unvouched(folder / "cost.json")
    if not cost:
        return Facts((("time", "not known"),))
    spent = sum(seconds or 0.0 for seconds in cost["trials"].values())
    return Facts(
        (
            ("runs of complete trials", format_duration(spent)),
            ("the last command, from its start to its end", format_duration(cost["seconds"])),
        )
    )


def _repeat(folder: Path, study: Mapping[str, Any], fresh: Path) -> Iterator[Any]:
    how = [] if study["sampler"] == DEFAULTS.sampler else ["--sampler", study["sampler"]]
    how += [] if study["pruner"] == "none" else ["--pruner", study["pruner"]]
    yield Code(
        "With the recipe below:",
        shlex.join(
            [
                "encore",
                "tune",
                f"{study['name']}.yaml",
                *study["overrides"],
                "-n",
                str(study["trials"]),
                *how,
            ]
        ),
    )
    yield Code(
        "The best configuration alone:", shlex.join(["encore", "train", str(folder / "best.yaml")])
    )
    yield Facts(
        (
            ("sampler", study["sampler"]),
            ("pruner", study["pruner"]),
            ("seed of the search and of its trials", ", ".join(map(str, study["trial_seeds"]))),
            ("fresh seeds", ", ".join(map(str, study["seeds"]))),
            ("trials are kept in", hide_credentials(study["storage"])),
            ("runs with fresh seeds", fresh.name),
        )
    )
    digests = [
        (name, files.sha256(folder / name))
        for name in ("results.json", "trials.csv", "recipe.yaml", files.MANIFEST)
    ]
    yield Listing("Digests (sha256)", ("what", "digest"), tuple(digests))
    yield Code("best.yaml", (folder / "best.yaml").read_text(encoding="utf-8"), folded=True)
    yield Code(
        f"{study['name']}.yaml", (folder / "recipe.yaml").read_text(encoding="utf-8"), folded=True
    )

"""The kind of a folder that Encore wrote: a run, an ensemble, a cross-validation, a comparison, a
search, an export.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from encore import files

__all__ = ["FolderKind", "folder_kind"]

FolderKind = Literal[
    "run", "comparison", "search", "export", "pretraining", "ensemble", "folds", "nothing"
]


def folder_kind(folder: Path) -> FolderKind:
    """The kind, by files that such a folder has in any case: no file holds it, so that folders of
    every version are recognised. "nothing": a file, no folder, or a folder of something else.
    """
    if (folder / "study.json").is_file():
        return "search" if _has_sampler(folder / "study.json") else "comparison"
    if (folder / "resolved.json").is_file():
        return "run"
    if (folder / "pretraining.json").is_file():
        return "pretraining"
    if (folder / "ensemble.json").is_file():
        return "ensemble"
    if (folder / "folds.json").is_file():
        return "folds"
    if not (folder / files.MANIFEST).is_file():
        return "nothing"
    # A run that has lost its resolved.json is still a run, though a damaged one.
    exported = ("config.json", "modules.json")
    return "export" if any((folder / name).is_file() for name in exported) else "run"


def _has_sampler(study: Path) -> bool:
    try:
        found = files.read_json(study)
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and "sampler" in found

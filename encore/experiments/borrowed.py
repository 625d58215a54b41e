"""The runs that keep their weights for others to start from, and only until the comparison ends.

They are listed in its folder, in borrowed_weights.json, so that the command that ends the
comparison removes the weights, whichever command or worker computed them.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from encore import files
from encore.runs.model_folder import drop_model
from encore.runs.places import is_kept

__all__ = ["BORROWED", "drop_borrowed", "record_borrowed"]

BORROWED = "borrowed_weights.json"


def record_borrowed(folder: Path, names: Collection[str]) -> None:
    """List these runs, before they are computed, beside those that are listed already."""
    files.write_json(folder / BORROWED, sorted({*_listed(folder), *names}))


def drop_borrowed(folder: Path, runs: Path) -> None:
    """Remove the weights of the listed runs, then the list."""
    for name in _listed(folder):
        if is_kept(runs / name):
            drop_model(runs / name)
    (folder / BORROWED).unlink(missing_ok=True)


def _listed(folder: Path) -> list[str]:
    try:
        return [str(name) for name in files.read_json(folder / BORROWED)]
    except (FileNotFoundError, ValueError):
        return []

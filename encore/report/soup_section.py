"""Adds to the report of a run how its weights were made of those of other runs."""

from __future__ import annotations

import shlex
from pathlib import Path

from encore.report.page import Section
from encore.runs.contents import SOUP
from encore.runs.soup import MadeSoup, read_soup
from encore.tables.ensembles import ensemble_tables

__all__ = ["command_again", "soup_of", "soup_section"]


def soup_of(folder: Path) -> MadeSoup | None:
    """The soup that the folder of a run holds; None of a run that was trained. Raises DataError
    where it is damaged.
    """
    return read_soup(folder) if (folder / SOUP).is_file() else None


def soup_section(made: MadeSoup) -> Section:
    """The candidates, and the figures on the rows that chose them beside the cross-fitted ones."""
    return Section("Soup", tuple(ensemble_tables(made.results, f"{made.method} soup", "soup")))


def command_again(made: MadeSoup) -> str:
    """The command that makes it again where its candidates are."""
    candidates = [one.name for one in made.results[0].members]
    words = ["encore", "soup", *candidates, "--method", made.method, "--seed", str(made.seed)]
    return shlex.join([*words, "--runs", "."])

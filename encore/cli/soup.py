"""`encore soup`: the mean of the weights of several runs as one model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from encore.cli.output import announce, print_json, say
from encore.data.table import display_path

__all__ = ["soup_command"]


def soup_command(
    members: Sequence[Path], runs: Path, *, method: str, seed: int, json_: bool, quiet: bool
) -> None:
    """Make the soup and print its figures. Raises RecipeError, DataError or TrainingError."""
    from encore.runs.soup import soup
    from encore.tables.ensembles import ensemble_tables
    from encore.tables.listing import show_all

    made = soup(members, method=method, seed=seed, runs=runs)
    announce(made.notes, quiet=quiet)
    if json_:
        print_json(made.to_json())
        return
    show_all(ensemble_tables(made.results, f"{method} soup", "soup"))
    there = " (was there already)" if made.already_complete else ""
    n_all = len(made.results[0].members)
    say(f"run: {display_path(made.folder)}{there}, the mean of {len(made.members)} of {n_all} runs")

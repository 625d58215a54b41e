"""`encore ensemble`: several trained runs as one that predicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from encore.cli.output import announce, print_json, say
from encore.data.table import display_path, plural
from encore.errors import RecipeError

__all__ = ["ensemble_command", "floors"]


def floors(given: Sequence[str]) -> dict[str, float]:
    """Task → figure, of `--at-least .53` (for every task, under "") or `sst5=.53`. Raises
    RecipeError.
    """
    found: dict[str, float] = {}
    for word in given:
        task, _, value = word.rpartition("=")
        try:
            found[task.strip()] = float(value)
        except ValueError:
            raise RecipeError(
                f"--at-least: expected a figure of the first metric as a fraction, such as 0.53 or "
                f"sst5=0.53, got '{word}'."
            ) from None
    return found


def ensemble_command(
    runs: Sequence[Path],
    place: Path,
    *,
    json_: bool,
    quiet: bool,
    at_least: Sequence[str],
    **settings: str | int | tuple[str, ...] | None,
) -> None:
    """Make the ensemble and print its figures. Raises RecipeError, DataError or TrainingError."""
    from encore.runs.ensemble import EnsembleSettings, make_ensemble
    from encore.tables.ensembles import ensemble_tables
    from encore.tables.listing import show_all

    chosen = EnsembleSettings(at_least=floors(at_least) or None, **settings)  # type: ignore[arg-type]
    made = make_ensemble(runs, chosen, place)
    announce(made.notes, quiet=quiet)
    if json_:
        print_json(made.to_json())
        return
    show_all(ensemble_tables(made.results, chosen.method))
    there = " (was there already)" if made.already_complete else ""
    say(f"ensemble: {display_path(made.folder)}{there}, {plural(len(made.members), 'member')}")

"""The notes on a contrast that tables treat apart: each sentence is written here only, so that a
note can be recognised without reading it.
"""

from __future__ import annotations

from collections.abc import Iterable

from encore.evaluation.claims import FEWEST_SEEDS

__all__ = [
    "collapsed_note",
    "failed_note",
    "few_rows_note",
    "few_seeds_note",
    "seeds_in_words",
]

_FEW_ROWS = 30


def failed_note(name: str, seed: int, reason: str) -> str:
    """The note on a failed run."""
    return f"{name}, seed {seed}: {reason}"


def collapsed_note(name: str, collapsed: Iterable[int], n_seeds: int) -> str:
    """The note on collapsed runs. collapsed: their seeds."""
    seeds = list(collapsed)
    return f"{name}: {len(seeds)} of {n_seeds} runs collapsed ({seeds_in_words(seeds)})"


def few_seeds_note(n_seeds: int) -> str | None:
    """The note on too few seeds for a verdict; None where there are enough, or none at all."""
    if n_seeds == 1:
        return "one seed says nothing about other seeds"
    if n_seeds == 2:
        return f"two seeds are too few for a verdict: run {FEWEST_SEEDS} or more"
    return None


def few_rows_note(n_seeds: int, n_rows: int) -> str | None:
    """The note on too few rows for an interval; None where there are enough, or no seeds."""
    if n_seeds and n_rows < _FEW_ROWS:
        return f"{n_rows} rows are too few for an interval to be trusted"
    return None


def seeds_in_words(seeds: Iterable[int]) -> str:
    """ "seed 1", "seeds 1, 2"."""
    words = [str(seed) for seed in seeds]
    return f"seed{'s' if len(words) > 1 else ''} {', '.join(words)}"

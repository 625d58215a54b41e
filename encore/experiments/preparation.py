"""Reads, checks and tokenizes what the runs of a comparison need, each file once."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from encore import files
from encore.errors import Complaints, RecipeError
from encore.experiments.variants import Cell, Study
from encore.runs.cache import Cache
from encore.runs.compatibility import NotApplicable
from encore.runs.cross_validation import check_unseen
from encore.runs.prepare import prepare
from encore.runs.prepared import Prepared

__all__ = [
    "PreparedCell",
    "PreparedComparison",
    "distinct_runs",
    "prepare_comparison",
    "ready_to_fork",
]

_VERSION = 1  # raised by hand when the same runs give another results.json


class PreparedCell(NamedTuple):
    """A cell and its run; where it cannot apply, run is None and why is the reason."""

    cell: Cell
    run: Prepared | None
    why: str = ""


def distinct_runs(seeds: Sequence[int], cells: Sequence[PreparedCell]) -> dict[str, Prepared]:
    """Run name → run, in the order in which they are computed: the first seed of everything comes
    before the second seed of anything.
    """
    ordered = sorted(cells, key=lambda each: seeds.index(each.cell.seed))
    return {each.run.name: each.run for each in ordered if each.run is not None}


@dataclass(frozen=True)
class PreparedComparison:
    """A study whose cells are ready to run: those of the table, in the study's order, and those of
    the screening of a race likewise.
    """

    study: Study
    cells: tuple[PreparedCell, ...]
    screening: tuple[PreparedCell, ...] = ()

    @property
    def distinct(self) -> dict[str, Prepared]:
        """Run name → run of the table, in the order in which they are computed."""
        return distinct_runs(self.study.seeds, self.cells)

    def cells_of(self, point: Mapping[str, Any]) -> list[PreparedCell]:
        """The table's cells of one study."""
        return [each for each in self.cells if each.cell.point == point]

    def screening_of(self, point: Mapping[str, Any]) -> list[PreparedCell]:
        """The screening's cells of one study."""
        return [each for each in self.screening if each.cell.point == point]

    @property
    def name(self) -> str:
        """The comparison folder's name: the recipe's for people, and a hash of the runs and of
        what they are compared with.
        """
        cells = [
            [
                each.cell.study,
                each.cell.variant,
                each.cell.seed,
                each.run.name if each.run else each.why,
                *([] if each.cell.fold is None else [each.cell.fold]),
            ]
            for each in self.cells
        ]
        expected = [sorted(each.cell.recipe.expect.items()) for each in self.cells]
        race = self.study.race
        raced: list[Any] = []
        if race is not None:
            screened = [each.run.name if each.run else None for each in self.screening]
            raced = [[race.factor, list(race.seeds), screened]]
        digest = hashlib.sha256(
            files.canonical([_VERSION, cells, expected, self.study.reference, *raced])
        )
        return f"compare-{self.study.name}-{digest.hexdigest()[:10]}"


def prepare_comparison(study: Study) -> PreparedComparison:
    """Read and tokenize what the cells need, each file once. Raises RecipeError or DataError with
    everything that is wrong, or where no cell applies.
    """
    cache, complaints = Cache(), Complaints()
    ready: list[PreparedCell] = []
    with ready_to_fork():
        for cell in (*study.cells, *study.screening):
            with complaints.collecting():
                ready.append(_prepared(cell, cache))
    complaints.raise_any()
    if not any(each.run for each in ready):
        raise RecipeError(
            dict.fromkeys(f"{each.cell.study}, {each.cell.variant}: {each.why}" for each in ready)
        )
    n = len(study.cells)
    return PreparedComparison(study, tuple(ready[:n]), tuple(ready[n:]))


@contextlib.contextmanager
def ready_to_fork() -> Iterator[None]:
    """A context in which this process may read and prepare what forked copies of it compute."""
    # Otherwise asking whether there is a GPU would bind this process to it.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    # Otherwise tokenizers warns in every copy of this process.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    before = torch.get_num_threads()
    # Threads that torch starts here would be missing from the copies, which wait for them.
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _prepared(cell: Cell, cache: Cache) -> PreparedCell:
    """The run of a cell, or why it cannot be run: the reason names no folder, since results.json
    holds it and must not depend on where the recipe lies.
    """
    if cell.idle:
        return PreparedCell(cell, None, cell.idle)
    try:
        run = prepare(cell.recipe, cache)
        if cell.fold is not None:
            check_unseen(run)
        return PreparedCell(cell, run)
    except NotApplicable:
        try:
            return PreparedCell(cell, prepare(cell.recipe.placeless, cache))
        except NotApplicable as error:
            return PreparedCell(cell, None, " ".join(error.lines))

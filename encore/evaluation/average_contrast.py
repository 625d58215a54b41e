"""Variants against the reference in an average over tasks, seed by seed."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from encore.evaluation.claims import FEWEST_SEEDS, Claim, Contrast
from encore.evaluation.contrast import Contrasts, judged_together, with_tests
from encore.evaluation.contrast_notes import few_seeds_note
from encore.evaluation.intervals import Components, combined, components
from encore.evaluation.seed_runs import Arm

__all__ = ["AverageColumn", "contrast_averages"]


@dataclass(frozen=True)
class AverageColumn:
    """A column of an average: a metric on one dev set, of all variants. rows: what the rows are
    called; columns of the same rows are not independent of each other.
    """

    weight: float
    rows: Hashable
    compared: Contrasts

    def arm(self, name: str) -> Arm | None:
        """The arm of this name, None where it has left a race or could not be run."""
        arms = (self.compared.baseline, *self.compared.variants)
        return next((one for one in arms if one.name == name and one.seeds), None)


def contrast_averages(
    columns: Sequence[AverageColumn], variants: Sequence[str], reference: str
) -> dict[str, Contrast]:
    """The contrast of each variant that has all columns, judged together (Holm). Higher is better
    in every column.

    A seed's average is the weighted sum over columns, so the interval for these dev sets is that of
    a paired t over seeds; for new examples, every dev set adds what its own rows make uncertain.
    """
    if not columns:
        return {}
    theirs = [column.arm(reference) for column in columns]
    found, n_left = [], 0
    for name in (one for one in variants if one != reference):
        mine = [column.arm(name) for column in columns]
        pairs = [
            (a, b) for a, b in zip(mine, theirs, strict=True) if a is not None and b is not None
        ]
        if len(pairs) == len(columns):
            found.append((name, pairs))
        else:
            n_left += 1
    contrasts = [
        _contrast(name, columns, pairs, n_variants=len(found), n_left=n_left)
        for name, pairs in found
    ]
    judged = judged_together(contrasts, 1, n_left)
    return {one.variant: one for one in judged if one.seeds}


def _contrast(
    name: str,
    columns: Sequence[AverageColumn],
    pairs: Sequence[tuple[Arm, Arm]],
    *,
    n_variants: int,
    n_left: int,
) -> Contrast:
    """One contrast before Holm."""
    seeds = sorted(set.intersection(*(set(arm.seeds) for pair in pairs for arm in pair)))
    values, base_values = (
        np.sum(
            [
                column.weight * np.array([arm.values[arm.seeds.index(seed)] for seed in seeds])
                for column, arm in zip(columns, of, strict=True)
            ],
            axis=0,
        )
        for of in ([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    )
    differences = values - base_values
    note = few_seeds_note(len(seeds))
    found = Contrast(
        name,
        tuple(seeds),
        tuple(differences.tolist()),
        float(differences.mean()) if seeds else None,
        None,
        None,
        None,
        None,
        (note,) if note else (),
    )
    if len(seeds) < FEWEST_SEEDS:
        return found
    parts = _parts(columns, pairs, seeds, differences)
    # Every column's metric lies between −1 and 1.
    farthest = 2 * sum(column.weight for column in columns)
    tested = with_tests(
        found,
        values,
        base_values,
        parts,
        n_variants=n_variants,
        n_left=n_left,
        farthest=farthest,
    )
    return replace(tested, new_examples=_without_rows(tested.new_examples))


def _parts(
    columns: Sequence[AverageColumn],
    pairs: Sequence[tuple[Arm, Arm]],
    seeds: Sequence[int],
    differences: np.ndarray,
) -> Components | None:
    """The parts of the difference over seeds and the rows of all dev sets; None where none of them
    has two rows.
    """
    gaps: dict[Hashable, np.ndarray] = {}
    for column, (arm, base) in zip(columns, pairs, strict=True):
        mine, theirs = ([one.seeds.index(seed) for seed in seeds] for one in (arm, base))
        gap = column.weight * (arm.shares[mine] - base.shares[theirs])
        gaps[column.rows] = gaps.get(column.rows, 0.0) + gap
    measured = [components(gap) for gap in gaps.values() if gap.shape[1] > 1]
    return combined(measured, differences) if measured else None


def _without_rows(claim: Claim | None) -> Claim | None:
    """No number of rows is advice: it would be one of several dev sets."""
    return None if claim is None else replace(claim, rows_needed=None)

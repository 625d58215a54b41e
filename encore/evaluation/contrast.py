"""Variants against a baseline, over several seeds on one dev set: differences, intervals, tests and
verdicts.

Pure functions: raw scores in, frozen results out. All figures are in the metric's own unit
(fractions, never percent); a difference is variant − baseline. The mathematics is in
`encore.evaluation.intervals`; each row's contribution to a metric, in
`encore.evaluation.influence`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from encore.evaluation.claims import FEWEST_SEEDS, Claim, Contrast, Stability, finite
from encore.evaluation.clusters import shares_of_groups
from encore.evaluation.contrast_notes import (
    collapsed_note,
    failed_note,
    few_rows_note,
    few_seeds_note,
    seeds_in_words,
)
from encore.evaluation.intervals import (
    Components,
    Student,
    VarianceRatio,
    components,
    for_new_rows,
    for_these_rows,
    holm,
    rows_needed,
    seeds_needed,
    sign_flip_p,
    variance_ratio,
)
from encore.evaluation.metric import Metric
from encore.evaluation.seed_runs import Arm, SeedRuns, measure_variant
from encore.types import LabelSpace

__all__ = ["Contrasts", "compare_variants", "judged_together", "with_tests"]

_LEVEL = 0.05


@dataclass(frozen=True)
class Contrasts:
    """One metric on one dev set: `contrasts` are in the order of `variants`."""

    metric: str
    n_rows: int
    baseline: Arm
    variants: tuple[Arm, ...]
    contrasts: tuple[Contrast, ...]


def compare_variants(
    baseline: SeedRuns,
    variants: Sequence[SeedRuns],
    targets: np.ndarray,
    labels: LabelSpace,
    metric: Metric,
    *,
    n_left: int = 0,
    groups: np.ndarray | None = None,
) -> Contrasts:
    """Measure every run, compare every variant with the baseline seed by seed, and test all of them
    together (Holm, at .05).

    groups: (rows,) numbers of rows that belong together. New examples are then new groups.

    n_left: variants that were left out because of what runs with other seeds showed on these very
    rows. For new examples they count as tests that found nothing, since that choice has seen the
    rows; for this dev set they do not, since it has not seen the seeds.

    A hierarchical bootstrap over seeds and rows is not offered: with 3 to 5 seeds it makes a false
    claim in up to 21 % of null studies.

    Raises DataError where scores do not fit the targets, RecipeError where the metric is not for
    this kind of task.
    """
    base = measure_variant(baseline, targets, labels, metric)
    low, high = metric.bounds
    arms = tuple(measure_variant(one, targets, labels, metric) for one in variants)
    sign = 1 if metric.higher_is_better else -1
    contrasts = [
        _contrast(base, arm, groups, n_variants=len(arms), n_left=n_left, farthest=high - low)
        for arm in arms
    ]
    return Contrasts(
        metric.__name__, len(targets), base, arms, judged_together(contrasts, sign, n_left)
    )


def _contrast(
    base: Arm,
    arm: Arm,
    groups: np.ndarray | None,
    *,
    n_variants: int,
    n_left: int,
    farthest: float,
) -> Contrast:
    """One contrast before Holm: each p_holm is p, and each verdict is still "no evidence".
    farthest: the largest difference that two values of the metric can have.
    """
    seeds = tuple(seed for seed in arm.seeds if seed in base.seeds)
    mine, theirs = ([one.seeds.index(seed) for seed in seeds] for one in (arm, base))
    values, base_values = np.array(arm.values)[mine], np.array(base.values)[theirs]
    differences = values - base_values
    delta = float(differences.mean()) if seeds else None
    notes = _unpaired(base, arm) + _few(len(seeds), arm.shares.shape[1])
    found = Contrast(
        arm.name, seeds, tuple(differences.tolist()), delta, None, None, None, None, tuple(notes)
    )
    if len(seeds) < FEWEST_SEEDS:
        return found
    shares, base_shares = arm.shares[mine], base.shares[theirs]
    gaps = shares - base_shares
    seeds_matter = not (_constant(shares) and _constant(base_shares))
    notes += [] if seeds_matter else ["the seeds change nothing"]
    notes += [] if gaps.any() else ["every row counts exactly as in the baseline"]
    if seeds_matter and gaps.any() and _constant(differences):
        # Accuracies are multiples of 1 / rows, so this happens: in 0.2 % of null studies with three
        # seeds on 277 rows. The spread is not 0, it was not seen.
        notes.append(
            "the difference is the same with every seed, by chance: how much it varies cannot "
            "be told; run more seeds"
        )
        return replace(found, stability=_stability(values, base_values), notes=tuple(notes))
    drawn = shares_of_groups(gaps, groups)
    found = with_tests(
        replace(found, notes=tuple(notes)),
        values,
        base_values,
        components(drawn) if drawn.shape[1] > 1 else None,
        n_variants=n_variants,
        n_left=n_left,
        farthest=farthest,
    )
    anew = found.new_examples
    if anew is None or anew.rows_needed is None or drawn is gaps:
        return found
    rows_per_group = gaps.shape[1] / drawn.shape[1]
    needed = int(np.ceil(anew.rows_needed * rows_per_group))
    return replace(found, new_examples=replace(anew, rows_needed=needed))


def with_tests(
    found: Contrast,
    values: np.ndarray,
    base_values: np.ndarray,
    parts: Components | None,
    *,
    n_variants: int,
    n_left: int,
    farthest: float,
) -> Contrast:
    """The contrast with its tests before Holm. values, base_values: (seeds,), of the same seeds,
    three or more. parts: of the difference over seeds and rows, None where one row is all there is.
    """
    differences = values - base_values
    # The needed numbers of seeds are for the strictest of Holm's levels.
    level, of_all = _LEVEL / max(1, n_variants), _LEVEL / max(1, n_variants + n_left)
    one = for_these_rows(differences)
    alone = Components(
        one.estimate,
        np.asarray(differences.var(ddof=1)),
        np.zeros(()),
        len(differences),
        parts.n_rows if parts else 2,
    )
    return replace(
        found,
        this_dev_set=_claim(one, alone, level, farthest, for_new=False),
        new_examples=_claim(for_new_rows(parts), parts, of_all, farthest, for_new=True)
        if parts
        else None,
        sign_flip_p=sign_flip_p(differences),
        stability=_stability(values, base_values),
    )


def _stability(values: np.ndarray, base_values: np.ndarray) -> Stability | None:
    ratio = variance_ratio(values, base_values)
    return None if ratio is None else _untested(ratio)


def _untested(ratio: VarianceRatio) -> Stability:
    return Stability(
        ratio.ratio, finite(ratio.low), finite(ratio.high), ratio.p, ratio.p, "no evidence"
    )


def _claim(
    student: Student, parts: Components, level: float, farthest: float, *, for_new: bool
) -> Claim:
    # Cut off where no difference can be: that covers the truth exactly as often.
    low, high = (float(np.clip(end, -farthest, farthest)) for end in student.interval(1 - _LEVEL))
    # Without any spread (the seeds change nothing) the difference on these rows is known.
    p = float(student.p()) if student.standard_error > 0 else float(student.estimate == 0)
    needed = seeds_needed(parts, for_new=for_new, level=level)
    rows = rows_needed(parts, level=level) if for_new and needed is None else None
    if rows is not None and rows <= parts.n_rows:
        rows = None
    return Claim(
        finite(low),
        finite(high),
        finite(float(student.standard_error)),
        finite(float(student.df)),
        p,
        p,
        "no evidence",
        needed,
        rows,
    )


def judged_together(contrasts: Sequence[Contrast], sign: int, n_left: int) -> tuple[Contrast, ...]:
    """The same contrasts with p adjusted over all of them, question by question, and with their
    verdicts. sign: −1 where lower is better. n_left: tests for new examples that found nothing.
    """
    here = holm([one.this_dev_set.p if one.this_dev_set else None for one in contrasts])
    anew = holm(
        [*(one.new_examples.p if one.new_examples else None for one in contrasts), *[1.0] * n_left]
    )
    spread = holm([one.stability.p if one.stability else None for one in contrasts])
    return tuple(
        replace(
            one,
            this_dev_set=_decided(one.this_dev_set, here[at], sign, one),
            new_examples=_decided(one.new_examples, anew[at], sign, one),
            stability=_stable(one.stability, spread[at]),
        )
        for at, one in enumerate(contrasts)
    )


def _decided(
    claim: Claim | None, p_holm: float | None, sign: int, contrast: Contrast
) -> Claim | None:
    if claim is None or p_holm is None or contrast.delta is None:
        return None
    if p_holm >= _LEVEL:
        return replace(claim, p_holm=p_holm)
    return replace(claim, p_holm=p_holm, verdict="better" if sign * contrast.delta > 0 else "worse")


def _stable(stability: Stability | None, p_holm: float | None) -> Stability | None:
    if stability is None or p_holm is None:
        return None
    if p_holm >= _LEVEL:
        return replace(stability, p_holm=p_holm)
    return replace(
        stability, p_holm=p_holm, verdict="more stable" if stability.ratio < 1 else "less stable"
    )


def _constant(per_seed: np.ndarray) -> bool:
    """True if (seeds, …) numbers are the same with every seed, except for the last bits."""
    return bool(np.ptp(per_seed, axis=0).max() <= 1e-12 * np.abs(per_seed).max())


def _unpaired(base: Arm, arm: Arm) -> list[str]:
    """Notes on seeds that only one side has, on failed runs and on collapsed ones."""
    if arm.not_applicable is not None:
        return [f"not applicable: {arm.not_applicable}"]
    notes = [
        failed_note(one.name, seed, reason)
        for one in (base, arm)
        for seed, reason in one.failed.items()
    ]
    for one, other in ((arm, base), (base, arm)):
        alone = [seed for seed in one.seeds if seed not in other.seeds and seed not in other.failed]
        notes += [f"{other.name} was not run with {seeds_in_words(alone)}"] if alone else []
    notes += [
        collapsed_note(one.name, one.collapsed, len(one.seeds))
        for one in (base, arm)
        if one.collapsed
    ]
    return notes


def _few(n_seeds: int, n_rows: int) -> list[str]:
    return [note for note in (few_seeds_note(n_seeds), few_rows_note(n_seeds, n_rows)) if note]

"""Confidence intervals and tests for the difference between two ways of training, from differences
per seed, or per seed and row.

Pure functions of arrays. Leading axes are studies, so that a simulation of thousands of studies and
a single comparison run the very same code.

Two questions, two intervals:

*For this dev set*: would new seeds show the difference again, on these rows? The seeds' differences
d_s are all that matters: paired t, n_seeds − 1 degrees of freedom.

*For new examples too*: would new seeds on new rows from the same source? Row i's share of the
difference at seed s is

    d_si = Δ + a_s + b_i + e_si,    variance of the mean = (σa² + σe²/n_rows)/n_seeds + σb²/n_rows =
                                    seed part + row part

a_s: luck of a seed; b_i: rows that suit one way and not the other, whatever the seed; e_si: the
rest. The seed part is the variance of the d_s over n_seeds, as in the paired t. The row part comes
from the two-way table with one number per cell: σb² = max(0, MS_rows − MS_rest)/n_seeds. The
degrees of freedom are Satterthwaite's, with a correction for few seeds (`_student`).

Chosen by simulated null studies (made as in tests/test_calibration.py): both ways of training
equally good, new seeds and new rows in every study, sd over seeds 4.5, 1.8 and 0.6 points on 1,043,
277 and 1,101 rows, three degrees of how differently the two ways suit the rows. False claims for
new examples in percent, where 5 is right, least and most over these nine cells (4,000 studies each,
standard error 0.3):

    seeds                                                    3           5          10
    this rule                                          4.0–5.8     3.9–5.2     4.5–5.3
    Satterthwaite without the correction               4.6–7.7     4.0–5.6     4.5–5.4
    MS_rows in place of MS_rows − MS_rest              1.8–7.6     1.1–5.6     1.1–5.0
    n_seeds − 1 degrees of freedom                     0.0–4.3     0.4–5.0     1.9–4.8
    the interval for this dev set                     4.5–30.6    4.7–52.0    4.7–70.2
    hierarchical bootstrap (first regime, 300 studies)      18          12           7

Where one run in ten collapses to chance, this rule makes 1.3–4.5 % false claims: too careful,
because the differences have heavy tails. Where a seed moves answers from one class to the other and
back, 3.2–5.5 %. With two seeds up to 9 % (mean squares from their distributions): no verdict is
built on two. The nightly test (10,000 studies a cell, other draws) finds 4.2–6.0 % for accuracy and
4.7–6.1 % for MCC. The interval for this dev set is exact for normal differences; in the same
studies, with rows on which both ways are equally good, 4.5–5.8 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from encore import rng

__all__ = [
    "Components",
    "Student",
    "VarianceRatio",
    "combined",
    "components",
    "for_new_rows",
    "for_these_rows",
    "holm",
    "power",
    "rows_needed",
    "seeds_needed",
    "sign_flip_p",
    "variance_ratio",
]

_MOST_ROWS = 1_000_000
_MOST_SEEDS = 1_000  # beyond that, a number of seeds is no advice
_MOST_FLIPPED = 40  # seeds whose sign flips are all counted: 2 · 2^20 sums


@dataclass(frozen=True)
class Student:
    """An estimate whose error over `standard_error` is t-distributed with `df` degrees of freedom.
    Each a number or an array of studies.
    """

    estimate: np.ndarray
    standard_error: np.ndarray
    df: np.ndarray

    def p(self) -> np.ndarray:
        """Two-sided probability of such an estimate where the truth is 0; nan where the standard
        error is 0.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(
                self.standard_error > 0, np.abs(self.estimate) / self.standard_error, np.nan
            )
        return 2 * special.stdtr(self.df, -t)

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """(low, high): covers the truth in `level` of all studies."""
        half = special.stdtrit(self.df, (1 + level) / 2) * self.standard_error
        return self.estimate - half, self.estimate + half


@dataclass(frozen=True)
class Components:
    """The components of the variance of a difference.

    seed_variance: of one seed's difference on these rows. row_variance: what the choice of rows
    adds to the variance of the mean, however many seeds.
    """

    estimate: np.ndarray
    seed_variance: np.ndarray
    row_variance: np.ndarray
    n_seeds: int
    n_rows: int


def for_these_rows(differences: np.ndarray) -> Student:
    """The mean of (…, seeds) differences, one per seed, as Student's paired t sees it. Needs two
    seeds.
    """
    differences = np.asarray(differences, dtype=np.float64)
    n_seeds = differences.shape[-1]
    variance = differences.var(axis=-1, ddof=1)
    return _student(
        differences.mean(axis=-1), variance, np.zeros_like(variance), n_seeds=n_seeds, n_rows=2
    )


def components(shares: np.ndarray) -> Components:
    """The parts of the variance of (…, seeds, rows) differences, a share per seed and row
    (`encore.evaluation.influence`). Needs two seeds and two rows.
    """
    shares = np.asarray(shares, dtype=np.float64)
    n_seeds, n_rows = shares.shape[-2:]
    per_seed, per_row = shares.mean(axis=-1, keepdims=True), shares.mean(axis=-2, keepdims=True)
    estimate = per_seed.mean(axis=-2, keepdims=True)
    ms_rows = n_seeds * per_row.var(axis=(-2, -1), ddof=0) * n_rows / (n_rows - 1)
    ms_rest = ((shares - per_seed - per_row + estimate) ** 2).sum(axis=(-2, -1)) / (
        (n_seeds - 1) * (n_rows - 1)
    )
    row_variance = np.maximum(ms_rows - ms_rest, 0) / (n_seeds * n_rows)
    return Components(
        estimate[..., 0, 0], per_seed[..., 0].var(axis=-1, ddof=1), row_variance, n_seeds, n_rows
    )


def combined(parts: Sequence[Components], differences: np.ndarray) -> Components:
    """The parts of the variance of a sum of differences on several sets of rows, drawn apart from
    each other. parts: of each set; differences: (seeds,) sums.

    The seed part is that of the sums, since the luck of a seed may go together over sets. The row
    parts add up, and n_rows is what gives the sum its degrees of freedom (Satterthwaite).
    """
    differences = np.asarray(differences, dtype=np.float64)
    each = np.array([float(one.row_variance) for one in parts])
    spread = float((each**2 / np.array([one.n_rows - 1 for one in parts])).sum())
    fewest = min(one.n_rows for one in parts)
    return Components(
        differences.mean(),
        np.asarray(differences.var(ddof=1)),
        np.asarray(each.sum()),
        len(differences),
        fewest if spread == 0 else max(fewest, 1 + int(float(each.sum()) ** 2 / spread)),
    )


def for_new_rows(parts: Components) -> Student:
    """The same mean as an estimate for new seeds and new rows; its assumptions are at the top of
    this file.
    """
    return _student(
        parts.estimate,
        parts.seed_variance,
        parts.row_variance,
        n_seeds=parts.n_seeds,
        n_rows=parts.n_rows,
    )


def _student(
    estimate: np.ndarray,
    seed_variance: np.ndarray,
    row_variance: np.ndarray,
    *,
    n_seeds: int,
    n_rows: int,
) -> Student:
    seed_part = seed_variance / n_seeds
    # Satterthwaite takes the seed part's share as it was estimated, and where few seeds happened to
    # agree that share is too small: too many degrees of freedom, just where the interval is too
    # short already. The factor is the one by which E[MS²] exceeds (E[MS])²; evidence at the top of
    # this file.
    cautious = seed_part * (1 + 2 / (n_seeds - 1))
    total = cautious + row_variance
    of_seeds = np.where(total > 0, cautious / np.where(total > 0, total, 1), 1.0)
    df = 1 / (of_seeds**2 / (n_seeds - 1) + (1 - of_seeds) ** 2 / (n_rows - 1))
    return Student(estimate, np.sqrt(seed_part + row_variance), df)


def power(effect: float, standard_error: float, df: float, level: float = 0.05) -> float:
    """The probability that a two-sided t test at `level` finds a true difference of this size. No
    standard error: 1, and 0 for no effect.
    """
    if effect == 0 or standard_error == 0:
        return float(effect != 0)
    shift, bound = abs(effect) / standard_error, special.stdtrit(df, 1 - level / 2)
    # scipy says nan where a probability is nothing: far out, on either side.
    missed, wrong_side = np.nan_to_num(special.nctdtr(df, shift, [bound, -bound]))
    return float(1 - missed + wrong_side)


def seeds_needed(
    parts: Components, *, for_new: bool, level: float = 0.05, chance: float = 0.8
) -> int | None:
    """The fewest seeds with which a true difference as large as this estimate would be found in
    `chance` of all studies, spread as in this one.

    None: not with 1,000 seeds. For new rows it may be that no number is enough: the rows are too
    few (`rows_needed`).
    """
    row_variance = parts.row_variance if for_new else np.zeros(())

    def enough(n_seeds: int) -> bool:
        one = _student(
            parts.estimate, parts.seed_variance, row_variance, n_seeds=n_seeds, n_rows=parts.n_rows
        )
        return (
            power(float(parts.estimate), float(one.standard_error), float(one.df), level) >= chance
        )

    low, high = 1, 2
    while not enough(high):
        if high >= _MOST_SEEDS:
            return None
        low, high = high, min(2 * high, _MOST_SEEDS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def rows_needed(parts: Components, *, level: float = 0.05, chance: float = 0.8) -> int | None:
    """The fewest rows of a dev set with which this difference would be found in `chance` of all
    studies if seeds cost nothing.

    None: not with a million rows, as where the difference is 0 but for rounding.
    """
    distance = special.ndtri(1 - level / 2) + special.ndtri(chance)
    variance = float(parts.row_variance * parts.n_rows * distance**2)
    if variance > _MOST_ROWS * float(parts.estimate) ** 2 or parts.estimate == 0:
        return None
    return max(2, int(np.ceil(variance / float(parts.estimate) ** 2)))


def sign_flip_p(differences: np.ndarray) -> float | None:
    """Exact two-sided probability of so large a mean of (seeds,) differences, if each might as well
    have had the other sign.

    It assumes no shape of distribution, but its smallest value is 2^(1 − seeds): None below eight
    seeds, where that is .01 or more. All sign patterns are counted up to 40 seeds; beyond, 99,999
    drawn ones and the observed one.

    Counted here and not by `scipy.stats.permutation_test(permutation_type="samples")` (1.17), which
    compares sums to a relative 1e-14: where differences of accuracies add up to 0 but for rounding
    it gives .916 instead of 1. It takes 5.4 s for 20 seeds, this takes 0.2 ms; elsewhere the two
    agree to the last bit.
    """
    differences = np.asarray(differences, dtype=np.float64)
    n_seeds = len(differences)
    if 2.0 ** (1 - n_seeds) >= 0.01:
        return None
    # Sums that differ in the last bit only are equal: with accuracies there are many of them.
    bound = abs(differences.sum()) - 1e-9 * np.abs(differences).sum()
    if n_seeds > _MOST_FLIPPED:
        signs = rng.generator(0, "sign flips").choice((-1.0, 1.0), size=(99_999, n_seeds))
        return (1 + int((np.abs(signs @ differences) >= bound).sum())) / 100_000
    # Every sum is one of the first half's plus one of the second half's: count pairs in a sorted
    # list instead of building 2^seeds sums.
    first, second = (_signed_sums(half) for half in np.array_split(differences, 2))
    second.sort()
    above = len(second) - np.searchsorted(second, bound - first, side="left")
    return float(
        min(1.0, 2 * above.sum() / 2.0**n_seeds)
    )  # twice: with every pattern there is its opposite


def _signed_sums(values: np.ndarray) -> np.ndarray:
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def holm(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Holm's adjusted probabilities, in the order given; a None (no test was made) stays None and
    does not count.

    Rejecting where the adjusted value is below .05 makes one or more false claims in at most 5 % of
    all families, however the tests depend on each other. Written out, since statsmodels would bring
    pandas along for these lines; so are `power` and `variance_ratio`.
    """
    made = sorted((p, at) for at, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    so_far = 0.0
    for rank, (p, at) in enumerate(made):
        so_far = max(so_far, min(1.0, (len(made) - rank) * p))
        adjusted[at] = so_far
    return tuple(adjusted)


@dataclass(frozen=True)
class VarianceRatio:
    """Variance over seeds of a variant / of the baseline, its 95 % F interval and the two-sided
    probability of such a ratio where the truth is 1.
    """

    ratio: float
    low: float
    high: float
    p: float


def variance_ratio(
    variant: np.ndarray, baseline: np.ndarray, level: float = 0.95
) -> VarianceRatio | None:
    """The variance of the variant's values over seeds divided by the baseline's: (seeds,) each, two
    or more. None where either does not vary at all.

    It assumes that values are normal over seeds: one collapsed run is enough to break that. Values
    of the same seed may go together (same order of the data); then false claims become rarer, not
    more frequent.
    """
    variant, baseline = (
        np.asarray(variant, dtype=np.float64),
        np.asarray(baseline, dtype=np.float64),
    )
    if (
        np.ptp(variant) <= 1e-12 * np.abs(variant).max()
        or np.ptp(baseline) <= 1e-12 * np.abs(baseline).max()
    ):
        return None
    of_variant, of_baseline = len(variant) - 1, len(baseline) - 1
    ratio = float(variant.var(ddof=1) / baseline.var(ddof=1))
    tail = (1 - level) / 2
    low, high = (
        ratio / special.fdtri(of_variant, of_baseline, 1 - tail),
        ratio / special.fdtri(of_variant, of_baseline, tail),
    )
    p = 2 * min(
        special.fdtr(of_variant, of_baseline, ratio), special.fdtrc(of_variant, of_baseline, ratio)
    )
    return VarianceRatio(ratio, float(low), float(high), float(min(1.0, p)))

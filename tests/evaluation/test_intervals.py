"""The mathematics of a comparison, against scipy, slow loops, brute force and numbers worked out by
hand.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from encore.evaluation.intervals import (
    Components,
    components,
    for_new_rows,
    for_these_rows,
    holm,
    power,
    rows_needed,
    seeds_needed,
    sign_flip_p,
    variance_ratio,
)


def parts(
    estimate: float,
    seed_variance: float,
    row_variance: float = 0.0,
    *,
    n_seeds: int = 3,
    n_rows: int = 101,
) -> Components:
    return Components(
        np.asarray(estimate), np.asarray(seed_variance), np.asarray(row_variance), n_seeds, n_rows
    )


@pytest.mark.parametrize("n_seeds", [2, 3, 7])
def test_this_dev_set_is_the_paired_t_test(n_seeds):
    draw = np.random.default_rng(n_seeds)
    variant, baseline = draw.normal(0.7, 0.02, n_seeds), draw.normal(0.68, 0.02, n_seeds)
    theirs = stats.ttest_rel(variant, baseline)
    ours = for_these_rows(variant - baseline)
    assert ours.p() == pytest.approx(theirs.pvalue, rel=1e-12)
    assert ours.interval() == pytest.approx(tuple(theirs.confidence_interval(0.95)), rel=1e-9)
    assert ours.interval(0.8) == pytest.approx(tuple(theirs.confidence_interval(0.8)), rel=1e-9)
    assert ours.df == n_seeds - 1


def test_mean_squares_are_those_of_a_table_worked_out_by_hand():
    # Rows of the table are seeds: means 2, 4; columns 2, 5, 2 (grand mean 3); what is left of the
    # four corners is ±1 and 0.
    found = components(np.array([[0.0, 4.0, 2.0], [4.0, 6.0, 2.0]]))
    assert found.estimate == 3
    assert found.seed_variance == 2  # of 2 and 4
    # MS_rows = 2·((2−3)² + (5−3)² + (2−3)²)/2 = 6; rest: (−1, 0, 1; 1, 0, −1), squares 4, over
    # (2−1)(3−1): 2. (6 − 2) / (2 seeds · 3 rows)
    assert found.row_variance == pytest.approx(4 / 6)
    # Seed part 2/2 = 1, made 3 by the correction for one degree of freedom; share of seeds 3/(3 +
    # 2/3) = 9/11.
    one = for_new_rows(found)
    assert one.standard_error == pytest.approx((1 + 4 / 6) ** 0.5)
    assert one.df == pytest.approx(1 / ((9 / 11) ** 2 / 1 + (2 / 11) ** 2 / 2))


def slow_components(shares: np.ndarray) -> tuple[float, float, float]:
    """estimate, seed and row variance by sums of squares, cell by cell."""
    n_seeds, n_rows = shares.shape
    total = sum(shares[s, i] for s in range(n_seeds) for i in range(n_rows)) / (n_seeds * n_rows)
    seed_means = [sum(shares[s, i] for i in range(n_rows)) / n_rows for s in range(n_seeds)]
    row_means = [sum(shares[s, i] for s in range(n_seeds)) / n_seeds for i in range(n_rows)]
    rest = sum(
        (shares[s, i] - seed_means[s] - row_means[i] + total) ** 2
        for s in range(n_seeds)
        for i in range(n_rows)
    ) / ((n_seeds - 1) * (n_rows - 1))
    rows = n_seeds * sum((mean - total) ** 2 for mean in row_means) / (n_rows - 1)
    seeds = sum((mean - total) ** 2 for mean in seed_means) / (n_seeds - 1)
    return total, seeds, max(0.0, rows - rest) / (n_seeds * n_rows)


def test_components_are_the_slow_sums_study_by_study():
    draw = np.random.default_rng(0)
    shares = draw.normal(size=(7, 5, 11)) + 0.7 * draw.normal(size=(7, 1, 11)) + 0.5
    shares[3] = draw.normal(size=(5, 11))
    found = components(shares)
    slow = np.array([slow_components(one) for one in shares])
    np.testing.assert_allclose(
        np.stack([found.estimate, found.seed_variance, found.row_variance], axis=1),
        slow,
        rtol=1e-10,
        atol=1e-15,
    )
    assert (slow[:, 2] > 0).sum() >= 5


def test_row_variance_is_not_below_zero():
    # Both rows have the same mean, while rest is large.
    assert components(np.array([[1.0, -1.0], [-1.0, 1.0]])).row_variance == 0


def test_components_are_unbiased():
    draw = np.random.default_rng(1)
    n_seeds, n_rows, (seed_sd, row_sd, rest_sd) = 3, 101, (0.5, 2.0, 3.0)
    shares = (
        seed_sd * draw.normal(size=(2000, n_seeds, 1))
        + row_sd * draw.normal(size=(2000, 1, n_rows))
        + rest_sd * draw.normal(size=(2000, n_seeds, n_rows))
    )
    found = components(shares)
    assert found.seed_variance.mean() == pytest.approx(seed_sd**2 + rest_sd**2 / n_rows, rel=0.08)
    assert found.row_variance.mean() == pytest.approx(row_sd**2 / n_rows, rel=0.03)
    assert (for_new_rows(found).standard_error ** 2).mean() == pytest.approx(
        found.estimate.var(), rel=0.12
    )


def test_the_seeds_alone_and_the_rows_alone_are_one_sample_t_tests():
    seeds_only = for_new_rows(parts(0.1, 0.04, 0.0, n_seeds=5))
    assert seeds_only.df == pytest.approx(4)
    rows_only = for_new_rows(parts(0.1, 0.0, 0.04, n_seeds=5, n_rows=101))
    assert rows_only.df == pytest.approx(100)
    values = np.random.default_rng(0).normal(0.1, 1, 101)
    same = components(np.tile(values, (3, 1)))
    theirs = stats.ttest_1samp(values, 0)
    assert for_new_rows(same).p() == pytest.approx(theirs.pvalue, rel=1e-6)


def test_no_spread_has_no_probability():
    assert np.isnan(for_these_rows(np.array([0.5, 0.5, 0.5])).p())


@pytest.mark.parametrize("n_seeds", [8, 9, 12])
def test_sign_flips_are_counted_as_brute_force_counts_them(n_seeds):
    # Multiples of 1/277, so that many sums are equal.
    differences = np.random.default_rng(n_seeds).integers(-4, 9, n_seeds) / 277
    sums = [
        sum(sign * round(277 * one) for sign, one in zip(signs, differences, strict=True))
        for signs in itertools.product((1, -1), repeat=n_seeds)
    ]
    observed = abs(round(277 * differences.sum()))
    assert sign_flip_p(differences) == sum(abs(one) >= observed for one in sums) / 2**n_seeds


def test_sign_flips_agree_with_scipy():
    differences = np.random.default_rng(3).normal(0.5, 1, 10)
    theirs = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_p(differences) == pytest.approx(theirs.pvalue)


@pytest.mark.parametrize("n_seeds", [8, 9, 11])
def test_sign_flips_are_those_of_scipy_on_accuracies(n_seeds: int) -> None:
    """To the last bit, ties between sign patterns included; where scipy loses a tie to rounding,
    whole numbers of rows give it back.
    """
    draw = np.random.default_rng(n_seeds)
    for _ in range(20):
        rows = np.round(draw.normal(0.5, 2, n_seeds))
        theirs = stats.permutation_test(
            (rows,),
            lambda sample, axis: sample.sum(axis=axis),
            permutation_type="samples",
            n_resamples=np.inf,
            vectorized=True,
        )
        assert sign_flip_p(rows / 277) == theirs.pvalue


def test_sign_flips_only_where_they_can_say_something():
    assert sign_flip_p(np.ones(7)) is None
    assert sign_flip_p(np.ones(8)) == 2 / 256
    assert sign_flip_p(np.zeros(8)) == 1
    assert sign_flip_p(np.tile([1.0, -1.0], 5)) == 1
    assert sign_flip_p(np.ones(40)) == pytest.approx(2 / 2**40)
    assert sign_flip_p(np.ones(41)) == 1e-5
    drawn, counted = (
        sign_flip_p(np.append(np.random.default_rng(0).normal(0.3, 1, 40), extra))
        for extra in ([0.0], [])
    )
    assert drawn == pytest.approx(counted, abs=0.005)


def test_holm_by_hand():
    # .01·4, then .02·3, then max(.06, .03·2), then max(.06, .5·1)
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx((0.06, 0.04, 0.5, 0.06))
    assert holm([0.03, None, 0.02]) == (0.04, None, 0.04)
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()
    assert holm([None]) == (None,)


def slow_holm_rejects(p_values: list[float], level: float) -> set[int]:
    """Step down: reject while the k-th smallest is at most level / (how many are left)."""
    rejected = set()
    for k, at in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[at] > level / (len(p_values) - k):
            break
        rejected.add(at)
    return rejected


def test_holm_rejects_as_the_steps_do():
    draw = np.random.default_rng(0)
    for _ in range(300):
        p_values = (draw.random(int(draw.integers(1, 6))) ** 3).tolist()
        adjusted = holm(p_values)
        assert {
            at for at, p in enumerate(adjusted) if p is not None and p <= 0.05
        } == slow_holm_rejects(p_values, 0.05)


def test_variance_ratio_by_hand():
    # Variances of 0, 1, 2 and 0, 3, 6: 1 and 9. F with (2, 2) degrees of freedom: P(F < 1/9) =
    # (1/9) / (1 + 1/9) = .1
    found = variance_ratio(np.array([0.0, 1.0, 2.0]), np.array([0.0, 3.0, 6.0]))
    assert (found.ratio, found.p) == pytest.approx((1 / 9, 0.2))
    # The quantile of .975 is 39, that of .025 is 1/39.
    assert (found.low, found.high) == pytest.approx((1 / 9 / 39, 39 / 9))
    other_way = variance_ratio(np.array([0.0, 3.0, 6.0]), np.array([0.0, 1.0, 2.0]))
    assert (other_way.ratio, other_way.low, other_way.high, other_way.p) == pytest.approx(
        (9, 1 / found.high, 1 / found.low, found.p)
    )


def test_variance_ratio_of_different_numbers_of_seeds_agrees_with_scipy():
    draw = np.random.default_rng(0)
    a, b = draw.normal(0, 2, 5), draw.normal(0, 1, 9)
    found = variance_ratio(a, b)
    tail = stats.f(4, 8).sf(found.ratio)
    assert found.p == pytest.approx(2 * min(tail, 1 - tail))
    assert stats.f(4, 8).cdf(found.ratio / np.array([found.low, found.high])) == pytest.approx(
        [0.975, 0.025]
    )


def test_where_nothing_varies_there_is_no_ratio():
    assert variance_ratio(np.array([0.6, 0.6, 0.6]), np.array([0.6, 0.61, 0.62])) is None
    assert variance_ratio(np.array([0.6, 0.61]), np.array([0.1 + 0.2, 0.3])) is None
    assert variance_ratio(np.zeros(3), np.zeros(3)) is None


@pytest.mark.parametrize("n_seeds", [3, 5, 10])
@pytest.mark.parametrize("ratio", [1.0, 4.0])
def test_the_interval_of_the_ratio_covers_it(n_seeds, ratio):
    draw, n = np.random.default_rng(n_seeds), 2000
    found = [
        variance_ratio(*pair)
        for pair in draw.normal(size=(n, 2, n_seeds)) * np.array([ratio**0.5, 1.0])[:, None]
    ]
    assert stats.binomtest(sum(one.low < ratio < one.high for one in found), n, 0.95).pvalue > 0.001
    assert (
        stats.binomtest(
            sum((one.p < 0.05) == (not one.low < 1 < one.high) for one in found), n, 0.999
        ).pvalue
        > 0.001
    )


@pytest.mark.parametrize(
    ("effect", "error", "df"),
    [(1.0, 0.5, 2), (0.3, 0.1, 9), (2.8, 1.0, 500), (0.5, 1.0, 4), (-1.0, 0.4, 3)],
)
def test_power_is_how_often_it_is_found(effect, error, df):
    draw, n = np.random.default_rng(0), 100_000
    t = draw.normal(effect / error, 1, n) / np.sqrt(draw.chisquare(df, n) / df)
    assert power(effect, error, df) == pytest.approx(
        (np.abs(t) > stats.t(df).ppf(0.975)).mean(), abs=0.006
    )


def test_power_at_the_ends():
    assert power(0.0, 1.0, 5) == 0
    assert power(1.0, 0.0, 5) == 1
    assert power(1e-9, 1.0, 5) == pytest.approx(0.05, abs=1e-6)
    for df in (1, 2, 4, 9, 99, 1e5):
        rising = [power(effect, 1.0, df) for effect in np.linspace(0.01, 60, 400)]
        assert all(b >= a - 1e-9 for a, b in itertools.pairwise(rising))
        assert df < 3 or rising[-1] > 0.999


@pytest.mark.parametrize(("effect", "sd"), [(1.0, 0.5), (2.64, 2.5), (0.5, 1.3)])
def test_seeds_needed_is_the_least_number_that_does(effect, sd):
    found = seeds_needed(parts(effect, sd**2), for_new=False)
    draw = np.random.default_rng(0)
    rates = [
        float((for_these_rows(draw.normal(effect, sd, size=(40_000, n))).p() < 0.05).mean())
        for n in (found - 1, found)
    ]
    assert rates[0] < 0.806
    assert rates[1] > 0.794


def test_seeds_needed_are_the_textbook_sample_sizes():
    # Of a two-sided one-sample t test, for an effect of one standard deviation.
    assert seeds_needed(parts(1.0, 1.0), for_new=False) == 10
    assert seeds_needed(parts(1.0, 1.0), for_new=False, level=0.01) == 16
    assert seeds_needed(parts(1.0, 1.0), for_new=False, chance=0.95) == 16


def test_seeds_needed_for_new_rows_is_found_as_often_as_it_says():
    truth = parts(0.02, 0.03**2, 0.005**2, n_rows=277)
    found = seeds_needed(truth, for_new=True)
    assert found > seeds_needed(truth, for_new=False)
    draw, n = np.random.default_rng(0), 40_000
    rest = 0.5 * 0.03**2 * 277  # MS_rest; half of the seeds' variance is luck
    for n_seeds, low, high in ((found, 0.78, 0.85), (found - 2, 0.6, 0.8)):
        ms_rest = rest * draw.chisquare((n_seeds - 1) * 276, n) / ((n_seeds - 1) * 276)
        ms_rows = (rest + 0.005**2 * n_seeds * 277) * draw.chisquare(276, n) / 276
        seed_variance = 0.03**2 * draw.chisquare(n_seeds - 1, n) / (n_seeds - 1)
        estimate = draw.normal(0.02, (0.03**2 / n_seeds + 0.005**2) ** 0.5, n)
        p = for_new_rows(
            Components(
                estimate,
                seed_variance,
                np.maximum(ms_rows - ms_rest, 0) / (n_seeds * 277),
                n_seeds,
                277,
            )
        ).p()
        assert low < (p < 0.05).mean() < high


def test_no_number_of_seeds_makes_up_for_rows():
    too_few = parts(0.02, 0.01**2, 0.01**2, n_rows=277)
    assert seeds_needed(too_few, for_new=True) is None
    assert seeds_needed(too_few, for_new=False) is not None
    # .01²·277 = .0277 per row; (1.95996 + .84162)² · .0277 / .02² = 543.5
    assert rows_needed(too_few) == 544
    assert rows_needed(too_few, level=0.01) > 544


def test_no_difference_needs_everything():
    assert seeds_needed(parts(0.0, 1.0), for_new=False) is None
    assert rows_needed(parts(0.0, 1.0, 1.0)) is None
    assert rows_needed(parts(1e-17, 1.0, 1.0)) is None  # 0 but for rounding
    assert seeds_needed(parts(1e-6, 1.0), for_new=False) is None
    assert seeds_needed(parts(1.0, 1e-9), for_new=False) == 2

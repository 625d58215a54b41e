"""Comparisons: every figure against scipy or a slow count, every word against the case that calls
for it.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from encore import catalogue
from encore.errors import DataError, RecipeError
from encore.evaluation.claims import Claim, Contrast
from encore.evaluation.contrast import compare_variants
from encore.evaluation.intervals import Components, components, for_new_rows, holm, seeds_needed
from encore.evaluation.seed_runs import SeedRuns, collapse, measure_variant
from encore.types import LabelSpace

BINARY = LabelSpace("binary", ("no", "yes"))
REGRESSION = LabelSpace("regression")
ACCURACY, MCC, RMSE, SPEARMAN = (
    catalogue.find("metrics", name) for name in ("accuracy", "mcc", "rmse", "spearman")
)


def scores_of(predicted: np.ndarray) -> np.ndarray:
    """(rows, 2) logits that say so."""
    return np.stack([1.0 - predicted, predicted], axis=1)


def answers(right: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Scores that are right where `right` says so."""
    return scores_of(np.where(right, targets, 1 - targets).astype(np.float64))


def runs_of(
    name: str, n_right: list[int], targets: np.ndarray, *, seed: int = 0, first_seed: int = 42
) -> SeedRuns:
    """Runs with so many right answers, on rows drawn for each run."""
    draw = np.random.default_rng(seed)
    marks = [draw.permutation(np.arange(len(targets)) < n) for n in n_right]
    return SeedRuns(
        name, {first_seed + at: answers(mark, targets) for at, mark in enumerate(marks)}
    )


@pytest.fixture
def targets() -> np.ndarray:
    """277 rows, as RTE has: 146 of one class, 131 of the other."""
    return np.random.default_rng(9).permutation(np.arange(277) < 131).astype(np.int64)


# ------------------------------------------------------------------------------- standard deviation


def printed_alike(mean: float, sd: str, n_rows: int, *, ddof: int) -> list[tuple[int, int, int]]:
    """Three runs' numbers of right answers that show this mean (in percent, two digits) and this sd
    (a fraction, digits as printed).
    """
    decimals = len(sd.split("e")[0].split(".")[1])
    spread = int(3 * float(sd) * n_rows) + 2
    totals = [
        total
        for total in range(
            int(3 * n_rows * (mean - 0.01) / 100), int(3 * n_rows * (mean + 0.01) / 100) + 2
        )
        if abs(100 * total / (3 * n_rows) - mean) <= 0.005 + 1e-9
    ]
    found = []
    for total in totals:
        for low, middle in itertools.combinations_with_replacement(
            range(total // 3 - spread, total // 3 + spread), 2
        ):
            high = total - low - middle
            if high >= middle:
                shown = np.std([low, middle, high], ddof=ddof) / n_rows
                unit = 10.0 ** (int(sd.split("e")[1]) - decimals)
                if abs(shown - float(sd)) <= 0.5 * unit * (1 + 1e-9):
                    found.append((low, middle, high))
    return found


@pytest.mark.parametrize(
    ("mean", "sd", "n_rows", "population_fits_too"),
    [
        (92.55, "1.99e-3", 872, False),
        (49.77, "5.86e-2", 71, False),
        (63.42, "1.78e-2", 277, True),
        (82.43, "2.42e-2", 408, True),
    ],
    ids=["sst2", "wnli", "rte", "mrpc"],
)
def test_sd_is_the_one_that_the_papers_cells_fit(mean, sd, n_rows, population_fits_too):
    """METHODS 2: the four checkable baseline cells fit ddof=1, SST-2 and WNLI fit nothing else."""
    fitting = printed_alike(mean, sd, n_rows, ddof=1)
    assert fitting
    assert bool(printed_alike(mean, sd, n_rows, ddof=0)) == population_fits_too
    truth = np.arange(n_rows) % 2
    for counts in fitting:
        arm = measure_variant(runs_of("baseline", list(counts), truth), truth, BINARY, ACCURACY)
        assert round(100 * arm.mean, 2) == pytest.approx(mean, abs=0.0051)
        assert f"{arm.sd:.{len(sd.split('e')[0].split('.')[1])}e}"[:4] == sd[:4]


def test_one_cell_of_a_variant_fits_the_other_convention_only():
    """METHODS 2: MRPC with Max_CLS; so the search can say no."""
    assert not printed_alike(83.66, "2.02e-2", 408, ddof=1)
    assert printed_alike(83.66, "2.02e-2", 408, ddof=0)


# --------------------------------------------------------------------------------------------- arms


def test_an_arm_by_hand():
    truth = np.array([0, 1] * 5)
    arm = measure_variant(runs_of("plain", [9, 7, 8], truth), truth, BINARY, ACCURACY)
    assert arm.seeds == (42, 43, 44)
    assert arm.values == pytest.approx((0.9, 0.7, 0.8))
    assert (arm.mean, arm.sd, arm.best) == pytest.approx((0.8, 0.1, 0.9))
    assert arm.shares.shape == (3, 10)
    assert not arm.collapsed
    assert not arm.failed


def test_seeds_are_in_order_whatever_order_they_come_in():
    truth = np.array([0, 1] * 5)
    given = runs_of("plain", [9, 7, 8], truth).scores
    arm = measure_variant(
        SeedRuns("plain", {seed: given[seed] for seed in (44, 42, 43)}), truth, BINARY, ACCURACY
    )
    assert arm.seeds == (42, 43, 44)
    assert arm.values == pytest.approx((0.9, 0.7, 0.8))


def test_best_is_the_least_where_lower_is_better():
    truth = np.arange(5.0)
    arm = measure_variant(
        SeedRuns(
            "plain",
            {seed: (truth + shift)[:, None] for seed, shift in ((1, 0.5), (2, 0.25), (3, 1.0))},
        ),
        truth,
        REGRESSION,
        RMSE,
    )
    assert arm.best == pytest.approx(0.25)
    assert measure_variant(SeedRuns("plain", {}), truth, REGRESSION, RMSE).best is None


def test_one_run_has_no_sd():
    truth = np.array([0, 1] * 5)
    assert measure_variant(runs_of("plain", [9], truth), truth, BINARY, ACCURACY).sd is None


def test_runs_without_numbers_have_failed_and_stop_nobody():
    truth = np.array([0, 1] * 5)
    given = dict(runs_of("plain", [9, 7, 8], truth).scores)
    given[43] = np.full((10, 2), np.nan)
    arm = measure_variant(SeedRuns("plain", given, failed={45: "killed"}), truth, BINARY, ACCURACY)
    assert arm.seeds == (42, 44)
    assert arm.failed == {43: "its scores are not finite", 45: "killed"}


def test_runs_of_another_dev_set_are_refused_all_at_once():
    truth = np.array([0, 1] * 5)
    with pytest.raises(DataError) as caught:
        measure_variant(
            SeedRuns("plain", {1: np.zeros((9, 2)), 2: np.zeros((10, 2)), 3: np.zeros((10, 3))}),
            truth,
            BINARY,
            ACCURACY,
        )
    assert len(caught.value.lines) == 2
    assert "plain, seed 1" in caught.value.lines[0]


def test_a_metric_of_another_kind_is_refused():
    with pytest.raises(RecipeError):
        compare_variants(
            SeedRuns("a", {1: np.zeros((4, 2))}), [], np.array([0, 1, 0, 1]), BINARY, RMSE
        )


# ----------------------------------------------------------------------------------------- collapse

TEN = np.array([1, 1, 1, 1, 1, 1, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("predicted", "reason"),
    [
        (np.ones(10), "one answer for every row"),
        (np.zeros(10), "one answer for every row"),
        (np.array([1, 1, 1, 1, 1, 1, 0, 1, 1, 1]), None),  # 7 right
        (np.array([1, 1, 1, 1, 1, 0, 0, 1, 1, 1]), "60.0 % right, the majority class alone 60.0 %"),
        (1 - TEN, "0.0 % right, the majority class alone 60.0 %"),
        (TEN, None),
    ],
)
def test_collapsed_classifiers(predicted, reason):
    assert collapse(scores_of(predicted.astype(np.float64)), TEN, BINARY) == reason


def test_collapsed_regressions():
    truth = np.arange(7.0)
    noise = 1e-7 * np.random.default_rng(0).normal(size=7)
    assert collapse((2.5 + noise)[:, None], truth, REGRESSION) == "one answer for every row"
    assert (
        collapse(-truth[:, None], truth, REGRESSION)
        == "its values do not rise with the targets (r = -1.00)"
    )
    assert collapse(100 + 0.01 * truth[:, None], truth, REGRESSION) is None
    assert collapse(truth[:, None], np.ones(7), REGRESSION) is None


def test_collapsed_multi_label():
    labels = LabelSpace("multilabel", ("p", "q", "r"))
    truth = np.array(
        [[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, 1], [1, 0, 0]]
    )  # label by label 4, 4 and 4 of 5 rows are alike
    assert collapse(np.where(truth == 1, 1.0, -1.0), truth, labels) is None
    assert collapse(np.tile([1.0, -1.0, -1.0], (5, 1)), truth, labels) == "one answer for every row"
    flipped = truth.copy()
    flipped[0] = [0, 1, 1]
    assert (
        collapse(np.where(flipped == 1, 1.0, -1.0), truth, labels)
        == "80.0 % right, the majority class alone 80.0 %"
    )


def test_collapsed_runs_are_shown_and_kept(targets):
    base = runs_of("cls", [170, 172, 168], targets)
    broken = dict(runs_of("max", [175, 177, 180], targets, seed=1).scores) | {
        43: scores_of(np.ones(277))
    }
    found = compare_variants(base, [SeedRuns("max", broken)], targets, BINARY, ACCURACY)
    (one,) = found.contrasts
    assert found.variants[0].collapsed == {43: "one answer for every row"}
    assert found.variants[0].values[1] == pytest.approx(131 / 277)
    assert one.seeds == (42, 43, 44)
    assert one.delta == pytest.approx((5 + 131 - 172 + 12) / 3 / 277)
    assert "max: 1 of 3 runs collapsed (seed 43)" in one.notes


# ---------------------------------------------------------------------------------------- contrasts


def test_figures_agree_with_scipy_and_with_the_components(targets):
    base, variant = (
        runs_of("cls", [168, 171, 164, 175, 170], targets),
        runs_of("max", [177, 180, 171, 178, 181], targets, seed=1),
    )
    found = compare_variants(base, [variant], targets, BINARY, ACCURACY)
    (one,) = found.contrasts
    a, b = np.array(found.variants[0].values), np.array(found.baseline.values)
    theirs = stats.ttest_rel(a, b)
    assert one.differences == pytest.approx(a - b)
    assert one.delta == pytest.approx((a - b).mean())
    here = one.this_dev_set
    assert (here.p, here.df) == pytest.approx((theirs.pvalue, 4))
    assert (here.low, here.high) == pytest.approx(tuple(theirs.confidence_interval()))
    right = [
        np.stack([scores.argmax(axis=1) == targets for scores in runs.scores.values()]).astype(
            float
        )
        for runs in (variant, base)
    ]
    student = for_new_rows(components(right[0] - right[1]))
    anew = one.new_examples
    assert (anew.p, anew.df, anew.standard_error) == pytest.approx(
        (float(student.p()), float(student.df), float(student.standard_error))
    )
    assert (anew.low, anew.high) == pytest.approx(tuple(float(end) for end in student.interval()))
    assert one.sign_flip_p is None
    assert one.stability.ratio == pytest.approx(a.var(ddof=1) / b.var(ddof=1))
    assert (found.metric, found.n_rows) == ("accuracy", 277)


@pytest.mark.parametrize("metric", [MCC, catalogue.find("metrics", "f1")])
def test_differences_of_metrics_that_are_no_mean_are_the_metrics_own(targets, metric):
    base, variant = (
        runs_of("cls", [168, 171, 164], targets),
        runs_of("max", [190, 194, 188], targets, seed=1),
    )
    (one,) = compare_variants(base, [variant], targets, BINARY, metric).contrasts
    own = [
        metric(variant.scores[seed], targets, BINARY) - metric(base.scores[seed], targets, BINARY)
        for seed in (42, 43, 44)
    ]
    assert one.differences == pytest.approx(own)
    assert one.this_dev_set.p == pytest.approx(stats.ttest_1samp(own, 0).pvalue)


def test_seeds_are_paired_by_name_not_by_place(targets):
    base = runs_of("cls", [150, 160, 170, 180], targets)
    variant = SeedRuns(
        "max",
        {seed: base.scores[seed] for seed in (45, 43, 44)} | {99: base.scores[42]},
        failed={42: "out of memory"},
    )
    (one,) = compare_variants(base, [variant], targets, BINARY, ACCURACY).contrasts
    assert one.seeds == (43, 44, 45)
    assert one.differences == (0.0, 0.0, 0.0)
    assert one.notes == (
        "max, seed 42: out of memory",
        "cls was not run with seed 99",
        "every row counts exactly as in the baseline",
    )
    assert one.this_dev_set.p == one.new_examples.p == 1
    assert one.verdict == "no evidence"


def test_eight_seeds_get_a_permutation_probability(targets):
    base, variant = (
        runs_of("cls", [160 + k for k in range(8)], targets),
        runs_of("max", [170 + 2 * k for k in range(8)], targets, seed=1),
    )
    (one,) = compare_variants(base, [variant], targets, BINARY, ACCURACY).contrasts
    assert one.sign_flip_p == 2 / 256


# ----------------------------------------------------------------------------------------- verdicts


def with_effect(
    name: str,
    gain: float,
    targets: np.ndarray,
    *,
    n_seeds: int = 5,
    sd: float = 0.01,
    seed: int = 1,
    suits: float = 0.0,
) -> SeedRuns:
    """Runs whose chance to be right is .6 + gain (+ luck of the seed); `suits`: sd of what each row
    likes about this way.
    """
    draw = np.random.default_rng(seed)
    liked = draw.normal(0, suits, len(targets)) if suits else 0.0
    return SeedRuns(
        name,
        {
            at: answers(
                draw.random(len(targets)) < 0.6 + gain + draw.normal(0, sd) + liked, targets
            )
            for at in range(n_seeds)
        },
    )


@pytest.fixture
def many() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2, 2003)


def test_better_for_new_examples_too(many):
    found = compare_variants(
        with_effect("cls", 0, many), [with_effect("max", 0.1, many, seed=2)], many, BINARY, ACCURACY
    )
    (one,) = found.contrasts
    assert one.verdict == "better, for new examples too"
    assert one.this_dev_set.verdict == one.new_examples.verdict == "better"
    assert one.this_dev_set.low > 0
    assert one.new_examples.low > 0
    assert one.this_dev_set.seeds_needed <= 5
    (back,) = compare_variants(
        with_effect("max", 0.1, many, seed=2), [with_effect("cls", 0, many)], many, BINARY, ACCURACY
    ).contrasts
    assert back.verdict == "worse, for new examples too"
    assert back.delta == -one.delta
    assert back.this_dev_set.high == pytest.approx(-one.this_dev_set.low)


def test_lower_is_better_for_an_error():
    draw = np.random.default_rng(0)
    truth = draw.normal(size=601)
    base, variant = (
        SeedRuns(name, {seed: (truth + sd * draw.normal(size=601))[:, None] for seed in range(5)})
        for name, sd in (("cls", 1.0), ("max", 0.7))
    )
    (one,) = compare_variants(base, [variant], truth, REGRESSION, RMSE).contrasts
    assert one.delta < 0
    assert one.verdict == "better, for new examples too"
    (one,) = compare_variants(base, [variant], truth, REGRESSION, SPEARMAN).contrasts
    assert one.delta > 0
    assert one.verdict == "better, for new examples too"


def test_better_on_this_dev_set_only():
    """Half of the rows suit one way and half the other, one row more here: seeds see it every time,
    new rows would not.
    """
    truth = np.arange(101) % 2
    draw = np.random.default_rng(0)
    suited = np.arange(101) < 56
    base, variant = (
        SeedRuns(
            name,
            {
                seed: answers(
                    np.where(mine, draw.random(101) < 0.97, draw.random(101) < 0.5), truth
                )
                for seed in range(10)
            },
        )
        for name, mine in (("cls", ~suited), ("max", suited))
    )
    (one,) = compare_variants(base, [variant], truth, BINARY, ACCURACY).contrasts
    assert one.this_dev_set.verdict == "better"
    assert one.new_examples.verdict == "no evidence"
    assert one.new_examples.seeds_needed is None
    assert one.new_examples.rows_needed > 101
    needed = f"a dev set of about {one.new_examples.rows_needed:,} rows, and many seeds"
    assert one.verdict == f"better on this dev set, no evidence for new examples (needs {needed})"


def test_no_evidence_says_what_it_would_take(targets):
    base, variant = (
        runs_of("cls", [165, 172, 168], targets),
        runs_of("max", [170, 171, 176], targets, seed=1),
    )
    (one,) = compare_variants(base, [variant], targets, BINARY, ACCURACY).contrasts
    needed = one.this_dev_set.seeds_needed, one.new_examples.seeds_needed
    assert None not in needed
    assert min(needed) > 3
    assert needed[0] == needed[1]
    assert one.verdict == f"no evidence (needs about {needed[0]} seeds, for new examples too)"


def test_what_it_would_take_is_counted_at_the_strictest_of_holms_levels(targets):
    base, variant = (
        runs_of("cls", [165, 172, 168], targets),
        runs_of("max", [170, 171, 176], targets, seed=1),
    )
    others = [runs_of(f"v{k}", [165, 171, 166], targets, seed=k) for k in (2, 3, 4)]
    alone, among = (
        compare_variants(base, variants, targets, BINARY, ACCURACY).contrasts[0]
        for variants in ([variant], [variant, *others])
    )
    spread = np.array(among.differences).var(ddof=1)
    same = Components(np.asarray(among.delta), np.asarray(spread), np.zeros(()), 3, 277)
    assert alone.this_dev_set.seeds_needed == seeds_needed(same, for_new=False, level=0.05)
    assert (
        among.this_dev_set.seeds_needed
        == seeds_needed(same, for_new=False, level=0.0125)
        > alone.this_dev_set.seeds_needed
    )


def test_where_luck_is_all_more_rows_would_not_help(many):
    base, variant = (
        runs_of("cls", [1000, 1300, 1150], many),
        runs_of("max", [1300, 1010, 1200], many, seed=1),
    )
    (one,) = compare_variants(base, [variant], many, BINARY, ACCURACY).contrasts
    assert one.delta == pytest.approx(20 / 2003)
    assert one.new_examples.rows_needed is None
    assert one.verdict == "no evidence (needs more than 1,000 seeds, for new examples too)"


CLAIM = Claim(0.0, 0.1, 0.02, 2.0, 0.01, 0.01, "no evidence", 7)


@pytest.mark.parametrize(
    ("here", "anew", "words"),
    [
        ({"verdict": "better"}, {"verdict": "better"}, "better, for new examples too"),
        (
            {"verdict": "worse"},
            {},
            "worse on this dev set, no evidence for new examples (needs about 7 seeds)",
        ),
        (
            {},
            {"verdict": "better"},
            "better for new examples, though the seeds alone leave it open (needs about 7 seeds)",
        ),
        (
            {},
            {"seeds_needed": None},
            "no evidence (needs about 7 seeds; for new examples more than 1,000 seeds)",
        ),
        (
            {},
            {"seeds_needed": None, "rows_needed": 2300},
            "no evidence (needs about 7 seeds; for new examples a dev set of about 2,300 rows, "
            "and many seeds)",
        ),
    ],
)
def test_words_of_every_combination(here, anew, words):
    one = Contrast(
        "max",
        (1, 2, 3),
        (0.1, 0.2, 0.3),
        0.2,
        replace(CLAIM, **here),
        replace(CLAIM, **anew),
        None,
        None,
    )
    assert one.verdict == words


@pytest.mark.parametrize("n_seeds", [0, 1, 2])
def test_too_few_seeds_for_a_verdict(many, n_seeds):
    found = compare_variants(
        with_effect("cls", 0, many, n_seeds=n_seeds),
        [with_effect("max", 0.3, many, seed=2, n_seeds=n_seeds)],
        many,
        BINARY,
        ACCURACY,
    )
    (one,) = found.contrasts
    assert one.verdict == f"not judged: {n_seeds} seed{'' if n_seeds == 1 else 's'}"
    assert one.badge == "not judged"
    assert len(one.seeds) == n_seeds
    assert (one.delta is None) == (n_seeds == 0)
    assert one.this_dev_set is one.new_examples is one.stability is None
    assert (
        one.notes
        == (
            (),
            ("one seed says nothing about other seeds",),
            ("two seeds are too few for a verdict: run 3 or more",),
        )[n_seeds]
    )


def test_an_interval_of_a_difference_ends_where_the_largest_difference_is(many):
    """Three seeds whose differences are −60, 0 and +66 points: t's interval is ± 157 points."""
    found = compare_variants(
        runs_of("cls", [1600, 1000, 400], many),
        [runs_of("max", [400, 1001, 1720], many, seed=1)],
        many,
        BINARY,
        ACCURACY,
    )
    claim = found.contrasts[0].this_dev_set
    assert (claim.low, claim.high) == (-1.0, 1.0)
    assert claim.p > 0.9


def test_not_applicable_and_failed_cells_stop_nobody(many):
    base = with_effect("cls", 0, many)
    gone = SeedRuns("k = 12", {}, not_applicable="the encoder has 6 layers")
    dead = SeedRuns("mha", {}, failed=dict.fromkeys(range(5), "loss is not finite"))
    found = compare_variants(
        base, [gone, dead, with_effect("max", 0.1, many, seed=2)], many, BINARY, ACCURACY
    )
    assert [one.variant for one in found.contrasts] == ["k = 12", "mha", "max"]
    assert [one.verdict for one in found.contrasts] == [
        "not judged: 0 seeds",
        "not judged: 0 seeds",
        "better, for new examples too",
    ]
    assert found.contrasts[0].notes == ("not applicable: the encoder has 6 layers",)
    assert found.contrasts[1].notes == tuple(
        f"mha, seed {seed}: loss is not finite" for seed in range(5)
    )
    # Holm counts tests that were made.
    assert found.contrasts[2].this_dev_set.p_holm == found.contrasts[2].this_dev_set.p
    assert found.variants[0].mean is None


def test_a_failed_baseline_leaves_nothing_to_say(many):
    found = compare_variants(
        SeedRuns("cls", {}, failed={0: "killed"}),
        [with_effect("max", 0.1, many)],
        many,
        BINARY,
        ACCURACY,
    )
    assert found.contrasts[0].verdict == "not judged: 0 seeds"
    assert found.contrasts[0].notes[0] == "cls, seed 0: killed"
    assert found.variants[0].mean is not None


def test_holm_is_over_variants_question_by_question(targets):
    draw = np.random.default_rng(4)
    base = with_effect("cls", 0, targets, n_seeds=4)
    variants = [
        with_effect(f"v{k}", gain, targets, n_seeds=4, seed=int(draw.integers(1000)))
        for k, gain in enumerate((0.0, 0.12, 0.05))
    ]
    found = compare_variants(base, variants, targets, BINARY, ACCURACY).contrasts
    for claims in (
        [one.this_dev_set for one in found],
        [one.new_examples for one in found],
        [one.stability for one in found],
    ):
        assert tuple(claim.p_holm for claim in claims) == holm([claim.p for claim in claims])
        assert any(claim.p_holm > claim.p for claim in claims)
    # What one contrast alone would have shown, the family does not.
    between = [
        claim
        for one in found
        for claim in (one.this_dev_set, one.new_examples)
        if claim.p < 0.05 <= claim.p_holm
    ]
    assert between
    assert all(claim.verdict == "no evidence" for claim in between)


# ----------------------------------------------------------------------------- where nothing varies


def test_seeds_that_change_nothing_leave_the_rows(many):
    one_run, other = (
        with_effect(name, gain, many, n_seeds=1, seed=seed).scores[0]
        for name, gain, seed in (("cls", 0, 1), ("max", 0.1, 2))
    )
    base, variant = (
        SeedRuns(name, dict.fromkeys(range(3), scores))
        for name, scores in (("cls", one_run), ("max", other))
    )
    (one,) = compare_variants(base, [variant], many, BINARY, ACCURACY).contrasts
    assert "the seeds change nothing" in one.notes
    assert (one.this_dev_set.p, one.this_dev_set.low, one.this_dev_set.high) == pytest.approx(
        (0, one.delta, one.delta)
    )
    right = [(scores.argmax(axis=1) == many).astype(float) for scores in (other, one_run)]
    assert one.new_examples.p == pytest.approx(stats.ttest_rel(*right).pvalue, rel=1e-6)
    assert one.stability is None
    assert one.verdict == "better, for new examples too"


def test_equal_differences_by_chance_prove_nothing(targets):
    base, variant = (
        runs_of("cls", [165, 172, 168], targets),
        runs_of("max", [167, 174, 170], targets, seed=1),
    )
    (one,) = compare_variants(base, [variant], targets, BINARY, ACCURACY).contrasts
    assert one.delta == pytest.approx(2 / 277)
    assert one.this_dev_set is one.new_examples is None
    assert one.verdict == "no evidence"
    assert one.notes == (
        "the difference is the same with every seed, by chance: how much it varies cannot be "
        "told; run more seeds",
    )


def test_few_rows_are_said(targets):
    few = targets[:20]
    (one,) = compare_variants(
        runs_of("cls", [12, 13, 15], few),
        [runs_of("max", [13, 16, 14], few, seed=1)],
        few,
        BINARY,
        ACCURACY,
    ).contrasts
    assert "20 rows are too few for an interval to be trusted" in one.notes


@pytest.mark.filterwarnings("error")
def test_one_row():
    truth = np.array([1])
    (one,) = compare_variants(
        SeedRuns("cls", {k: np.array([[0.0, 1.0]]) for k in range(3)}),
        [SeedRuns("max", {k: np.array([[float(k == 1) * 2, 1.0]]) for k in range(3)})],
        truth,
        BINARY,
        ACCURACY,
    ).contrasts
    assert one.new_examples is None
    assert one.verdict == "no evidence"


# ---------------------------------------------------------------------------------------- stability


def test_stability_in_words(many):
    draw = np.random.default_rng(0)
    calm, wild = ([int(1200 + sd * z) for z in draw.normal(size=10)] for sd in (5, 60))
    found = compare_variants(
        runs_of("cls", wild, many),
        [runs_of("max", calm, many, seed=1), runs_of("mha", wild[::-1], many, seed=2)],
        many,
        BINARY,
        ACCURACY,
    )
    first, second = (one.stability for one in found.contrasts)
    assert first.verdict == "more stable"
    assert first.high < 1
    assert second.verdict == "no evidence"
    assert second.ratio == pytest.approx(1)
    (back,) = compare_variants(
        runs_of("max", calm, many), [runs_of("cls", wild, many, seed=1)], many, BINARY, ACCURACY
    ).contrasts
    assert back.stability.verdict == "less stable"
    assert back.stability.p == pytest.approx(first.p)

"""Intervals over groups of rows: what they are made of, and how often they cover the truth."""

import numpy as np
import pytest

from encore import catalogue
from encore.evaluation.bootstrap import bootstrap_interval, resampled, resampled_differences
from encore.evaluation.clusters import cluster_codes, shares_of_groups
from encore.evaluation.contrast import compare_variants
from encore.evaluation.estimates import by_slice, estimate_metrics
from encore.evaluation.intervals import components
from encore.evaluation.paired import paired_differences
from encore.evaluation.seed_runs import SeedRuns
from encore.types import LabelSpace

TWO = LabelSpace("binary", ("no", "yes"))
VALUE = LabelSpace("regression")


def answers(right: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Scores that answer as `right` says."""
    said = np.where(right, truth, 1 - truth)
    return np.stack([1.0 - said, said], axis=1)


def clustered_study(rng: np.random.Generator, n_groups: int, size: int) -> tuple[np.ndarray, ...]:
    """Right or wrong, with a chance of each group's own (Beta(.8, .4): mean 2/3), and groups."""
    chance = rng.beta(0.8, 0.4, n_groups)
    right = rng.random((n_groups, size)) < chance[:, None]
    return right.ravel(), np.repeat(np.arange(n_groups), size)


def coverage(n_studies: int, n_resamples: int) -> tuple[float, float]:
    """The shares of studies whose clustered and whose plain interval covers the truth, 2/3."""
    rng, accuracy, covered = np.random.default_rng(5), catalogue.find("metrics", "accuracy"), []
    for seed in range(n_studies):
        right, groups = clustered_study(rng, 80, 8)
        truth = rng.integers(0, 2, len(right))
        scores = answers(right, truth)
        both = [
            bootstrap_interval(
                accuracy, scores, truth, TWO, seed=seed, n_resamples=n_resamples, groups=given
            )
            for given in (groups, None)
        ]
        covered.append([one.low <= 2 / 3 <= one.high for one in both])
    clustered, plain = np.mean(covered, axis=0)
    return float(clustered), float(plain)


def test_clustered_intervals_cover_where_plain_ones_do_not():
    clustered, plain = coverage(600, 400)
    assert abs(clustered - 0.95) <= 0.015
    assert plain < 0.85


@pytest.mark.nightly
def test_clustered_intervals_cover_in_many_studies():
    clustered, plain = coverage(6000, 1000)
    assert abs(clustered - 0.95) <= 0.015
    assert plain < 0.85


@pytest.mark.parametrize("name", ["accuracy", "f1", "mcc"])
def test_groups_of_one_row_change_no_bit(name):
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, 60)
    scores, others = rng.normal(size=(2, 60, 2))
    alone = rng.permutation(60) * 7
    assert estimate_metrics(scores, truth, TWO, [name], 3) == estimate_metrics(
        scores, truth, TWO, [name], 3, groups=alone
    )
    assert paired_differences(scores, others, truth, TWO, [name], 3) == paired_differences(
        scores, others, truth, TWO, [name], 3, groups=alone
    )
    runs = {seed: rng.normal(size=(60, 2)) for seed in range(8)}
    arms = [
        SeedRuns("a", {seed: runs[seed] for seed in range(4)}),
        SeedRuns("b", {seed: runs[seed + 4] for seed in range(4)}),
    ]
    metric = catalogue.find("metrics", name)
    plain = compare_variants(arms[0], arms[1:], truth, TWO, metric)
    assert plain.contrasts == (
        compare_variants(arms[0], arms[1:], truth, TWO, metric, groups=alone).contrasts
    )


@pytest.mark.parametrize(
    ("name", "labels"), [("accuracy", TWO), ("f1", TWO), ("spearman", VALUE), ("pearson", VALUE)]
)
def test_resamples_of_groups_are_those_of_a_slow_loop(name, labels):
    """The same distribution as that of whole groups drawn one by one."""
    rng, metric = np.random.default_rng(2), catalogue.find("metrics", name)
    groups = np.repeat(np.arange(40), rng.integers(1, 6, 40))
    n = len(groups)
    level = rng.normal(size=40)[groups]
    truth = level + rng.normal(size=n) if labels is VALUE else (level > 0).astype(int)
    scores = (
        (level + rng.normal(size=n))[:, None]
        if labels is VALUE
        else answers(rng.random(n) < 0.7, truth)
    )
    found = resampled(metric, scores, truth, labels, seed=1, n_resamples=2000, groups=groups)
    slow = []
    for _ in range(400):
        rows = np.concatenate([np.flatnonzero(groups == g) for g in rng.integers(0, 40, 40)])
        slow.append(metric(scores[rows], truth[rows], labels))
    assert found.mean() == pytest.approx(np.mean(slow), abs=4 * np.std(slow) / np.sqrt(333))
    assert found.std() == pytest.approx(np.std(slow), rel=0.15)


def test_a_metric_without_a_weighted_form_draws_whole_groups_too():
    groups, seen = np.array([4, 4, 9, 9, 9, 1]), []

    def size(scores, targets, labels):
        seen.append(sorted(scores[:, 0].astype(int).tolist()))
        return float(len(scores))

    size.weighted, size.__name__ = None, "size"
    scores = np.arange(6, dtype=float)[:, None]
    resampled(size, scores, np.zeros(6), VALUE, seed=1, n_resamples=50, groups=groups)
    for rows in seen:
        counts = np.bincount(rows, minlength=6)
        assert counts[0] == counts[1]
        assert counts[2] == counts[3] == counts[4]
        assert counts[0] + counts[2] + counts[5] == 3


def test_a_paired_difference_draws_whole_groups():
    rng, accuracy = np.random.default_rng(3), catalogue.find("metrics", "accuracy")
    right, groups = clustered_study(rng, 60, 8)
    other, _ = clustered_study(rng, 60, 8)
    truth = rng.integers(0, 2, len(right))
    given = (accuracy, answers(right, truth), answers(other, truth), truth, TWO)
    found = resampled_differences(*given, seed=1, groups=groups)
    per_group = (right.astype(float) - other).reshape(60, 8).mean(axis=1)
    assert found.std() == pytest.approx(per_group.std() / np.sqrt(60), rel=0.06)
    assert found.std() > 1.5 * resampled_differences(*given, seed=1).std()


def test_the_variance_over_new_groups_is_the_cluster_robust_one():
    """Liang and Zeger's sandwich of a mean, with the usual groups / (groups − 1)."""
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(30), rng.integers(1, 9, 30))
    shares = np.tile(rng.normal(size=len(groups)) + rng.normal(size=30)[groups], (3, 1))
    drawn = shares_of_groups(shares, groups)
    assert drawn.mean() == pytest.approx(shares.mean())
    sums = [(shares[0] - shares[0].mean())[groups == group].sum() for group in range(30)]
    sandwich = 30 / 29 * np.square(sums).sum() / len(groups) ** 2
    assert components(drawn).row_variance == pytest.approx(sandwich)


def test_groups_are_numbered():
    assert cluster_codes(None) is None
    assert cluster_codes(np.array([5, 3, 8])) is None
    assert cluster_codes(np.array([5, 3, 5])).tolist() == [1, 0, 1]


def test_a_slice_has_the_interval_of_its_own_groups():
    rng = np.random.default_rng(6)
    right, groups = clustered_study(rng, 60, 6)
    truth = rng.integers(0, 2, len(right))
    values = np.where(groups < 40, "north", "south")
    scores, north = answers(right, truth), groups < 40
    found = by_slice(values.tolist(), scores, truth, TWO, ["accuracy"], 1, groups=groups)
    alone = estimate_metrics(
        scores[north], truth[north], TWO, ["accuracy"], 1, groups=groups[north]
    )
    assert found[0].estimates == alone


def false_claims(n_studies: int, *, grouped: bool) -> float:
    """The share of null studies, with groups that suit one way or the other, that claim something
    for new examples.
    """
    rng, accuracy, wrong = np.random.default_rng(7), catalogue.find("metrics", "accuracy"), 0
    for _ in range(n_studies):
        groups = np.repeat(np.arange(40), 6)
        truth = rng.integers(0, 2, 240)
        arms = []
        for name in ("a", "b"):
            chance = rng.beta(2, 1, 40)[groups]
            runs = {seed: answers(rng.random(240) < chance, truth) for seed in range(4)}
            arms.append(SeedRuns(name, runs))
        found = compare_variants(
            arms[0], arms[1:], truth, TWO, accuracy, groups=groups if grouped else None
        )
        claim = found.contrasts[0].new_examples
        wrong += claim is not None and claim.verdict != "no evidence"
    return wrong / n_studies


@pytest.mark.nightly
def test_claims_for_new_examples_hold_for_new_groups():
    assert false_claims(300, grouped=True) < 0.09
    assert false_claims(300, grouped=False) > 0.15

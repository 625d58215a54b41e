"""Splits and cuts: the same mix on both sides, nothing lost, a function of the seed alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encore.data.split import stratified_split, stratified_subset

QUICK = settings(max_examples=80, deadline=None)
KINDS = ("multiclass", "multilabel", "regression")


def drawn(kind: str, n_rows: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "multiclass":
        return rng.choice(5, size=n_rows, p=[0.5, 0.3, 0.15, 0.04, 0.01])
    if kind == "multilabel":
        return (rng.random((n_rows, 7)) < [0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01]).astype(np.float32)
    return rng.gamma(2.0, size=n_rows).astype(np.float32)


@QUICK
@given(
    kind=st.sampled_from(KINDS),
    n_rows=st.integers(2, 120),
    frac=st.floats(0.01, 0.99),
    seed=st.integers(0, 99),
    n_groups=st.integers(1, 120),
)
def test_every_row_is_on_one_side_and_groups_stay_together(
    kind: str, n_rows: int, frac: float, seed: int, n_groups: int
) -> None:
    groups = np.random.default_rng(seed).integers(0, n_groups, n_rows)
    train, dev = stratified_split(drawn(kind, n_rows, seed), kind, frac, seed, groups)
    assert np.array_equal(np.sort(np.concatenate([train, dev])), np.arange(n_rows))
    assert np.array_equal(train, np.sort(train))
    assert np.array_equal(dev, np.sort(dev))
    assert not set(groups[train]) & set(groups[dev])
    assert len(train) > 0
    assert len(dev) > 0 or len(set(groups)) == 1


@QUICK
@given(
    kind=st.sampled_from(KINDS),
    n_rows=st.integers(1, 150),
    n=st.integers(1, 200),
    seed=st.integers(0, 99),
)
def test_a_cut_has_exactly_as_many_rows_as_asked(kind: str, n_rows: int, n: int, seed: int) -> None:
    kept = stratified_subset(drawn(kind, n_rows, seed), kind, n, seed)
    assert len(kept) == len(set(kept.tolist())) == min(n, n_rows)
    assert np.array_equal(kept, np.sort(kept))


@QUICK
@given(n_rows=st.integers(40, 400), frac=st.floats(0.1, 0.5), seed=st.integers(0, 99))
def test_each_class_gives_its_share_to_within_one_row(n_rows: int, frac: float, seed: int) -> None:
    targets = drawn("multiclass", n_rows, seed)
    train, dev = stratified_split(targets, "multiclass", frac, seed)
    for label in np.unique(targets):
        n_label = (targets == label).sum()
        n_dev = (targets[dev] == label).sum()
        assert abs(n_dev - n_label * frac) <= 2
        assert n_label < 2 or 0 < n_dev < n_label
        assert (targets[train] == label).any()


def test_the_dev_part_has_the_asked_size() -> None:
    for kind in KINDS:
        _, dev = stratified_split(drawn(kind, 1000, 1), kind, 0.15, 42)
        assert len(dev) == 150, kind


def test_rare_labels_of_a_multilabel_task_are_on_both_sides_where_a_random_split_misses_them() -> (
    None
):
    """Iterative stratification against plain shuffling: mean deviation of the label shares over 20
    seeds, and labels that dev lacks.
    """
    targets = drawn("multilabel", 400, 3)
    share = targets.mean(axis=0)
    ours, shuffled, missing = [], [], 0
    for seed in range(20):
        _, dev = stratified_split(targets, "multilabel", 0.15, seed)
        ours.append(np.abs(targets[dev].mean(axis=0) - share).mean())
        missing += int((targets[dev].sum(axis=0) == 0).sum())
        lot = np.random.default_rng(seed).permutation(400)[:60]
        shuffled.append(np.abs(targets[lot].mean(axis=0) - share).mean())
    assert missing == 0
    assert np.mean(ours) < 0.25 * np.mean(shuffled)


def test_iterative_stratification_deals_the_rarest_label_first_by_hand() -> None:
    """Four rows carry the rare label 1 (all carry label 0 too), half of everything is wanted: two
    and two, and the other six three and three.
    """
    targets = np.array([[1, 1]] * 4 + [[1, 0]] * 6, dtype=np.float32)
    for seed in range(10):
        train, dev = stratified_split(targets, "multilabel", 0.5, seed)
        assert targets[dev].sum(axis=0).tolist() == targets[train].sum(axis=0).tolist() == [5, 2]


def test_regression_is_split_by_tenths_of_the_values() -> None:
    values = drawn("regression", 2000, 5)
    _, dev = stratified_split(values, "regression", 0.1, 42)
    edges = np.quantile(values, np.linspace(0, 1, 11)[1:-1])
    assert np.ptp(np.bincount(np.searchsorted(edges, values[dev]), minlength=10)) <= 2


def test_a_class_of_one_row_stays_in_train() -> None:
    targets = np.array([0] * 20 + [1] * 20 + [2])
    for seed in range(20):
        train, dev = stratified_split(targets, "multiclass", 0.4, seed)
        assert 40 in train
        assert set(targets[dev]) == {0, 1}


def test_the_seed_and_the_purpose_decide_and_nothing_else() -> None:
    targets = drawn("multiclass", 300, 0)
    first = stratified_split(targets, "multiclass", 0.2, 42, purpose="a")[1]
    np.random.seed(7)
    assert np.array_equal(
        first, stratified_split(targets.copy(), "multiclass", 0.2, 42, purpose="a")[1]
    )
    assert not np.array_equal(
        first, stratified_split(targets, "multiclass", 0.2, 43, purpose="a")[1]
    )
    assert not np.array_equal(
        first, stratified_split(targets, "multiclass", 0.2, 42, purpose="b")[1]
    )
    assert not np.array_equal(
        stratified_subset(targets, "multiclass", 60, 42),
        stratified_subset(targets, "multiclass", 60, 43),
    )


def test_a_split_of_a_hundred_thousand_multilabel_rows_takes_seconds() -> None:
    import time

    targets = drawn("multilabel", 100_000, 0)
    start = time.process_time()
    _, dev = stratified_split(targets, "multilabel", 0.15, 42)
    assert time.process_time() - start < 10
    assert len(dev) == 15_000


def test_impossible_sizes_are_refused() -> None:
    for frac in (0.0, 1.0, -1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            stratified_split(np.arange(9), "regression", frac, 1)
    with pytest.raises(ValueError, match="two rows or more"):
        stratified_split(np.zeros(1, dtype=int), "binary", 0.5, 1)
    with pytest.raises(ValueError, match="1 or more"):
        stratified_subset(np.arange(9), "regression", 0, 1)

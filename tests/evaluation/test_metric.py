"""The bootstrap: its fast forms against the metrics themselves on the same resamples, its interval
against theory, its answer against itself.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
import scipy.stats

from encore import catalogue
from encore.errors import DataError
from encore.evaluation.bootstrap import bootstrap_interval, resampled
from encore.evaluation.metric import MetricWarning, metric
from encore.types import LabelSpace

SPACES = (
    LabelSpace("binary", ("no", "yes")),
    LabelSpace("multiclass", tuple("abcde")),
    LabelSpace("multilabel", tuple("pqrstuv")),
    LabelSpace("regression"),
)
CASES = [
    (name, labels)
    for name in catalogue.names("metrics")
    for labels in SPACES
    if labels.kind in catalogue.find("metrics", name).kinds
]
WEIGHTED = [case for case in CASES if catalogue.find("metrics", case[0]).weighted]


def rows(labels: LabelSpace, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    scores = draw.normal(size=(n, labels.n_scores))
    if labels.kind == "regression":
        return scores.round(1), (scores[:, 0] + draw.normal(size=n)).round(1)
    if labels.kind == "multilabel":
        return scores - 1, (scores + draw.normal(size=scores.shape) > 1.5).astype(np.int64)
    return scores, np.where(
        draw.random(n) < 0.5, scores.argmax(axis=1), draw.integers(0, labels.n_scores, n)
    )


def test_every_metric_is_a_case():
    """A new file joins by itself; without a weighted form its bootstrap is slow, and no more."""
    assert len(CASES) >= 21
    assert {name for name, _ in WEIGHTED} >= {"accuracy", "f1", "log_loss", "pearson", "spearman"}


@pytest.mark.parametrize(("name", "labels"), WEIGHTED, ids=lambda case: getattr(case, "kind", case))
@pytest.mark.parametrize("n", [1, 2, 7, 53])
def test_the_weighted_form_is_the_metric_on_the_resampled_rows(name, labels, n):
    metric = catalogue.find("metrics", name)
    scores, targets = rows(labels, n)
    form = metric.weighted(scores, targets, labels)
    draws = np.random.default_rng(1).integers(0, n, size=(23, n))
    counts = np.stack(
        [np.bincount(form.kind_of_row[draw], minlength=form.n_kinds) for draw in draws]
    ).astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetricWarning)
        slow = [metric(scores[draw], targets[draw], labels) for draw in draws]
    np.testing.assert_allclose(form.value(counts), slow, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "labels"), WEIGHTED, ids=lambda case: getattr(case, "kind", case))
def test_fast_and_slow_bootstrap_have_the_same_distribution(name, labels):
    fast = catalogue.find("metrics", name)
    scores, targets = rows(labels, 83)

    @metric(name, kinds=fast.kinds)
    def slow(scores, targets, labels):
        return fast(scores, targets, labels)

    a = resampled(fast, scores, targets, labels, seed=3, n_resamples=1000)
    b = resampled(slow, scores, targets, labels, seed=4, n_resamples=300)
    assert abs(a.mean() - b.mean()) < 4 * a.std() * (1 / 300 + 1 / 1000) ** 0.5
    assert a.std() == pytest.approx(b.std(), rel=0.2)


@pytest.mark.parametrize(("name", "labels"), CASES, ids=lambda case: getattr(case, "kind", case))
def test_same_seed_same_interval(name, labels):
    metric = catalogue.find("metrics", name)
    scores, targets = rows(labels, 149)
    intervals = [
        bootstrap_interval(metric, scores, targets, labels, seed=seed, n_resamples=200)
        for seed in (5, 5, 6)
    ]
    assert intervals[0] == intervals[1] != intervals[2]
    assert intervals[0].low < metric(scores, targets, labels) < intervals[0].high


@pytest.mark.parametrize(("n", "p"), [(277, 0.61), (1101, 0.486), (20_000, 0.9)])
def test_accuracy_interval_is_the_binomial_one(n, p):
    right = np.arange(n) < round(n * p)
    low, high = scipy.stats.binom.ppf([0.025, 0.975], n, right.mean()) / n
    interval = bootstrap_interval(
        catalogue.find("metrics", "accuracy"),
        np.stack([~right, right], axis=1),
        np.ones(n, int),
        SPACES[0],
        seed=0,
    )
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.15 * (high - low) / 2)


@pytest.mark.nightly
def test_twenty_thousand_rows_take_a_moment():
    slowest = {}
    for name, labels in WEIGHTED:
        scores, targets = rows(labels, 20_000)
        start = time.process_time()
        bootstrap_interval(catalogue.find("metrics", name), scores, targets, labels, seed=0)
        slowest[name, labels.kind] = time.process_time() - start
    assert max(slowest.values()) < 4, slowest  # 0.01 to 1.2 s on a quiet core


def test_degenerate_rows():
    accuracy, pearson = (catalogue.find("metrics", name) for name in ("accuracy", "pearson"))
    one = bootstrap_interval(accuracy, np.array([[0.0, 1.0]]), np.array([1]), SPACES[0], seed=0)
    assert (one.low, one.high) == (1.0, 1.0)
    constant = bootstrap_interval(pearson, np.ones((9, 1)), np.arange(9.0), SPACES[3], seed=0)
    assert (constant.low, constant.high) == (0.0, 0.0)
    with pytest.raises(DataError, match="finite"):
        bootstrap_interval(accuracy, np.full((3, 2), np.nan), np.zeros(3, int), SPACES[0], seed=0)


def test_resamples_of_many_classes_are_summed_a_few_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With 10,000 classes, the sums of 2,000 resamples would take half a gigabyte at once."""
    draw, labels = np.random.default_rng(2), LabelSpace("multiclass", tuple("abcdefg"))
    scores, targets = draw.normal(size=(40, 7)), draw.integers(0, 7, 40)
    macro_f1 = catalogue.find("metrics", "macro_f1")
    whole = resampled(macro_f1, scores, targets, labels, seed=1, n_resamples=90)
    monkeypatch.setattr("encore.evaluation.metric._SUMS_AT_ONCE", 8 * 3 * 7)
    parts = resampled(macro_f1, scores, targets, labels, seed=1, n_resamples=90)
    np.testing.assert_array_equal(parts, whole)

"""Shares of rows, against leaving each row out by hand, against known influence functions, and
against the bootstrap.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats

from encore import catalogue
from encore.errors import DataError, RecipeError
from encore.evaluation.bootstrap import resampled
from encore.evaluation.influence import jackknife_pseudovalues
from encore.evaluation.metric import MetricWarning, metric
from evaluation.test_metric import CASES, SPACES, rows


def test_every_metric_is_a_case():
    assert {name for name, _ in CASES} == set(catalogue.names("metrics"))
    assert len(CASES) >= 21


@pytest.mark.parametrize(("name", "labels"), CASES, ids=lambda case: getattr(case, "kind", case))
@pytest.mark.parametrize("n", [2, 7, 53])
def test_a_share_is_what_leaving_the_row_out_takes_away(name, labels, n):
    metric = catalogue.find("metrics", name)
    scores, targets = rows(labels, n)
    value, shares = jackknife_pseudovalues(metric, scores, targets, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetricWarning)
        assert value == metric(scores, targets, labels)
        without = np.array(
            [
                metric(np.delete(scores, row, axis=0), np.delete(targets, row, axis=0), labels)
                for row in range(n)
            ]
        )
    # Pseudo-values, moved to the value.
    pseudo = n * value - (n - 1) * without
    np.testing.assert_allclose(shares, pseudo - pseudo.mean() + value, rtol=1e-9, atol=1e-9)
    assert shares.mean() == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(("name", "labels"), CASES, ids=lambda case: getattr(case, "kind", case))
def test_without_a_weighted_form_the_metric_itself_is_called(name, labels):
    fast = catalogue.find("metrics", name)
    scores, targets = rows(labels, 23)

    @metric(name, kinds=fast.kinds)
    def plain(scores, targets, labels):
        return fast(scores, targets, labels)

    np.testing.assert_allclose(
        jackknife_pseudovalues(plain, scores, targets, labels)[1],
        jackknife_pseudovalues(fast, scores, targets, labels)[1],
        rtol=1e-9,
        atol=1e-9,
    )


@pytest.mark.parametrize(("name", "labels"), CASES, ids=lambda case: getattr(case, "kind", case))
def test_their_variance_is_that_of_the_bootstrap(name, labels):
    metric = catalogue.find("metrics", name)
    scores, targets = rows(labels, 601)
    _, shares = jackknife_pseudovalues(metric, scores, targets, labels)
    # The calibration error has a corner where a bin's gap is 0, near which resamples vary less.
    near = 0.12 if name == "ece" else 0.08
    assert shares.std(ddof=1) / 601**0.5 == pytest.approx(
        resampled(metric, scores, targets, labels, seed=1).std(), rel=near
    )


def test_the_share_of_a_mean_is_the_rows_own_term():
    labels = SPACES[0]
    scores, targets = rows(labels, 53)
    _, shares = jackknife_pseudovalues(
        catalogue.find("metrics", "accuracy"), scores, targets, labels
    )
    np.testing.assert_allclose(shares, scores.argmax(axis=1) == targets, atol=1e-10)
    labels = SPACES[3]
    scores, targets = rows(labels, 53)
    _, shares = jackknife_pseudovalues(catalogue.find("metrics", "mae"), scores, targets, labels)
    np.testing.assert_allclose(shares, np.abs(scores[:, 0] - targets), atol=1e-10)


def test_the_shares_of_pearson_are_its_influence_function():
    scores, targets = rows(SPACES[3], 4001)
    value, shares = jackknife_pseudovalues(
        catalogue.find("metrics", "pearson"), scores, targets, SPACES[3]
    )
    x, y = stats.zscore(scores[:, 0]), stats.zscore(targets)
    influence = x * y - value * (x**2 + y**2) / 2
    assert np.abs(shares - value - influence).max() < 0.02
    assert np.corrcoef(shares, influence)[0, 1] > 0.9999


def test_mcc_by_hand():
    # METHODS 8.7: truth 1, 1, 0, 0, predicted 1, 0, 0, 0: MCC 1/√3. Without row 0: 0 (one answer
    # only); without row 1: 1; without 2 or 3: 1/2.
    targets = np.array([1, 1, 0, 0])
    scores = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    value, shares = jackknife_pseudovalues(
        catalogue.find("metrics", "mcc"), scores, targets, SPACES[0]
    )
    assert value == pytest.approx(3**-0.5)
    assert shares == pytest.approx(value + 3 * (0.5 - np.array([0, 1, 0.5, 0.5])))


@pytest.mark.parametrize(
    ("name", "value"), [("pearson", 0.0), ("spearman", 0.0), ("normalised_pearson", 0.5)]
)
def test_a_collapsed_run_depends_on_no_row(name, value):
    # As of a collapsed model: equal but for the last bit, which must not be read as a correlation.
    targets = np.arange(31.0)
    scores = (2.5 + 1e-9 * np.random.default_rng(0).normal(size=31))[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, shares = jackknife_pseudovalues(
            catalogue.find("metrics", name), scores, targets, SPACES[3]
        )
    assert found == value
    assert (shares == value).all()


def test_warnings_of_others_get_through():
    @metric("talkative", kinds=("binary",))
    def talkative(scores, targets, labels):
        warnings.warn("look here", RuntimeWarning, stacklevel=1)
        return 0.5

    with pytest.warns(RuntimeWarning, match="look here"):
        jackknife_pseudovalues(talkative, *rows(SPACES[0], 5), SPACES[0])


def test_one_row_and_scores_that_do_not_fit():
    metric = catalogue.find("metrics", "accuracy")
    value, shares = jackknife_pseudovalues(metric, np.array([[0.0, 1.0]]), np.array([1]), SPACES[0])
    assert (value, shares.tolist()) == (1.0, [1.0])
    with pytest.raises(DataError, match="expected shape"):
        jackknife_pseudovalues(metric, np.zeros((3, 2)), np.array([1, 0]), SPACES[0])
    with pytest.raises(RecipeError, match="is for"):
        jackknife_pseudovalues(metric, np.zeros((3, 1)), np.zeros(3), SPACES[3])

"""Decisions: temperature, thresholds and abstention against scikit-learn, scipy and slow loops, and
figures that never see a row twice.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_expit, logit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import f1_score, precision_recall_curve

from encore import catalogue
from encore.errors import RecipeError
from encore.evaluation.decision import PLAIN, Decision
from encore.evaluation.decision_figures import accuracy_by_coverage, measure_decision
from encore.evaluation.fit_decision import (
    cross_fit,
    fit_abstention,
    fit_decision,
    fit_temperature,
    fit_thresholds,
    parts_of_rows,
    threshold_metric,
)
from encore.evaluation.predictions import predictions, probabilities
from encore.recipe.decision_recipe import DecisionRecipe
from encore.types import LabelSpace

BINARY = LabelSpace("binary", ("no", "yes"))
THREE = LabelSpace("multiclass", ("a", "b", "c"))
TAGS = LabelSpace("multilabel", ("p", "q", "r"))


def rows(labels: LabelSpace, n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores twice as sure as they should be, the rarer labels the later ones, and labels."""
    draw = np.random.default_rng(seed)
    scores = draw.normal(size=(n, labels.n_scores)) - 0.4 * np.arange(labels.n_scores)
    probs = probabilities(scores, labels)
    if labels.kind == "multilabel":
        return 2 * scores, (draw.random(probs.shape) < probs).astype(np.int64)
    return 2 * scores, (draw.random((n, 1)) > probs.cumsum(axis=1)).sum(axis=1)


class _Known(ClassifierMixin, BaseEstimator):
    """A classifier whose logits are its input."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> _Known:
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return X

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.classes_[X.argmax(axis=1)]


def test_the_temperature_is_that_of_scikit_learn() -> None:
    scores, targets = rows(THREE)
    theirs = CalibratedClassifierCV(
        FrozenEstimator(_Known().fit(scores, targets)), method="temperature"
    ).fit(scores, targets)
    found = fit_temperature(scores, targets, THREE)
    assert found is not None
    assert found == pytest.approx(2, rel=0.2)
    ours = softmax(scores / found, axis=1)
    np.testing.assert_allclose(ours, theirs.predict_proba(scores), atol=1e-3)


@pytest.mark.parametrize("labels", [BINARY, THREE, TAGS], ids=lambda one: one.kind)
def test_the_temperature_has_the_lowest_log_loss(labels: LabelSpace) -> None:
    scores, targets = rows(labels)
    loss = catalogue.find("metrics", "log_loss")
    slow = minimize_scalar(
        lambda t: loss(scores / t, targets, labels),
        bounds=(0.05, 20),
        method="bounded",
        options={"xatol": 1e-9},
    )
    found = fit_temperature(scores, targets, labels)
    assert found == pytest.approx(slow.x, rel=1e-4)
    assert fit_temperature(3 * scores, targets, labels) == pytest.approx(3 * slow.x, rel=1e-4)


@pytest.mark.parametrize("labels", [BINARY, THREE, TAGS], ids=lambda one: one.kind)
def test_no_temperature_where_there_is_no_lowest_loss(labels: LabelSpace) -> None:
    scores, _ = rows(labels, 50)
    right = predictions(scores, labels)
    assert fit_temperature(scores, right, labels) is None  # the lower, the better
    assert fit_temperature(-scores, right, labels) is None  # the higher, the better
    assert fit_temperature(0 * scores, right, labels) is None
    decision, notes = fit_decision(scores, right, labels, DecisionRecipe(), None)
    assert decision == PLAIN
    assert any("no temperature" in note for note in notes)


@pytest.mark.parametrize("name", ["f1", "macro_f1", "accuracy", "mcc", "micro_f1"])
def test_a_binary_threshold_is_the_best_of_all(name: str) -> None:
    scores, targets = rows(BINARY, 60, seed=3)
    metric = threshold_metric(name, BINARY)
    probs = probabilities(scores, BINARY)
    (found,) = fit_thresholds(probs, targets, BINARY, metric)
    decided = Decision(thresholds=(found,)).decided(scores, BINARY)
    slow = max(
        metric(np.stack([np.zeros(60), probs[:, 1] - cut], axis=1), targets, BINARY)
        for cut in [0.0, *probs[:, 1].tolist(), 0.5]
    )
    assert metric(decided, targets, BINARY) == pytest.approx(slow)
    np.testing.assert_array_equal(predictions(decided, BINARY), probs[:, 1] > found)


def test_the_threshold_of_f1_is_that_of_the_precision_recall_curve() -> None:
    scores, targets = rows(BINARY, 200, seed=4)
    probs = probabilities(scores, BINARY)
    precision, recall, _ = precision_recall_curve(targets, probs[:, 1])
    best = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))
    (found,) = fit_thresholds(probs, targets, BINARY, threshold_metric("f1", BINARY))
    assert f1_score(targets, probs[:, 1] > found) == pytest.approx(best)
    assert best > f1_score(targets, probs[:, 1] > 0.5)


@pytest.mark.parametrize("name", ["macro_f1", "micro_f1"])
def test_thresholds_of_labels_by_brute_force(name: str) -> None:
    """All triples of thresholds between the probabilities of a few rows."""
    scores, targets = rows(TAGS, 9, seed=5)
    metric, probs = threshold_metric(name, TAGS), probabilities(scores, TAGS)
    found = fit_thresholds(probs, targets, TAGS, metric)
    cuts = [np.unique([0, *probs[:, label] + 1e-9]) for label in range(3)]
    slow = max(metric(probs - np.array(each), targets, TAGS) for each in itertools.product(*cuts))
    decided = Decision(thresholds=found).decided(scores, TAGS)
    value = metric(decided, targets, TAGS)
    np.testing.assert_array_equal(predictions(decided, TAGS), probs >= np.array(found))
    assert value == pytest.approx(slow) if name == "macro_f1" else value >= slow - 0.02
    assert value >= metric(scores, targets, TAGS)


def test_a_label_that_no_row_has_keeps_its_threshold() -> None:
    scores, targets = rows(TAGS, 40)
    targets[:, 1], scores[:, 1] = 0, -9
    found = fit_thresholds(
        probabilities(scores, TAGS), targets, TAGS, threshold_metric("macro_f1", TAGS)
    )
    assert found[1] == 0.5


@pytest.mark.parametrize("name", ["log_loss", "subset_accuracy", "lrap", "pearson"])
def test_thresholds_are_refused_for_other_metrics(name: str) -> None:
    with pytest.raises(RecipeError, match="Name one of macro_f1, micro_f1"):
        threshold_metric(name, TAGS)
    with pytest.raises(RecipeError, match="most probable class"):
        threshold_metric("macro_f1", THREE)


@pytest.mark.parametrize("labels", [BINARY, THREE, TAGS], ids=lambda one: one.kind)
def test_a_decision_by_hand(labels: LabelSpace) -> None:
    """Row by row: divide, take the probabilities, compare."""
    scores, _ = rows(labels, 50)
    thresholds = {"binary": (0.3,), "multiclass": (), "multilabel": (0.3, 0.5, 0.8)}[labels.kind]
    decision = Decision(1.7, thresholds, 0.6)
    answers = decision.answers(scores, labels)
    for at, row in enumerate(scores):
        if labels.kind == "multilabel":
            p = np.exp(log_expit(row / 1.7))
            chosen = p >= np.array(thresholds)
            sure = np.where(chosen, p, 1 - p).min()
        else:
            p = softmax(row / 1.7)
            number = int(p[1] > 0.3) if labels.kind == "binary" else int(p.argmax())
            chosen, sure = np.array(number), p[number]
        np.testing.assert_array_equal(decision.predictions(scores, labels)[at], chosen)
        np.testing.assert_allclose(decision.probabilities(scores, labels)[at], p)
        assert answers.confidence[at] == pytest.approx(sure)
        assert answers.covered[at] == (sure >= 0.6)


def test_a_plain_decision_changes_no_bit() -> None:
    scores = rows(TAGS)[0].astype(np.float32)
    assert PLAIN.calibrated(scores) is scores
    assert PLAIN.decided(scores, TAGS) is scores
    assert PLAIN.covers(scores, TAGS).all()
    assert PLAIN.described(TAGS) == ""


def test_averaged_probabilities_are_scores() -> None:
    """An ensemble's: the logarithms of theirs, or their log-odds."""
    probs = probabilities(rows(THREE)[0], THREE)
    np.testing.assert_allclose(PLAIN.probabilities(np.log(probs), THREE), probs)
    tags = probabilities(rows(TAGS)[0], TAGS)
    np.testing.assert_allclose(PLAIN.probabilities(logit(tags), TAGS), tags)


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": 0.0}, {"temperature": np.nan}, {"thresholds": (1.0,)}, {"abstain": 90.0}],
)
def test_a_decision_out_of_range(wrong: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        Decision(**wrong)


def test_abstention_by_brute_force() -> None:
    scores, targets = rows(THREE, 90, seed=8)
    confidence = probabilities(scores, THREE).max(axis=1).round(2)  # with ties
    right = predictions(scores, THREE) == targets
    for wanted in (0.5, 0.7, 0.8):
        enough = [at for at in np.unique(confidence) if right[confidence >= at].mean() >= wanted]
        found = fit_abstention(confidence, right, {"accuracy": wanted})
        lowest = min(enough)
        assert found == (0 if lowest == confidence.min() else lowest)
    for share in (0.25, 0.5, 1.0):
        found = fit_abstention(confidence, right, {"coverage": share})
        assert found is not None
        assert (confidence >= found).mean() >= share
        assert share == 1 or (confidence > found).mean() < share
    assert fit_abstention(confidence, right, 0.9) == 0.9
    assert fit_abstention(confidence, np.zeros(90, bool), {"accuracy": 0.5}) is None


def test_what_cannot_be_reached_is_a_note() -> None:
    scores, targets = rows(THREE, 60)
    decision, notes = fit_decision(
        -scores, targets, THREE, DecisionRecipe(abstain={"accuracy": 0.999}), None
    )
    assert decision.abstain == 0
    assert any("no confidence reaches an accuracy of 99.9 %" in note for note in notes)
    assert any("60 rows" in note for note in notes)


def test_parts_are_even_and_seeded() -> None:
    part_of = parts_of_rows(53, 5, 7)
    assert sorted(np.bincount(part_of)) == [10, 10, 11, 11, 11]
    np.testing.assert_array_equal(part_of, parts_of_rows(53, 5, 7))
    assert (part_of != parts_of_rows(53, 5, 8)).any()
    assert len(np.unique(parts_of_rows(3, 5, 7))) == 3


def test_no_part_parts_a_group() -> None:
    scores, targets = rows(BINARY, 60)
    groups = np.random.default_rng(2).permutation(np.repeat(np.arange(13), 5))[:60]
    fitted = cross_fit(scores, targets, BINARY, DecisionRecipe(parts=4), None, 1, groups=groups)
    assert sorted(np.bincount(fitted.part_of)) != [15] * 4
    assert sorted(len(set(groups[fitted.part_of == part])) for part in range(4)) == [3, 3, 3, 4]
    assert sum(len(set(fitted.part_of[groups == one])) for one in set(groups)) == 13
    assert len(fitted.decisions) == 4
    np.testing.assert_array_equal(parts_of_rows(9, 5, 7, np.zeros(9)), parts_of_rows(9, 5, 7))


@pytest.mark.parametrize("labels", [BINARY, TAGS], ids=lambda one: one.kind)
def test_no_row_is_answered_by_what_was_fitted_on_it(labels: LabelSpace) -> None:
    """Other labels of one part change the answers of all parts but this."""
    scores, targets = rows(labels, 100)
    name = "f1" if labels.kind == "binary" else "macro_f1"
    settings = DecisionRecipe(thresholds=name, abstain={"accuracy": 0.8}, parts=4)
    metric = threshold_metric(name, labels)
    first = cross_fit(scores, targets, labels, settings, metric, 1)
    for part in range(4):
        own = first.part_of == part
        changed = np.where(own if targets.ndim == 1 else own[:, None], 1 - targets, targets)
        again = cross_fit(scores, changed, labels, settings, metric, 1)
        assert again.decisions[part] == first.decisions[part]
        assert all(
            again.decisions[other] != first.decisions[other] for other in range(4) if other != part
        )
        for one, two in (
            (first.answers.calibrated, again.answers.calibrated),
            (first.answers.decided, again.answers.decided),
            (first.answers.confidence, again.answers.confidence),
            (first.answers.covered, again.answers.covered),
        ):
            np.testing.assert_array_equal(one[own], two[own])
        alone = fit_decision(scores[~own], targets[~own], labels, settings, metric)[0]
        assert alone == first.decisions[part]


def test_the_figures_are_those_of_the_answers() -> None:
    scores, targets = rows(BINARY, 300)
    decision = replace(PLAIN, temperature=2.0, thresholds=(0.35,), abstain=0.7)
    answers = decision.answers(scores, BINARY)
    found = measure_decision(scores, answers, targets, BINARY, ["f1"], 0)
    probs = probabilities(scores / 2, BINARY)
    chosen = probs[:, 1] > 0.35
    assert found.plain["f1"].value == pytest.approx(f1_score(targets, scores.argmax(axis=1)))
    assert found.decided["f1"].value == pytest.approx(f1_score(targets, chosen))
    truth = probs[np.arange(300), targets]
    assert found.decided["log_loss"].value == pytest.approx(-np.log(truth).mean())
    assert found.differences["log_loss"].verdict == "better"
    sure = probs[np.arange(300), chosen.astype(int)] >= 0.7
    assert found.coverage.value == pytest.approx(sure.mean())
    assert found.accuracy is not None
    assert found.accuracy.value == pytest.approx((chosen == targets)[sure].mean())
    for each in (*found.decided.values(), *found.plain.values(), found.coverage, found.accuracy):
        assert each.low <= each.value <= each.high
    assert found.decided["ece"].value < found.plain["ece"].value


def test_the_curve_of_accuracy_by_coverage() -> None:
    coverage, accuracy, confidence = accuracy_by_coverage(
        np.array([0.5, 0.9, 0.7, 0.7]), np.array([False, True, True, False])
    )
    np.testing.assert_allclose(coverage, [0.25, 0.75, 1])
    np.testing.assert_allclose(accuracy, [1, 2 / 3, 0.5])
    np.testing.assert_allclose(confidence, [0.9, 0.7, 0.5])

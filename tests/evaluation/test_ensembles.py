"""Ensembles of scores: METHODS 8.1 and 8.2, beside scikit-learn and scipy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression

from encore import catalogue
from encore.errors import RecipeError
from encore.evaluation.ensemble_record import EnsembleResult, measure_ensemble
from encore.evaluation.ensembles import (
    METHODS,
    Choosing,
    Mixture,
    combine,
    cross_fitted,
    fit_weights,
    halves,
)
from encore.evaluation.predictions import predictions, probabilities
from encore.types import LabelSpace

TWO, FIVE = LabelSpace("binary", ("no", "yes")), LabelSpace("multiclass", tuple("abcde"))
TAGS, VALUE = LabelSpace("multilabel", ("x", "y", "z")), LabelSpace("regression")
MEAN = Mixture((0, 1))


def scored(
    n_models: int, labels: LabelSpace, *, n_rows: int = 60, seed: int = 0, skill: float = 1.0
) -> tuple[list[np.ndarray], np.ndarray]:
    """Scores of models that are right more often than not, and the truth."""
    draw = np.random.default_rng(seed)
    if labels.kind == "regression":
        targets: Any = draw.normal(size=n_rows)
        each = [targets[:, None] + draw.normal(size=(n_rows, 1)) for _ in range(n_models)]
    elif labels.kind == "multilabel":
        targets = draw.integers(0, 2, (n_rows, labels.n_scores))
        each = [
            skill * (2 * targets - 1) + draw.normal(size=targets.shape) for _ in range(n_models)
        ]
    else:
        targets = draw.integers(0, labels.n_scores, n_rows)
        hot = np.eye(labels.n_scores)[targets]
        each = [skill * hot + draw.normal(size=hot.shape) for _ in range(n_models)]
    return [one.astype(np.float32) for one in each], targets


def rule(method: Any, n_models: int, labels: LabelSpace = FIVE, **settings: Any) -> Choosing:
    metric = {"regression": "pearson", "multilabel": "micro_f1"}.get(labels.kind, "accuracy")
    names = tuple(f"run-{number}" for number in range(n_models))
    return Choosing(method, names, labels, catalogue.find("metrics", metric), **settings)


# --------------------------------------------------------------------------------- METHODS' numbers


def test_the_mean_of_unrounded_probabilities_decides_where_votes_tie() -> None:
    scores = [np.log([[0.6, 0.4]]), np.log([[0.1, 0.9]])]
    mean = combine(scores, TWO, MEAN)
    np.testing.assert_allclose(probabilities(mean, TWO), [[0.35, 0.65]], rtol=1e-6)
    assert predictions(mean, TWO).tolist() == [1]
    votes = combine(scores, TWO, Mixture((0, 1), "vote"))
    assert votes.tolist() == [[1, 1]]
    assert predictions(votes, TWO).tolist() == [0]  # a tie; the first class


def test_a_duplicate_of_the_only_member_is_taken_and_shifts_the_mean_later() -> None:
    first, other = np.log([[0.45, 0.55]] * 2), np.log([[0.7, 0.3]] * 2)
    targets = np.array([1, 1])
    assert rule("greedy", 2, TWO).choose([first, first], targets).members == (0, 1)
    third = rule("greedy", 3, TWO).choose([first, first, other], targets)
    # (.45 + .45 + .7) / 3 = .533: the third model would turn both answers.
    assert third.members == (0, 1)


def test_equal_weights_are_the_mean_of_the_logits() -> None:
    scores, _ = scored(4, TWO)
    weighted = combine(scores, TWO, Mixture((0, 1, 2, 3), "logit", (0.25,) * 4))
    mean = combine(scores, TWO, Mixture((0, 1, 2, 3), "logit"))
    np.testing.assert_allclose(weighted, mean, rtol=1e-6)
    of_gen = expit(np.mean([each[:, 1] - each[:, 0] for each in scores], axis=0))
    np.testing.assert_allclose(probabilities(mean, TWO)[:, 1], of_gen, rtol=1e-5)


def test_one_model_with_a_positive_weight_gives_the_same_answers() -> None:
    scores, targets = scored(1, TWO)
    fitted = fit_weights(scores, targets, TWO)
    assert fitted.weights[0] > 0
    found = combine(scores, TWO, fitted)
    assert (predictions(found, TWO) == predictions(scores[0], TWO)).all()


@pytest.mark.parametrize(("n_rows", "seed"), [(1, 3), (2, 0), (7, 11), (100, 42)])
def test_the_halves_are_the_dev_set_and_have_no_row_in_common(n_rows: int, seed: int) -> None:
    one, other = halves(n_rows, seed)
    assert sorted([*one, *other]) == list(range(n_rows))
    assert len(one) == n_rows // 2
    assert [*one] == [*halves(n_rows, seed)[0]]
    assert n_rows < 100 or [*one] != [*halves(n_rows, seed + 1)[0]]


def test_no_half_parts_a_group() -> None:
    groups = np.repeat([7, 3, 9, 4, 1], [30, 2, 5, 1, 12])[np.random.default_rng(0).permutation(50)]
    for seed in range(20):
        one, other = halves(50, seed, groups)
        assert sorted([*one, *other]) == list(range(50))
        assert not set(groups[one]) & set(groups[other])
        assert len(set(groups[one])) == 2
    # One group cannot be halved, and groups of a row each are the rows.
    for same in (np.zeros(50, int), np.arange(50)[::-1]):
        np.testing.assert_array_equal(halves(50, 3, same), halves(50, 3))


def test_weights_and_choices_keep_groups_together() -> None:
    scores, targets = scored(3, FIVE)
    groups = np.arange(len(targets)) // 10
    how = replace(rule("regression", 3, FIVE), groups=groups)
    seen, hidden = halves(len(targets), how.seed, groups)
    before = how.choose(scores, targets)
    truth = targets.copy()
    truth[hidden] = truth[hidden][::-1]
    assert how.choose(scores, truth) == before
    assert replace(how, groups=None).choose(scores, truth) != before
    found, made = cross_fitted(replace(how, method="greedy"), scores, targets)
    alone = replace(how, method="greedy").choose([one[seen] for one in scores], targets[seen])
    assert made[0] == alone
    np.testing.assert_array_equal(found[hidden], alone.of(scores, FIVE)[hidden])


@pytest.mark.parametrize("labels", [TWO, FIVE, TAGS], ids=lambda one: one.kind)
@pytest.mark.parametrize("settings", [{}, {"at_least": 0.5}, {"as_described": True}], ids=str)
def test_weights_are_never_fitted_on_dev_dev(labels: LabelSpace, settings: Any) -> None:
    if labels is TAGS and settings.get("as_described"):
        settings = {}
    for seed in range(5):
        scores, targets = scored(3, labels, seed=seed)
        how = rule("regression", 3, labels, seed=seed, **settings)
        before = how.choose(scores, targets)
        fitted_on, held_out = halves(len(targets), seed)
        draw = np.random.default_rng(seed)
        others, truth = [each.copy() for each in scores], targets.copy()
        for each in others:
            each[held_out] = draw.normal(size=each[held_out].shape) * 9
        truth[held_out] = truth[held_out][::-1]
        assert how.choose(others, truth) == before
        for each in others:
            each[fitted_on] *= -1
        assert how.choose(others, truth) != before


# -------------------------------------------------------------------------- independent references


class _Fitted:
    """A model whose probabilities are known, as scikit-learn sees it."""

    def __init__(self, scores: np.ndarray) -> None:
        self.scores, self.classes_ = scores, np.arange(scores.shape[1])

    def predict_proba(self, rows: np.ndarray) -> np.ndarray:
        return softmax(self.scores[rows[:, 0]].astype(np.float64), axis=1)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.scores[rows[:, 0]].argmax(axis=1)


@pytest.mark.parametrize("labels", [TWO, FIVE], ids=lambda one: one.kind)
@pytest.mark.parametrize(("voting", "how"), [("soft", "probability"), ("hard", "vote")])
def test_means_and_votes_are_those_of_scikit_learn(
    labels: LabelSpace, voting: str, how: Any
) -> None:
    scores, targets = scored(4, labels)
    theirs = VotingClassifier([(str(n), None) for n in range(4)], voting=voting)
    theirs.estimators_ = [_Fitted(each) for each in scores]
    theirs.le_ = type("Same", (), {"inverse_transform": staticmethod(lambda x: x)})()
    theirs.classes_ = np.arange(labels.n_scores)
    rows = np.arange(len(targets))[:, None]
    found = combine(scores, labels, Mixture((0, 1, 2, 3), how))
    assert (predictions(found, labels) == theirs.predict(rows)).all()
    if voting == "soft":
        np.testing.assert_allclose(
            probabilities(found, labels), theirs.predict_proba(rows), rtol=1e-5
        )


def test_weights_of_two_classes_are_those_of_a_logistic_regression() -> None:
    scores, targets = scored(3, TWO, n_rows=300)
    differences = np.stack([each[:, 1] - each[:, 0] for each in scores], axis=1)
    theirs = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000)
    theirs.fit(differences.astype(np.float64), targets)
    np.testing.assert_allclose(
        fit_weights(scores, targets, TWO).weights, theirs.coef_[0], atol=2e-4
    )


@pytest.mark.parametrize("labels", [FIVE, TAGS], ids=lambda one: one.kind)
def test_weights_have_the_lowest_cross_entropy(labels: LabelSpace) -> None:
    scores, targets = scored(3, labels, n_rows=200)

    def cost(weights: np.ndarray) -> float:
        summed = sum(
            weight * each.astype(np.float64) for weight, each in zip(weights, scores, strict=True)
        )
        if labels is TAGS:
            return -np.log(np.where(targets == 1, expit(summed), expit(-summed))).mean()
        return -log_softmax(summed, axis=1)[np.arange(len(targets)), targets].mean()

    theirs = minimize(cost, np.ones(3), method="Nelder-Mead", options={"xatol": 1e-7})
    np.testing.assert_allclose(fit_weights(scores, targets, labels).weights, theirs.x, atol=1e-3)


@pytest.mark.parametrize(("labels", "rate"), [(TWO, 0.2), (FIVE, 1.5)])
def test_the_described_loop_is_fifty_steps_of_autograd(labels: LabelSpace, rate: float) -> None:
    import torch

    scores, targets = scored(3, labels)
    rows = torch.tensor(np.stack(scores), dtype=torch.float64)
    rows = rows.softmax(dim=2) if labels is FIVE else rows
    weights = torch.full((3,), 1 / 3, dtype=torch.float64, requires_grad=True)
    for _ in range(50):
        summed = torch.einsum("m,mrk->rk", weights, rows)
        torch.nn.functional.cross_entropy(summed, torch.tensor(targets)).backward()
        with torch.no_grad():
            weights -= rate * weights.grad
            weights.grad = None
    found = fit_weights(scores, targets, labels, as_described=True)
    np.testing.assert_allclose(found.weights, weights.detach(), rtol=1e-9)
    assert found.of_probabilities == (labels is FIVE)


def test_weights_may_be_negative() -> None:
    draw = np.random.default_rng(0)
    targets = draw.integers(0, 2, 200)
    noise = draw.normal(size=200)
    good = (2 * targets - 1) + noise + draw.normal(size=200)
    scores = [np.stack([0 * each, each], axis=1) for each in (good, noise)]
    assert fit_weights(scores, targets, TWO).weights[1] < 0


def test_probabilities_of_tags_are_their_means() -> None:
    scores, _ = scored(3, TAGS)
    found = combine(scores, TAGS, Mixture((0, 1, 2)))
    mean = np.mean([expit(each.astype(np.float64)) for each in scores], axis=0)
    np.testing.assert_allclose(probabilities(found, TAGS), mean, rtol=1e-5)
    votes = combine(scores, TAGS, Mixture((0, 1, 2), "vote"))
    assert (predictions(votes, TAGS) == (np.mean([s >= 0 for s in scores], axis=0) > 0.5)).all()


def test_confident_scores_stay_finite() -> None:
    scores = [np.array([[900.0, -900.0]]), np.array([[-900.0, 900.0]])]
    assert np.isfinite(combine(scores, TWO, MEAN)).all()
    assert np.isfinite(combine(scores, LabelSpace("multilabel", ("a", "b")), MEAN)).all()


# ------------------------------------------------------------------------------------------ choices


@pytest.mark.parametrize("labels", [TWO, FIVE, TAGS, VALUE], ids=lambda one: one.kind)
@pytest.mark.parametrize("method", ["greedy", "selective", "best"])
def test_what_is_chosen_is_never_worse_on_dev_than_the_best_single(
    method: str, labels: LabelSpace
) -> None:
    for seed in range(4):
        scores, targets = scored(5, labels, seed=seed)
        how = rule(method, 5, labels)
        best = max(how.value(each, targets) for each in scores)
        assert how.value(how.choose(scores, targets).of(scores, labels), targets) >= best


def test_the_order_is_by_dev_score_and_equal_ones_by_name() -> None:
    scores, targets = scored(2, FIVE)
    how = Choosing("greedy", ("b", "a", "c"), FIVE, catalogue.find("metrics", "accuracy"))
    assert how.choose([scores[0], scores[0], -scores[0]], targets).members[:2] == (1, 0)


def test_a_lower_figure_is_better_where_the_metric_says_so() -> None:
    scores, targets = scored(3, FIVE)
    how = Choosing("best", ("a", "b", "c"), FIVE, catalogue.find("metrics", "log_loss"))
    losses = [-log_softmax(s, axis=1)[np.arange(len(targets)), targets].mean() for s in scores]
    assert how.choose(scores, targets).members == (int(np.argmin(losses)),)


def test_models_below_the_floor_do_not_take_part() -> None:
    scores, targets = scored(3, FIVE)
    values = [rule("simple", 3).value(each, targets) for each in scores]
    how = rule("simple", 3, at_least=sorted(values)[1])
    expected = tuple(n for n in range(3) if values[n] >= sorted(values)[1])
    assert how.choose(scores, targets).members == expected
    assert rule("simple", 3, at_least=0.999).choose(scores, targets).members == (
        int(np.argmax(values)),
    )


def test_selective_refuses_too_many_sets() -> None:
    scores, targets = scored(13, TWO, n_rows=10)
    with pytest.raises(RecipeError, match="up to 12, got 13"):
        rule("selective", 13, TWO).choose(scores, targets)


# ------------------------------------------------------------------------------------ cross-fitting


@pytest.mark.parametrize("method", METHODS)
def test_cross_fitted_scores_of_a_half_do_not_know_its_labels(method: Any) -> None:
    scores, targets = scored(4, FIVE, n_rows=80)
    how = rule(method, 4)
    found, _ = cross_fitted(how, scores, targets)
    for half in halves(len(targets), how.seed):
        others = targets.copy()
        others[half] = (others[half] + 1) % 5
        again, _ = cross_fitted(how, scores, others)
        assert (again[half] == found[half]).all()


def test_models_of_pure_chance_gain_nothing_once_cross_fitted() -> None:
    scores, targets = scored(12, TWO, n_rows=100, skill=0.0)
    made = [
        measure_ensemble(
            rule("greedy", 12, TWO, seed=seed),
            scores,
            targets,
            ("accuracy",),
            task="t",
            dev_set="dev",
            seed=1,
        )[1]
        for seed in range(8)
    ]
    assert np.mean([one.gap("accuracy") for one in made]) > 0.05  # what choosing flatters
    assert abs(np.mean([one.cross_fitted["accuracy"].value for one in made]) - 0.5) < 0.08


def test_figures_survive_their_file() -> None:
    import json

    scores, targets = scored(3, FIVE)
    for method in METHODS:
        _, found, _ = measure_ensemble(
            rule(method, 3),
            scores,
            targets,
            ("accuracy", "macro_f1"),
            task="t",
            dev_set="dev",
            seed=1,
        )
        assert EnsembleResult.from_json(json.loads(json.dumps(found.to_json()))) == found
        assert bool(found.held_out) == (method == "regression")
        assert found.gap("accuracy") == pytest.approx(
            found.dev["accuracy"].value - found.cross_fitted["accuracy"].value
        )

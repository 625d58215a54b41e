"""Two models on the same rows: against a loop over drawn rows with scikit-learn and scipy, and in
null studies.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from encore.errors import DataError, RecipeError
from encore.evaluation.bootstrap import resampled_differences
from encore.evaluation.metric import metric
from encore.evaluation.paired import paired_differences
from encore.types import LabelSpace

THREE = LabelSpace("multiclass", ("bad", "fair", "good"))
TAGS = LabelSpace("multilabel", ("price", "size"))
VALUE = LabelSpace("regression")


def models(kind: str, n: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray, LabelSpace]:
    """Scores of a good and of a worse model that err together, and the truth."""
    draw = np.random.default_rng(3)
    if kind == "regression":
        truth = draw.normal(size=n)
        shared = truth + draw.normal(size=n)
        return *((shared + s * draw.normal(size=n))[:, None] for s in (0.2, 1.5)), truth, VALUE
    if kind == "multilabel":
        truth = draw.integers(0, 2, (n, 2)).astype(np.float32)
        shared = 2 * truth - 1 + draw.normal(size=(n, 2))
        return *(shared + s * draw.normal(size=(n, 2)) for s in (0.2, 1.0)), truth, TAGS
    truth = draw.integers(0, 3, n)
    shared = 2.0 * np.eye(3)[truth] + draw.normal(size=(n, 3))
    return *(shared + s * draw.normal(size=(n, 3)) for s in (0.2, 1.5)), truth, THREE


REFERENCES: dict[str, tuple[str, Callable[[np.ndarray, np.ndarray], float]]] = {
    "accuracy": (
        "multiclass",
        lambda scores, truth: metrics.accuracy_score(truth, scores.argmax(1)),
    ),
    "macro_f1": (
        "multiclass",
        lambda scores, truth: metrics.f1_score(
            truth, scores.argmax(1), average="macro", labels=range(3), zero_division=0
        ),
    ),
    "log_loss": (
        "multiclass",
        lambda scores, truth: metrics.log_loss(
            truth, np.exp(scores) / np.exp(scores).sum(1, keepdims=True), labels=range(3)
        ),
    ),
    "micro_f1": (
        "multilabel",
        lambda scores, truth: metrics.f1_score(truth, scores >= 0, average="micro"),
    ),
    "pearson": ("regression", lambda scores, truth: stats.pearsonr(scores[:, 0], truth).statistic),
    "spearman": (
        "regression",
        lambda scores, truth: stats.spearmanr(scores[:, 0], truth).statistic,
    ),
    "rmse": (
        "regression",
        lambda scores, truth: metrics.root_mean_squared_error(truth, scores[:, 0]),
    ),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_the_interval_is_that_of_a_loop_over_drawn_rows(name: str) -> None:
    kind, measure = REFERENCES[name]
    scores, others, truth, labels = models(kind)
    found = paired_differences(scores, others, truth, labels, [name], 1, n_resamples=4000)[name]
    assert found.value == pytest.approx(measure(scores, truth), rel=1e-6)
    assert found.delta == pytest.approx(measure(scores, truth) - measure(others, truth), abs=1e-7)
    draw, n = np.random.default_rng(8), len(truth)
    drawn = []
    for _ in range(400):
        rows = draw.integers(0, n, n)
        drawn.append(measure(scores[rows], truth[rows]) - measure(others[rows], truth[rows]))
    # The loop's own ends vary by about three standard deviations / √400.
    near = 0.35 * np.std(drawn)
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=near)
    assert found.verdict == "better"
    back = paired_differences(others, scores, truth, labels, [name], 1)[name]
    assert back.verdict == "worse"
    assert back.delta == -found.delta


def test_both_are_measured_on_the_same_draws() -> None:
    scores, others, truth, labels = models("multiclass")
    drawn = {
        name: resampled_differences(each, scores, others, truth, labels, seed=1, n_resamples=3000)
        for name, each in (("loop", plain_accuracy), ("kinds", weighted_accuracy()))
    }
    right = (scores.argmax(1) == truth).astype(float) - (others.argmax(1) == truth)
    expected = right.std() / np.sqrt(len(truth))
    apart = np.sqrt(sum((each.argmax(1) == truth).var() for each in (scores, others)) / len(truth))
    assert expected < 0.9 * apart
    for values in drawn.values():
        assert values.std() == pytest.approx(expected, rel=0.06)
        assert values.mean() == pytest.approx(right.mean(), abs=4 * expected / np.sqrt(3000))


@metric("plain", kinds=("multiclass",))
def plain_accuracy(scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> float:
    """Accuracy without a form for many resamples."""
    return float((scores.argmax(axis=1) == targets).mean())


def weighted_accuracy() -> Callable[..., float]:
    from encore import catalogue

    return catalogue.find("metrics", "accuracy")


def test_a_model_against_itself_is_no_evidence_and_says_why() -> None:
    scores, _, truth, labels = models("multiclass")
    found = paired_differences(scores, scores, truth, labels, ["accuracy", "log_loss"], 1)
    assert {(each.low, each.high, each.verdict) for each in found.values()} == {
        (0.0, 0.0, "no evidence")
    }
    assert found["accuracy"].notes == ("both runs give every row the same answer",)


@pytest.mark.parametrize(("n_rows", "verdict"), [(5, "no evidence"), (8, "better")])
def test_few_answers_that_differ_are_no_evidence(n_rows: int, verdict: str) -> None:
    truth = np.arange(200) % 3
    right, other = np.eye(3)[truth], np.eye(3)[truth]
    other[:n_rows] = np.eye(3)[(truth[:n_rows] + 1) % 3]
    found = paired_differences(right, other, truth, THREE, ["accuracy"], 1)["accuracy"]
    assert found.low > 0, "the bootstrap alone would see a difference"
    assert found.verdict == verdict
    # 2^(1 − n): the exact sign test
    assert (2.0 ** (1 - n_rows) < 0.05) == (verdict == "better")


def test_scores_of_other_rows_or_metrics_of_other_tasks_are_refused() -> None:
    scores, others, truth, labels = models("multiclass")
    with pytest.raises(DataError):
        paired_differences(scores, others[:-1], truth, labels, ["accuracy"], 1)
    with pytest.raises(RecipeError):
        paired_differences(scores, others, truth, labels, ["pearson"], 1)


def test_equal_models_are_told_apart_in_few_of_many_studies() -> None:
    draw, n_studies, n = np.random.default_rng(5), 300, 150
    n_claims = 0
    for _ in range(n_studies):
        truth = draw.integers(0, 3, n)
        shared = 1.5 * np.eye(3)[truth] + draw.normal(size=(n, 3))
        one, other = (shared + draw.normal(size=(n, 3)) for _ in range(2))
        found = paired_differences(one, other, truth, THREE, ["accuracy"], 1, n_resamples=500)
        n_claims += found["accuracy"].verdict != "no evidence"
    assert 0.015 < n_claims / n_studies < 0.09

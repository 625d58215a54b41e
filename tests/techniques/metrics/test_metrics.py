"""Every metric: the worked numbers of METHODS 8.7, someone else's implementation, slow loops, and
what it does where it is not defined.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import sklearn.metrics

from encore import catalogue
from encore.errors import DataError, RecipeError
from encore.evaluation.metric import MetricWarning
from encore.evaluation.predictions import predictions, probabilities
from encore.types import LabelSpace

BINARY = LabelSpace("binary", ("no", "yes"))
THREE = LabelSpace("multiclass", ("a", "b", "c"))
TAGS = LabelSpace("multilabel", ("p", "q", "r", "s", "t"))
VALUE = LabelSpace("regression")
METRICS = catalogue.names("metrics")


def metric(name: str):
    return catalogue.find("metrics", name)


def binary(*ids: int) -> np.ndarray:
    """Scores whose predictions are these."""
    return np.stack([1 - np.array(ids), np.array(ids)], axis=1).astype(np.float32)


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)[:, None]


def random_rows(labels: LabelSpace, n: int = 211, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    scores = draw.normal(size=(n, labels.n_scores)).astype(np.float32)
    if labels.kind == "regression":
        return scores.round(1), (scores[:, 0] + draw.normal(size=n)).round(0).astype(
            np.float32
        )  # many ties on both sides
    if labels.kind == "multilabel":
        return scores, (scores + draw.normal(size=scores.shape) > 0.5).astype(np.float32)
    return scores, np.where(
        draw.random(n) < 0.5, scores.argmax(axis=1), draw.integers(0, labels.n_scores, n)
    )


def test_the_folder_was_found():
    """A new file joins the tests of all metrics by itself."""
    assert set(METRICS) >= {"accuracy", "f1", "log_loss", "lrap", "mae", "pearson", "spearman"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", 0.75),
        ("f1", 2 / 3),
        ("mcc", 1 / math.sqrt(3)),
        ("macro_f1", (2 / 3 + 0.8) / 2),
        ("micro_f1", 0.75),
    ],
)
def test_worked_numbers_of_four_rows(name, expected):
    assert metric(name)(binary(1, 0, 0, 0), np.array([1, 1, 0, 0]), BINARY) == pytest.approx(
        expected, abs=1e-12
    )


def test_worked_correlations():
    scores, targets = column(1, 2, 3), np.array([2.0, 4.0, 7.0])
    assert metric("pearson")(scores, targets, VALUE) == pytest.approx(0.99340, abs=5e-6)
    assert metric("spearman")(scores, targets, VALUE) == pytest.approx(1.0)
    assert metric("normalised_pearson")(scores, targets, VALUE) == pytest.approx(
        (1 + 0.99340) / 2, abs=5e-6
    )


def test_normalised_pearson_of_855_is_9275():
    x, z = (
        np.array([1.0, -1.0, 1.0, -1.0]),
        np.array([1.0, 1.0, -1.0, -1.0]),
    )  # orthogonal, so r of x and .855 x + sqrt(1 - .855²) z is .855
    targets = 0.855 * x + math.sqrt(1 - 0.855**2) * z
    assert metric("normalised_pearson")(x[:, None], targets, VALUE) == pytest.approx(
        0.9275, abs=1e-12
    )


@pytest.mark.parametrize("seed", range(3))
def test_binary_metrics_are_the_counts(seed):
    scores, targets = random_rows(BINARY, seed=seed)
    predicted = [1 if yes > no else 0 for no, yes in scores]
    tp, tn, fp, fn = (
        sum(p == a and t == b for p, t in zip(predicted, targets, strict=True))
        for a, b in ((1, 1), (0, 0), (1, 0), (0, 1))
    )
    assert min(tp, tn, fp, fn) > 0
    assert metric("accuracy")(scores, targets, BINARY) == pytest.approx((tp + tn) / len(targets))
    assert metric("f1")(scores, targets, BINARY) == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert metric("macro_f1")(scores, targets, BINARY) == pytest.approx(
        (2 * tp / (2 * tp + fp + fn) + 2 * tn / (2 * tn + fp + fn)) / 2
    )
    assert metric("mcc")(scores, targets, BINARY) == pytest.approx(
        (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    )
    assert metric("log_loss")(scores, targets, BINARY) == pytest.approx(
        sklearn.metrics.log_loss(targets, probabilities(scores, BINARY))
    )


@pytest.mark.parametrize("seed", range(3))
def test_multiclass_metrics_are_slow_loops(seed):
    scores, targets = random_rows(THREE, seed=seed)
    predicted = predictions(scores, THREE)
    f1s = []
    for c in range(3):
        tp = sum(p == c and t == c for p, t in zip(predicted, targets, strict=True))
        f1s.append(2 * tp / (sum(predicted == c) + sum(targets == c)))
    assert metric("macro_f1")(scores, targets, THREE) == pytest.approx(np.mean(f1s))
    assert (
        metric("micro_f1")(scores, targets, THREE)
        == metric("accuracy")(scores, targets, THREE)
        == pytest.approx(np.mean(predicted == targets))
    )
    one_hot = np.eye(3)
    x, y = (
        one_hot[predicted],
        one_hot[targets],
    )  # Gorodkin's correlation of the two one-hot matrices
    covariance = lambda a, b: sum(np.cov(a[:, c], b[:, c])[0, 1] for c in range(3))  # noqa: E731
    assert metric("mcc")(scores, targets, THREE) == pytest.approx(
        covariance(x, y) / math.sqrt(covariance(x, x) * covariance(y, y))
    )
    assert metric("log_loss")(scores, targets, THREE) == pytest.approx(
        sklearn.metrics.log_loss(targets, probabilities(scores, THREE)), rel=1e-6
    )


@pytest.mark.parametrize("seed", range(3))
def test_multilabel_metrics_are_slow_loops(seed):
    scores, targets = random_rows(TAGS, n=97, seed=seed)
    predicted = 1 / (1 + np.exp(-scores.astype(np.float64))) >= 0.5
    tp, fp, fn = (
        (predicted * (targets == 1)).sum(0),
        (predicted * (targets == 0)).sum(0),
        (~predicted * (targets == 1)).sum(0),
    )
    assert metric("macro_f1")(scores, targets, TAGS) == pytest.approx(
        (2 * tp / (2 * tp + fp + fn)).mean()
    )
    assert metric("micro_f1")(scores, targets, TAGS) == pytest.approx(
        2 * tp.sum() / (2 * tp + fp + fn).sum()
    )
    assert metric("subset_accuracy")(scores, targets, TAGS) == pytest.approx(
        np.mean([list(p) == list(t) for p, t in zip(predicted, targets, strict=True)])
    )
    per_label = [
        sklearn.metrics.log_loss(
            targets[:, c], 1 / (1 + np.exp(-scores[:, c].astype(np.float64))), labels=[0, 1]
        )
        for c in range(5)
    ]
    assert metric("log_loss")(scores, targets, TAGS) == pytest.approx(np.mean(per_label), rel=1e-6)
    precision = []
    for row, true in zip(scores, targets, strict=True):
        if 0 < true.sum() < 5:
            precision.append(
                np.mean(
                    [sum(true[row >= row[c]]) / sum(row >= row[c]) for c in range(5) if true[c]]
                )
            )
        else:
            precision.append(1.0)
    assert metric("lrap")(scores, targets, TAGS) == pytest.approx(np.mean(precision))


@pytest.mark.parametrize("seed", range(3))
def test_regression_metrics(seed):
    scores, targets = random_rows(VALUE, seed=seed)
    x = scores[:, 0].astype(np.float64)
    assert metric("pearson")(scores, targets, VALUE) == pytest.approx(np.corrcoef(x, targets)[0, 1])
    ranks = [
        [
            sum(v < value for v in values) + (sum(v == value for v in values) + 1) / 2
            for value in values
        ]
        for values in (x.tolist(), targets.tolist())
    ]
    assert metric("spearman")(scores, targets, VALUE) == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert metric("mae")(scores, targets, VALUE) == pytest.approx(
        sum(abs(a - b) for a, b in zip(x, targets, strict=True)) / len(x)
    )
    assert metric("rmse")(scores, targets, VALUE) == pytest.approx(
        math.sqrt(sum((a - b) ** 2 for a, b in zip(x, targets, strict=True)) / len(x))
    )


def test_lower_is_better_for_errors_only():
    errors, others = ("mae", "rmse", "log_loss"), ("accuracy", "f1", "mcc", "pearson", "lrap")
    assert not any(metric(name).higher_is_better for name in errors)
    assert all(metric(name).higher_is_better for name in others)


@pytest.mark.parametrize("name", METRICS)
def test_perfect_scores_are_best(name):
    for labels in (BINARY, THREE, TAGS, VALUE):
        if labels.kind in metric(name).kinds:
            scores, targets = random_rows(labels)
            if labels.kind == "regression":
                perfect = targets[:, None]
            else:
                perfect = (
                    100
                    * (targets if labels.kind == "multilabel" else np.eye(labels.n_scores)[targets])
                    - 50
                )
            best = metric(name)(perfect, targets, labels)
            assert best == pytest.approx(1.0 if metric(name).higher_is_better else 0.0, abs=1e-9)
            sign = 1 if metric(name).higher_is_better else -1
            assert sign * metric(name)(scores, targets, labels) < sign * best


@pytest.mark.parametrize("name", METRICS)
def test_other_kinds_of_task_are_refused(name):
    refused = 0
    for labels in (BINARY, THREE, TAGS, VALUE):
        if labels.kind not in metric(name).kinds:
            with pytest.raises(RecipeError, match=name):
                metric(name)(*random_rows(labels), labels)
            refused += 1
    assert refused == 4 - len(metric(name).kinds)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_no_number_is_refused(name, bad):
    labels = next(
        labels for labels in (BINARY, THREE, TAGS, VALUE) if labels.kind in metric(name).kinds
    )
    scores, targets = random_rows(labels)
    scores[13, -1] = scores[17, 0] = bad
    with pytest.raises(DataError, match=r"scores, row 13: .*got (nan|inf) \(and 1 more rows\)"):
        metric(name)(scores, targets, labels)


def test_wrong_shapes_and_targets_are_refused_together():
    with pytest.raises(DataError) as caught:
        metric("accuracy")(np.zeros((4, 3)), np.zeros((5, 1)), BINARY)
    assert len(caught.value.lines) == 2
    with pytest.raises(DataError, match="row 1: expected a whole number from 0 to 1, got 2"):
        metric("accuracy")(np.zeros((3, 2)), np.array([0, 2, 1]), BINARY)
    with pytest.raises(DataError, match=r"got 0\.5"):
        metric("subset_accuracy")(np.zeros((1, 5)), np.full((1, 5), 0.5), TAGS)
    with pytest.raises(DataError, match="targets, row 2: expected a finite number"):
        metric("pearson")(column(1, 2, 3), np.array([1, 2, np.nan]), VALUE)
    with pytest.raises(DataError, match="at least one labelled row"):
        metric("pearson")(np.zeros((0, 1)), np.zeros(0), VALUE)


@pytest.mark.parametrize(
    ("name", "expected"), [("pearson", 0.0), ("spearman", 0.0), ("normalised_pearson", 0.5)]
)
def test_a_constant_has_no_correlation_and_says_so(name, expected):
    varied = np.array([1.0, 2.0, 4.0])
    collapsed = (
        np.float32(2.5) + np.array([0, 1, 2], dtype=np.float32) * np.finfo(np.float32).eps
    )  # what a dead model's outputs look like
    for scores, targets in (
        (np.full((3, 1), 2.5), varied),
        (collapsed[:, None], varied),
        (np.zeros((3, 1)), varied),
        (varied[:, None], np.full(3, 2.0)),
        (varied[:1, None], varied[:1]),
    ):
        with pytest.warns(MetricWarning, match="counts as 0"):
            assert metric(name)(scores, targets, VALUE) == expected


@pytest.mark.parametrize("name", ["f1", "mcc", "macro_f1", "micro_f1", "accuracy"])
def test_one_class_gives_a_number_and_no_foreign_warning(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = [
            metric(name)(binary(*p), np.array(t), BINARY)
            for p, t in (
                ((0, 0), (0, 0)),
                ((1, 1), (1, 1)),
                ((0, 0), (1, 1)),
                ((0, 1), (0, 0)),
                ((1,), (1,)),
            )
        ]
    expected = {
        "accuracy": [1, 1, 0, 0.5, 1],
        "micro_f1": [1, 1, 0, 0.5, 1],
        "mcc": [0, 0, 0, 0, 0],
        "f1": [0, 1, 0, 0, 1],
        "macro_f1": [1, 1, 0, 1 / 3, 1],
    }[name]
    assert values == pytest.approx(expected)


def test_macro_f1_leaves_out_a_class_that_occurs_nowhere():
    scores = np.array([[2.0, 1, 0], [0, 1, 0], [2, 1, 0]])
    assert metric("macro_f1")(scores, np.array([0, 1, 1]), THREE) == pytest.approx(
        (2 / 3 + 2 / 3) / 2
    )


@pytest.mark.parametrize("name", ["macro_f1", "micro_f1"])
def test_no_label_at_all_is_0(name):
    assert metric(name)(np.full((4, 5), -1.0), np.zeros((4, 5)), TAGS) == 0.0


def test_a_sure_mistake_is_not_clipped():
    assert metric("log_loss")(np.array([[500.0, 0.0]]), np.array([1]), BINARY) == pytest.approx(
        500.0
    )
    assert metric("log_loss")(np.full((1, 5), 500.0), np.zeros((1, 5)), TAGS) == pytest.approx(
        500.0
    )


@pytest.mark.parametrize(
    ("seed", "theirs"),
    [(1, 0.46652899753668786), (2, 0.44727261918441147), (3, 0.47979911159288285)],
)
def test_the_calibration_error_is_that_of_netcal(seed: int, theirs: float) -> None:
    """Golden values of netcal 1.4.0, ECE(10).measure(probabilities, classes)."""
    draw = np.random.default_rng(seed)
    scores, classes = 2 * draw.normal(size=(400, 5)), draw.integers(0, 5, 400)
    five = LabelSpace("multiclass", tuple("abcde"))
    assert metric("ece")(scores, classes, five) == pytest.approx(theirs, rel=1e-9)

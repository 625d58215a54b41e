"""Distillation by hand: METHODS 5.6's properties, torch's KL divergence, and what a teacher has not
scored.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import expit, logit, softmax
from small_model import LABELS
from small_model import N_ROWS as ROWS
from small_model import batch_of as pairs_of
from torch import Tensor

from encore import catalogue
from encore.errors import RecipeError, TrainingError
from encore.evaluation.teacher_scores import TeacherScores, mean_of_teachers
from encore.types import LABELLED, Batch, LabelSpace, Output, TaskKind

CLASSES: tuple[TaskKind, ...] = ("binary", "multiclass")


def batch_of(kind: TaskKind, rows: slice = slice(None)) -> tuple[Batch, Output]:
    """A batch, and the scores of a student."""
    scores = torch.randn(ROWS, LABELS[kind].n_scores or 4, generator=torch.manual_seed(0))
    return pairs_of(kind, rows), Output(scores[rows], ())


def teacher_of(kind: TaskKind, scores: Tensor, turned: Tensor | None = None) -> TeacherScores:
    other = None if turned is None else turned.numpy()
    return TeacherScores(LABELS[kind], "digest", np.arange(len(scores)), scores.numpy(), other)


def distill(kind: TaskKind, teacher: Tensor, **settings: Any) -> Any:
    loss = catalogue.build("losses", {"name": "distill", **settings}, LABELS[kind])
    loss.teacher = teacher_of(kind, teacher)
    return loss


def random_scores(kind: TaskKind, seed: int = 5) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(ROWS, LABELS[kind].n_scores, generator=draw)


def value(loss: Any, kind: TaskKind, scores: Tensor | None = None) -> Tensor:
    """The mean over the rows, by their weights."""
    batch, output = batch_of(kind)
    term = loss(None, batch, output if scores is None else Output(scores, ()))
    return term.sum / term.weight


def gradient(loss: Any, kind: TaskKind) -> Tensor:
    scores = batch_of(kind)[1].scores.clone().requires_grad_()
    value(loss, kind, scores).backward()
    assert scores.grad is not None
    return scores.grad


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("tau", [1.0, 2.5])
def test_it_is_kl_divergence_plus_the_entropy_of_the_teacher(kind: TaskKind, tau: float) -> None:
    """torch.nn.functional.kl_div, at τ times τ²; and the same gradient."""
    teacher = random_scores(kind)
    loss = distill(kind, teacher, use_labels=False, temperature=tau)
    batch, output = batch_of(kind)
    scores = output.scores.clone().requires_grad_()
    logs = (teacher / tau).log_softmax(dim=1)
    per_row = F.kl_div((scores / tau).log_softmax(dim=1), logs, reduction="none", log_target=True)
    kl = tau**2 * (per_row.sum(dim=1) * batch.weights).sum() / batch.weights.sum()
    entropy = tau**2 * (-(logs.exp() * logs).sum(dim=1) * batch.weights).sum()
    expected = kl + entropy / batch.weights.sum()
    torch.testing.assert_close(value(loss, kind), expected)
    kl.backward()
    torch.testing.assert_close(gradient(loss, kind), scores.grad)


def test_one_decision_is_binary_cross_entropy_with_the_teachers_probability() -> None:
    teacher = random_scores("binary")
    batch, output = batch_of("binary")
    ours, theirs = (each[:, 1] - each[:, 0] for each in (output.scores, teacher))
    each = F.binary_cross_entropy_with_logits(ours, theirs.sigmoid(), weight=batch.weights)
    loss = distill("binary", teacher, use_labels=False)
    torch.testing.assert_close(value(loss, "binary"), each * ROWS / batch.weights.sum())


def test_several_labels_and_values() -> None:
    batch, output = batch_of("multilabel")
    teacher = random_scores("multilabel")
    student, wanted = expit(output.scores.numpy()), expit(teacher.numpy())
    rows = -(wanted * np.log(student) + (1 - wanted) * np.log(1 - student)).mean(axis=1)
    weights = batch.weights.numpy()
    expected = (rows * weights).sum() / weights.sum()
    loss = distill("multilabel", teacher, use_labels=False)
    assert float(value(loss, "multilabel")) == pytest.approx(expected, rel=1e-5)
    batch, output = batch_of("regression")
    teacher = random_scores("regression")
    rows = (output.scores - teacher).square()[:, 0]
    expected = float((rows * batch.weights).sum() / batch.weights.sum())
    for tau in (1.0, 3.0):  # of values it changes nothing: both sides / τ, times τ²
        loss = distill("regression", teacher, use_labels=False, temperature=tau)
        assert float(value(loss, "regression")) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize(("settings", "factor"), [({}, 5 / 3), ({"convex": True}, 1.0)])
def test_a_teacher_that_is_sure_of_the_labels_gives_five_thirds_of_the_loss(
    kind: TaskKind, settings: dict[str, Any], factor: float
) -> None:
    """METHODS 5.6: one-hot, L_KD = L_task; in the convex form they are 0.6 and 0.4 of it."""
    batch, _ = batch_of(kind)
    sure = 1000 * F.one_hot(batch.targets, LABELS[kind].n_scores).float()
    plain = catalogue.build("losses", "cross_entropy", LABELS[kind])
    loss = distill(kind, sure, **settings)
    torch.testing.assert_close(value(loss, kind), factor * value(plain, kind))
    alone = distill(kind, sure, use_labels=False)
    torch.testing.assert_close(value(alone, kind), value(plain, kind))


@pytest.mark.parametrize("kind", LABELLED)
def test_the_labels_and_two_thirds_of_the_teacher_or_six_to_four(kind: TaskKind) -> None:
    from encore.techniques.losses._default import LOSS_OF_KIND

    teacher = random_scores(kind)
    plain = value(catalogue.build("losses", LOSS_OF_KIND[kind], LABELS[kind]), kind)
    alone = value(distill(kind, teacher, use_labels=False), kind)
    torch.testing.assert_close(value(distill(kind, teacher), kind), plain + 2 / 3 * alone)
    both = value(distill(kind, teacher, convex=True), kind)
    torch.testing.assert_close(both, 0.6 * plain + 0.4 * alone)
    other = value(distill(kind, teacher, teacher_weight=3.0), kind)
    torch.testing.assert_close(other, plain + 3 * alone)


def test_of_is_the_loss_of_the_labels() -> None:
    teacher = random_scores("multiclass")
    smooth = {"name": "cross_entropy", "label_smoothing": 0.2}
    plain = value(catalogue.build("losses", smooth, LABELS["multiclass"]), "multiclass")
    alone = value(distill("multiclass", teacher, use_labels=False), "multiclass")
    both = value(distill("multiclass", teacher, of=smooth), "multiclass")
    torch.testing.assert_close(both, plain + 2 / 3 * alone)


@pytest.mark.parametrize("kind", LABELLED)
@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_a_teacher_that_agrees_moves_nothing(kind: TaskKind, tau: float) -> None:
    _, output = batch_of(kind)
    alike = distill(kind, output.scores, use_labels=False, temperature=tau)
    assert float(gradient(alike, kind).abs().max()) < 1e-7
    other = distill(kind, random_scores(kind), use_labels=False, temperature=tau)
    assert float(gradient(other, kind).abs().max()) > 1e-3


def test_a_task_without_labels_learns_from_the_teacher_alone() -> None:
    """Its scores are those of the head that it borrows, of four labels here."""
    batch, output = batch_of("unlabelled")
    labels = LabelSpace("multiclass", tuple("abcd"))
    scores = np.random.default_rng(3).normal(size=(ROWS, 4)).astype(np.float32)
    loss = catalogue.build("losses", "distill", LABELS["unlabelled"])
    loss.teacher = TeacherScores(labels, "digest", np.arange(ROWS), scores)
    soft = torch.from_numpy(softmax(scores, axis=1))
    per_row = -(soft * output.scores.log_softmax(dim=1)).sum(dim=1)
    expected = (per_row * batch.weights).sum()
    torch.testing.assert_close(loss(None, batch, output).sum, expected)


def test_pairs_that_are_turned_round_have_scores_of_their_own() -> None:
    given, turned = random_scores("multiclass"), random_scores("multiclass", seed=6)
    batch, output = batch_of("multiclass")
    swapped = np.arange(ROWS) % 3 == 0
    loss = distill("multiclass", given, use_labels=False)
    loss.teacher = teacher_of("multiclass", given, turned)
    mixed = torch.where(torch.from_numpy(swapped)[:, None], turned, given)
    expected = value(distill("multiclass", mixed, use_labels=False), "multiclass")
    total, weight = loss(None, replace(batch, swapped=swapped), output)
    torch.testing.assert_close(total / weight, expected)
    loss.teacher = teacher_of("multiclass", given)
    with pytest.raises(TrainingError, match="turned round"):
        loss(None, replace(batch, swapped=swapped), output)
    loss(None, replace(batch, swapped=np.zeros(ROWS, bool)), output)


@pytest.mark.parametrize(
    ("digest", "rows", "first"),
    [("digest", np.arange(4), 4), ("other", np.arange(ROWS), 0), ("digest", np.zeros(0, int), 0)],
)
def test_rows_that_the_teacher_has_not_scored_raise(
    digest: str, rows: np.ndarray, first: int
) -> None:
    scores = random_scores("multiclass").numpy()[: len(rows)]
    loss = distill("multiclass", random_scores("multiclass"))
    loss.teacher = TeacherScores(LABELS["multiclass"], digest, rows, scores)
    with pytest.raises(TrainingError, match=rf"no scores of \d+ of these 11 rows.*row {first} "):
        value(loss, "multiclass")


def test_rows_are_found_by_their_number_in_whatever_order() -> None:
    rows = np.array([3, 10, 11, 40])
    scores = np.arange(8, dtype=np.float32).reshape(4, 2)
    found = TeacherScores(LABELS["binary"], "digest", rows, scores)
    np.testing.assert_array_equal(
        found.of_examples("digest", np.array([40, 3, 11])), scores[[3, 0, 2]]
    )
    with pytest.raises(TrainingError, match="row 41"):
        found.of_examples("digest", np.array([3, 41]))


def test_micro_batches_change_nothing() -> None:
    loss = distill("multiclass", random_scores("multiclass"), temperature=2.0)
    batch, output = batch_of("multiclass")
    whole, weight = loss(None, batch, output)
    parts = [loss(None, *batch_of("multiclass", rows)) for rows in (slice(0, 3), slice(3, None))]
    torch.testing.assert_close(sum(each.sum for each in parts), whole)
    torch.testing.assert_close(sum(each.weight for each in parts), weight)


def test_several_teachers_are_the_logits_of_their_mean_probabilities() -> None:
    """The example of METHODS 8.1: (.6, .4) and (.1, .9) make (.35, .65)."""
    each = [np.log(np.array([p], np.float32)) for p in ((0.6, 0.4), (0.1, 0.9))]
    mean = mean_of_teachers(each, LABELS["binary"])
    np.testing.assert_allclose(softmax(mean, axis=1), [[0.35, 0.65]], rtol=1e-6)
    np.testing.assert_allclose(mean[0, 1] - mean[0, 0], logit(0.65), rtol=1e-5)
    several = [random_scores("multilabel", seed).numpy() for seed in (1, 2, 3)]
    expected = logit(np.mean([expit(one) for one in several], axis=0))
    np.testing.assert_allclose(mean_of_teachers(several, LABELS["multilabel"]), expected, rtol=1e-4)
    values = [random_scores("regression", seed).numpy() for seed in (1, 2)]
    np.testing.assert_allclose(
        mean_of_teachers(values, LABELS["regression"]), np.mean(values, axis=0), rtol=1e-6
    )
    alone = mean_of_teachers(values[:1], LABELS["regression"])
    assert alone is values[0]


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_probabilities_of_teachers_stay_1e_7_from_0_and_1(kind: TaskKind) -> None:
    labels = LABELS[kind]
    sure = np.full((1, labels.n_scores), -200, np.float32)
    sure[0, 0] = 200
    mean = mean_of_teachers([sure, sure], labels)
    assert np.isfinite(mean).all()
    if kind == "multilabel":
        np.testing.assert_allclose(mean[0], logit(np.r_[1 - 1e-7, [1e-7] * 2]), rtol=1e-6)
    else:
        np.testing.assert_allclose(mean[0, 1:], np.log(1e-7), rtol=1e-6)
        assert mean[0, 0] == pytest.approx(np.log1p(-1e-7), abs=1e-12)


def test_its_figures_are_the_distance_and_the_least_that_it_can_be() -> None:
    teacher = random_scores("multiclass")
    loss = distill("multiclass", teacher)
    batch, output = batch_of("multiclass")
    figures = loss.diagnose(None, batch, output)
    alone = value(distill("multiclass", teacher, use_labels=False), "multiclass")
    assert figures["to_teacher"] == pytest.approx(float(alone), rel=1e-5)
    p = softmax(teacher.numpy(), axis=1)
    entropy = -(p * np.log(p)).sum(axis=1)
    mean = np.average(entropy, weights=batch.weights.numpy())
    assert figures["teacher_entropy"] == pytest.approx(mean, rel=1e-5)
    assert figures["teacher_entropy"] < figures["to_teacher"]


def test_what_it_refuses() -> None:
    with pytest.raises(RecipeError, match="'mse' does not fit a multiclass task"):
        catalogue.build("losses", {"name": "distill", "of": "mse"}, LABELS["multiclass"])
    for of in ("distill", "uncertainty"):
        with pytest.raises(RecipeError, match="term of its own"):
            catalogue.build("losses", {"name": "distill", "of": of}, LABELS["multiclass"])
    with pytest.raises(RecipeError, match="Take one of the two"):
        catalogue.build("losses", {"name": "uncertainty", "of": "distill"}, LABELS["binary"])
    loss = catalogue.build("losses", "distill", LABELS["multiclass"])
    batch, output = batch_of("multiclass")
    with pytest.raises(LookupError, match="before training"):
        loss(None, batch, Output(output.scores, ()))

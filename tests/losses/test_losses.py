"""Every loss is a sum and a weight: it does not matter how a batch is cut, and each formula is checked against a slow one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from encore import catalogue
from encore.errors import RecipeError
from encore.losses.binary_cross_entropy import BinaryCrossEntropy
from encore.losses.cosine_embedding import CosineEmbedding
from encore.losses.cross_entropy import CrossEntropy
from encore.losses.mse import Mse
from encore.losses.uncertainty import Uncertainty
from encore.types import Batch, LabelSpace, Output, TaskKind, Tokens

NAMES = catalogue.names("losses")
ROWS = 7
LABELS: dict[TaskKind, LabelSpace] = {
    "binary": LabelSpace("binary", ("no", "yes")),
    "multiclass": LabelSpace("multiclass", ("a", "b", "c", "d", "e")),
    "multilabel": LabelSpace("multilabel", ("x", "y", "z")),
    "regression": LabelSpace("regression"),
}
CASES = [(name, kind) for name in NAMES for kind in catalogue.find("losses", name).kinds]


def batch_of(kind: TaskKind, *, weights: Tensor | None = None, seed: int = 0) -> tuple[Batch, Output]:
    """Random scores and targets of seven rows, with weights that differ."""
    draw = torch.Generator().manual_seed(seed)
    labels = LABELS[kind]
    scores = torch.randn(ROWS, labels.n_scores, generator=draw)
    if kind == "multilabel":
        targets = torch.randint(2, (ROWS, labels.n_scores), generator=draw).float()
    elif kind == "regression":
        targets = torch.randn(ROWS, generator=draw)
    else:
        targets = torch.randint(labels.n_scores, (ROWS,), generator=draw)
    tokens = Tokens(torch.arange(ROWS), torch.zeros(ROWS, dtype=torch.long), torch.zeros(ROWS, dtype=torch.long), torch.arange(ROWS + 1), (1,) * ROWS)
    weights = torch.rand(ROWS, generator=draw) + 0.5 if weights is None else weights
    return Batch("task", "digest", np.arange(ROWS), tokens, targets, weights), output_of(scores)


def output_of(scores: Tensor) -> Output:
    """With embeddings of two texts, at an angle to each other that is below 90 degrees."""
    return Output(scores, (scores, scores + 0.3 * scores.flip(1)))


def part(batch: Batch, output: Output, rows: slice) -> tuple[Batch, Output]:
    numbers = range(ROWS)[rows]
    cut = Batch(batch.task, batch.digest, batch.rows[rows], batch.tokens, batch.targets[rows], batch.weights[rows])
    assert len(cut.rows) == len(numbers)
    return cut, output_of(output.scores[rows])


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_batch_is_the_sum_of_its_parts(name: str, kind: TaskKind) -> None:
    loss = catalogue.build("losses", name, LABELS[kind])
    if loss.couples_rows:
        pytest.skip("compares the rows of a batch with each other")
    batch, output = batch_of(kind)
    total, weight = loss(None, batch, output)
    parts = [loss(None, *part(batch, output, rows)) for rows in (slice(0, 2), slice(2, 7))]
    torch.testing.assert_close(total, sum(value for value, _ in parts))
    torch.testing.assert_close(weight, sum(value for _, value in parts))


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_weight_is_known_from_the_batch_alone(name: str, kind: TaskKind) -> None:
    loss = catalogue.build("losses", name, LABELS[kind])
    batch, output = batch_of(kind)
    torch.testing.assert_close(loss.weight(batch), loss(None, batch, output)[1], rtol=0, atol=0)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_row_of_weight_3_counts_like_three_rows(name: str, kind: TaskKind) -> None:
    loss = catalogue.build("losses", name, LABELS[kind])
    batch, output = batch_of(kind, weights=torch.ones(ROWS))
    heavy = Batch(batch.task, batch.digest, batch.rows, batch.tokens, batch.targets, torch.tensor([3.0, 1, 1, 1, 1, 1, 1]))
    (plain, weight), (weighted, heavier) = loss(None, batch, output), loss(None, heavy, output)
    (first, _) = loss(None, *part(batch, output, slice(0, 1)))
    torch.testing.assert_close(weighted, plain + 2 * first)
    assert (weight.item(), heavier.item()) == (ROWS, ROWS + 2)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_nothing_is_edited_and_every_row_gets_a_gradient(name: str, kind: TaskKind) -> None:
    loss = catalogue.build("losses", name, LABELS[kind])
    batch, output = batch_of(kind)
    before = [batch.targets.clone(), batch.weights.clone(), output.scores.clone()]
    scores = output.scores.requires_grad_()
    loss(None, batch, output_of(scores))[0].backward()
    assert all(torch.equal(*pair) for pair in zip(before, [batch.targets, batch.weights, scores.detach()], strict=True))
    assert scores.grad is not None
    assert scores.grad.abs().sum(dim=1).gt(0).all()


def slow(kind: TaskKind, scores: list[list[float]], targets: list[Any], weights: list[float], smoothing: float = 0.0, factor: float = 1.0) -> float:
    """One row after the other, with nothing but `math`."""
    total = 0.0
    for row, target, weight in zip(scores, targets, weights, strict=True):
        if kind == "regression":
            total += weight * (row[0] - target) ** 2 * factor
        elif kind == "multilabel":
            chances = [1 / (1 + math.exp(-score)) for score in row]
            total += weight * sum(-math.log(p if on else 1 - p) for p, on in zip(chances, target, strict=True)) / len(row)
        else:
            norm = math.log(sum(math.exp(score) for score in row))
            losses = [norm - score for score in row]
            total += weight * ((1 - smoothing) * losses[target] + smoothing * sum(losses) / len(losses))
    return total


@pytest.mark.parametrize(
    ("loss", "kind", "smoothing"),
    [
        (CrossEntropy, "binary", 0.0),
        (CrossEntropy, "multiclass", 0.0),
        (CrossEntropy, "multiclass", 0.3),
        (BinaryCrossEntropy, "multilabel", 0.0),
        (BinaryCrossEntropy, "binary", 0.0),
        (Uncertainty, "regression", 0.0),
        (Mse, "regression", 0.0),
    ],
)
def test_the_formula_is_that_of_a_slow_loop(loss: Any, kind: TaskKind, smoothing: float) -> None:
    batch, output = batch_of(kind, seed=4)
    chosen = loss(LABELS[kind], label_smoothing=smoothing) if smoothing else loss(LABELS[kind])
    half = 0.5 if loss is Uncertainty else 1.0                   # at its start, where log σ² is 0
    expected = slow(kind, output.scores.tolist(), batch.targets.tolist(), batch.weights.tolist(), smoothing, half)
    assert chosen(None, batch, output)[0].item() == pytest.approx(expected, rel=1e-5)


def pairs_of(vectors: list[tuple[list[float], list[float]]], targets: list[int], weights: list[float]) -> tuple[Batch, Output]:
    n = len(vectors)
    tokens = Tokens(torch.arange(2 * n), torch.zeros(2 * n, dtype=torch.long), torch.zeros(2 * n, dtype=torch.long), torch.arange(2 * n + 1), (1,) * 2 * n)
    sides = tuple(torch.tensor([pair[side] for pair in vectors], requires_grad=True) for side in (0, 1))
    return Batch("task", "digest", np.arange(n), tokens, torch.tensor(targets), torch.tensor(weights)), Output(torch.zeros(n, 2), sides)


def test_cosine_embedding_by_hand() -> None:
    """METHODS 4.8: u = (1, 0), v = (0.6, 0.8): 0.4 for label 1 and 0.6 for label 0; opposite vectors with label 0 cost nothing and have no gradient."""
    same = ([1.0, 0.0], [0.6, 0.8])
    for vectors, target, expected in ((same, 1, 0.4), (same, 0, 0.6), (([1.0, 0.0], [-1.0, 0.0]), 0, 0.0), (([1.0, 0.0], [-1.0, 0.0]), 1, 2.0)):
        batch, output = pairs_of([vectors], [target], [1.0])
        total, weight = CosineEmbedding(LABELS["binary"])(None, batch, output)
        assert (total.item(), weight.item()) == (pytest.approx(expected, abs=1e-6), 1.0)
        if not expected:
            total.backward()
            assert not any(side.grad.any() for side in output.embeddings if side.grad is not None)


@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_cosine_embedding_is_torch_s(margin: float) -> None:
    draw = torch.Generator().manual_seed(3)
    first, second, targets = torch.randn(11, 5, generator=draw), torch.randn(11, 5, generator=draw), torch.randint(2, (11,), generator=draw)
    batch, output = pairs_of(list(zip(first.tolist(), second.tolist(), strict=True)), targets.tolist(), [1.0] * 11)
    total, weight = CosineEmbedding(LABELS["binary"], margin=margin)(None, batch, output)
    expected = torch.nn.functional.cosine_embedding_loss(first, second, 2.0 * targets - 1, margin=margin)
    torch.testing.assert_close(total / weight, expected)


def test_uncertainty_by_hand() -> None:
    """Kendall et al.: L / (2σ²) + log σ for a regression, L / σ² + log σ for classes; the best σ² is the loss of a regression itself."""
    for kind, half in (("regression", 0.5), ("multiclass", 1.0)):
        labels = LABELS[kind]                                                                                     # type: ignore[index]
        batch, output = batch_of(kind, seed=2)                                                                    # type: ignore[arg-type]
        loss = Uncertainty(labels)
        inner, weight = catalogue.build("losses", "mse" if kind == "regression" else "cross_entropy", labels)(None, batch, output)
        with torch.no_grad():
            loss.log_variance.fill_(0.7)
        total, same = loss(None, batch, output)
        assert total.item() == pytest.approx(half * math.exp(-0.7) * inner.item() + 0.35 * weight.item(), rel=1e-6)
        assert same.item() == weight.item()
        if kind == "regression":
            with torch.no_grad():
                loss.log_variance.fill_(math.log(inner.item() / weight.item()))
            loss.zero_grad()
            loss(None, batch, output)[0].backward()
            assert loss.log_variance.grad is not None
            assert loss.log_variance.grad.item() == pytest.approx(0, abs=1e-5)


def test_uncertainty_refuses_a_loss_of_another_kind() -> None:
    with pytest.raises(RecipeError, match="of: 'mse' does not fit a multiclass task, which needs 'cross_entropy'"):
        Uncertainty(LABELS["multiclass"], of="mse")


def test_cross_entropy_by_hand() -> None:
    """Two equal scores: each class has half the probability, whatever the target."""
    batch, _ = batch_of("binary", weights=torch.ones(ROWS))
    total, weight = CrossEntropy(LABELS["binary"])(None, batch, Output(torch.zeros(ROWS, 2), ()))
    assert total.item() / weight.item() == pytest.approx(math.log(2))


def test_every_loss_was_tried() -> None:
    assert {name for name, _ in CASES} == set(NAMES) >= {"cross_entropy", "binary_cross_entropy", "mse"}
    assert {kind for _, kind in CASES} == set(LABELS)

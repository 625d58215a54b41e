"""SMART, against METHODS 5.1 and against a loop in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from encore.encoder import dropout
from encore.techniques.losses._divergence import divergence, symmetric_divergence
from encore.techniques.losses.smart import Smart
from encore.types import LABELLED, Batch, LabelSpace, Output, TaskKind, Tokens

LABELS: dict[TaskKind, LabelSpace] = {
    "binary": LabelSpace("binary", ("no", "yes")),
    "multiclass": LabelSpace("multiclass", ("a", "b", "c")),
    "multilabel": LabelSpace("multilabel", ("x", "y", "z")),
    "regression": LabelSpace("regression"),
}
LENGTHS = (3, 1, 4, 2)


def tokens_of(lengths: tuple[int, ...]) -> Tokens:
    n = sum(lengths)
    offsets = torch.tensor([0, *np.cumsum(lengths).tolist()])
    zeros = torch.zeros(n, dtype=torch.long)
    return Tokens(torch.arange(n), zeros, zeros, offsets, lengths)


class Model:
    """Scores of a row: a fixed non-linear function of the mean of its embeddings, in float64."""

    def __init__(self, n_scores: int, width: int = 5) -> None:
        draw = torch.Generator().manual_seed(3)
        self.weight = torch.randn(width, n_scores, generator=draw, dtype=torch.float64)
        self.weight.requires_grad_()

    def __call__(
        self,
        tokens: Tokens,
        embedded: Any = None,
        vectors: Tensor | None = None,
        exact: bool = False,
    ) -> Output:
        if vectors is None:
            parts = embedded[0].double().split(list(tokens.lengths))
            vectors = torch.stack([part.mean(dim=0) for part in parts])
        scores = torch.tanh(vectors.double()) @ self.weight * 3
        return Output(scores, (vectors,), () if embedded is None else tuple(embedded), vectors)


def batch_of(kind: TaskKind, lengths: tuple[int, ...] = LENGTHS) -> Batch:
    rows = len(lengths)
    return Batch("t", "d", np.arange(rows), tokens_of(lengths), torch.zeros(rows), torch.ones(rows))


def embedded(n_tokens: int, width: int = 5) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(n_tokens, width, generator=draw, dtype=torch.float64)


def slow(model: Model, place: Tensor, noise: Tensor, kind: TaskKind, **how: Any) -> Tensor:
    """R by METHODS 5.1, with gradients by differences and loops over tokens and rows."""
    tokens = tokens_of(LENGTHS)
    clean = model(tokens, [place]).scores.detach()

    def inner(n: Tensor) -> float:
        moved = model(tokens, [place + n]).scores.detach()
        total = 0.0
        for z, other in zip(clean.tolist(), moved.tolist(), strict=True):
            total += one_way(z, other, kind)
        return total

    gradient = torch.zeros_like(noise)
    for line in range(noise.shape[0]):
        for column in range(noise.shape[1]):
            step = torch.zeros_like(noise)
            step[line, column] = 1e-5
            gradient[line, column] = (inner(noise + step) - inner(noise - step)) / 2e-5
    if how["mode"] == "reference":
        risen = noise + how["step_size"] * gradient
        for line in risen:
            line /= line.abs().max() + how["epsilon"]
    else:
        risen, start = noise.clone(), 0
        for length in LENGTHS:
            part = slice(start, start + length)
            risen[part] += how["step_size"] * gradient[part] / gradient[part].abs().max()
            start += length
        risen = risen.clamp(-how["epsilon"], how["epsilon"])
    moved = model(tokens, [place + risen]).scores.detach()
    rows = [
        one_way(z, other, kind) + (0.0 if kind == "regression" else one_way(other, z, kind))
        for z, other in zip(clean.tolist(), moved.tolist(), strict=True)
    ]
    return torch.tensor(sum(rows) / len(rows))


def one_way(z: list[float], other: list[float], kind: TaskKind) -> float:
    if kind == "regression":
        return (z[0] - other[0]) ** 2
    if kind == "multilabel":
        total = 0.0
        for a, b in zip(z, other, strict=True):
            p, q = 1 / (1 + math.exp(-a)), 1 / (1 + math.exp(-b))
            total += p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
        return total
    p, q = (np.exp(x) / np.exp(x).sum() for x in (np.array(z), np.array(other)))
    return float((p * np.log(p / q)).sum())


@pytest.mark.parametrize("mode", ["reference", "paper"])
@pytest.mark.parametrize("kind", LABELLED)
def test_it_is_a_slow_loop_in_float64(
    kind: TaskKind, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = 0.1 * embedded(sum(LENGTHS)).flip(0)
    monkeypatch.setattr(dropout, "normal", lambda shape, unit: noise.clone())
    how: dict[str, Any] = {"mode": mode, "step_size": 0.3, "epsilon": 0.05}
    model, place = Model(LABELS[kind].n_scores), embedded(sum(LENGTHS))
    # float() in the loss would round: keep float64 all the way
    monkeypatch.setattr("encore.techniques.losses.smart._added", lambda p, n, exact: p + n)
    batch = batch_of(kind)
    loss = Smart(LABELS[kind], sigma=1.0, **how)
    total, weight = loss(model, batch, model(batch.tokens, [place]))
    expected = slow(model, place, noise, kind, **how)
    assert float(total / weight) == pytest.approx(float(expected), rel=1e-5)
    assert float(total) > 0
    (gradient,) = torch.autograd.grad(total, [model.weight])
    assert gradient.abs().sum() > 0


def test_the_worked_example_of_methods() -> None:
    """METHODS 5.1, test 1: f(e) = 3·e₁ − e₂, squared error, n = (1e-5, 2e-5) → R = 0.236368."""
    loss = Smart(LABELS["regression"])
    weight = torch.tensor([[3.0], [-1.0]], dtype=torch.float64)

    def model(tokens: Tokens, embedded: Any, exact: bool = False) -> Output:
        return Output(embedded[0] @ weight, ())

    place = torch.zeros(1, 2, dtype=torch.float64)
    batch = batch_of("regression", (1,))
    noise = torch.tensor([[1e-5, 2e-5]], dtype=torch.float64)
    gradient = torch.tensor([[6e-5, -2e-5]], dtype=torch.float64)
    scaled = loss._scaled(noise + loss._step(gradient, batch), batch)
    assert scaled[0].tolist() == pytest.approx([0.479504, 0.952336], abs=5e-7)
    moved = model(batch.tokens, [place + scaled]).scores
    found = symmetric_divergence(model(batch.tokens, [place]).scores, moved, "regression")
    assert float(found) == pytest.approx(0.236368, abs=5e-7)


def test_the_divergences_of_methods() -> None:
    """METHODS 5.1, test 2, and one logit written as two scores."""
    z, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    assert float(divergence(z, other, "multiclass")) == pytest.approx(0.110944, abs=1e-6)
    assert float(divergence(other, z, "multiclass")) == pytest.approx(0.120115, abs=1e-6)
    assert float(symmetric_divergence(z, other, "multiclass")) == pytest.approx(0.231059, abs=1e-6)
    one, none = torch.tensor([[1.0]]), torch.tensor([[0.0]])
    assert float(symmetric_divergence(one, none, "multilabel")) == pytest.approx(0.231059, abs=1e-6)


def test_both_directions_stop_the_gradient_of_their_target() -> None:
    """METHODS 5.1: z = 1, z' = 0.3 of one logit give (.157, −.157), not (.294, −.328)."""
    logit, other = (torch.tensor([[value]], requires_grad=True) for value in (1.0, 0.3))
    symmetric_divergence(logit, other, "multilabel").sum().backward()
    assert logit.grad is not None
    assert other.grad is not None
    assert (float(logit.grad), float(other.grad)) == pytest.approx((0.157, -0.157), abs=5e-4)


@pytest.mark.parametrize("kind", LABELLED)
def test_no_noise_and_no_ascent_add_exactly_nothing(kind: TaskKind) -> None:
    model, place = Model(LABELS[kind].n_scores), embedded(sum(LENGTHS)).float()
    batch = batch_of(kind)
    with dropout.drawing(0, 1):
        total, _ = Smart(LABELS[kind], sigma=0.0, steps=0)(
            model, batch, model(batch.tokens, [place])
        )
    assert float(total) == 0.0


@pytest.mark.parametrize("at", ["embeddings", "cls"])
def test_micro_batches_add_up_to_the_whole_batch(at: str) -> None:
    """The noise belongs to the place in the whole batch: two halves give the sum of the whole."""
    kind: TaskKind = "multiclass"
    loss = Smart(LABELS[kind], at=at, sigma=0.5)  # type: ignore[arg-type]
    model, place = Model(3), embedded(sum(LENGTHS))

    def value(rows: slice, offset: dropout.BatchOffset) -> float:
        lengths = LENGTHS[rows]
        start = sum(LENGTHS[: rows.start or 0])
        part, batch = place[start : start + sum(lengths)], batch_of(kind, lengths)
        with dropout.drawing(7, 3, offset):
            return float(loss(model, batch, model(batch.tokens, [part])).sum)

    whole = value(slice(0, 4), dropout.BatchOffset())
    halves = value(slice(0, 2), dropout.BatchOffset()) + value(
        slice(2, 4), dropout.BatchOffset(rows=2, tokens=sum(LENGTHS[:2]), examples=2)
    )
    assert whole == pytest.approx(halves, rel=1e-5)
    assert whole > 1e-6


def test_the_direction_of_paper_beats_random_ones_of_equal_norm() -> None:
    """In `paper` mode with ε = 1e-3, against 20 random corners of the same cube."""
    kind: TaskKind = "multiclass"
    model, place, batch = Model(3), embedded(sum(LENGTHS)), batch_of(kind)
    clean = model(batch.tokens, [place]).scores
    loss = Smart(LABELS[kind], mode="paper", sigma=1e-5, epsilon=1e-3, step_size=1e-2)
    with dropout.drawing(0, 1):
        risen = float(loss(model, batch, model(batch.tokens, [place])).sum)
    draw = torch.Generator().manual_seed(5)
    for _ in range(20):
        corner = 1e-3 * torch.randn(place.shape, generator=draw, dtype=torch.float64).sign()
        moved = model(batch.tokens, [place + corner]).scores
        assert risen > float(symmetric_divergence(clean, moved, kind).sum())


def test_a_gradient_that_is_not_finite_adds_nothing() -> None:
    kind: TaskKind = "regression"
    place, batch = embedded(sum(LENGTHS)), batch_of(kind)

    def model(tokens: Tokens, embedded: Any, exact: bool = False) -> Output:
        return Output(embedded[0].sum() * torch.full((4, 1), math.inf), (), tuple(embedded))

    clean = Output(torch.ones(4, 1, requires_grad=True), (), (place,))
    with dropout.drawing(0, 1):
        total, _ = Smart(LABELS[kind])(model, batch, clean)
    assert float(total) == 0.0
    assert total.requires_grad


def test_cached_features_leave_no_way_back_into_the_model() -> None:
    """In a phase with a frozen encoder the term is 0, and the others train."""
    scores = torch.ones(4, 3, requires_grad=True)
    total, weight = Smart(LABELS["multiclass"])(
        Model(3), batch_of("multiclass"), Output(scores, (), (None,))
    )
    assert (float(total), float(weight)) == (0.0, 4.0)

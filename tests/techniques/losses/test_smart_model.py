"""SMART and its proximal term in a real model: what the ascent finds, what is reported of it, and
in which precision it is computed.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest
import torch
from small_model import LABELS, WIDTH, batch_of, model_of
from torch import Tensor

from encore import catalogue
from encore.encoder import dropout
from encore.encoder.encoder import Frozen
from encore.model.task_model import Branch, TaskModel
from encore.techniques.losses._divergence import divergence, symmetric_divergence
from encore.techniques.losses.bregman import Bregman
from encore.techniques.losses.smart import Smart
from encore.types import LABELLED, Encoded, Pooling, TaskKind


def term(loss: Any, model: TaskModel, kind: TaskKind, step: int = 1) -> tuple[Tensor, Any]:
    batch = batch_of(kind)
    with dropout.drawing(3, step):
        output = model(batch.tokens)
        with dropout.drawing_apart("smart"):
            return loss(model, batch, output).sum, output


@pytest.mark.parametrize("mode", ["paper", "paper_l2"])
@pytest.mark.parametrize("kind", LABELLED)
def test_a_radius_of_0_adds_exactly_nothing(kind: TaskKind, mode: Any) -> None:
    loss = Smart(LABELS[kind], mode=mode, epsilon=0.0)
    found, _ = term(loss, model_of(kind, rate=0.0), kind)
    assert float(found.detach()) == 0.0


class DoubleMean(torch.nn.Module):
    """Mean pooling that does not round to float32."""

    layers, first_only = (-1,), False

    def forward(self, encoded: Encoded) -> Tensor:
        (states,) = encoded.read((-1,))
        rows = states.double().split(encoded.tokens.lengths)
        return torch.stack([row.mean(dim=0) for row in rows])


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5])
@pytest.mark.parametrize("kind", LABELLED)
def test_the_direction_of_paper_beats_20_random_ones(kind: TaskKind, epsilon: float) -> None:
    """Without dropout, random corners of the cube in which the ascent ends: they have the same
    length by any norm. Behind the encoder everything is float64.
    """
    single, batch = model_of(kind, rate=0.0), batch_of(kind)
    head = cast(torch.nn.Module, single.head).double()
    branch = Branch(cast(Any, single.branches[0].encoder), cast(Pooling, DoubleMean()))
    model = TaskModel([branch], cast(Any, head), n_sides=2)
    clean = model(batch.tokens)
    (place,) = clean.embedded
    loss = Smart(LABELS[kind], mode="paper", sigma=1e-2 * epsilon, epsilon=epsilon)
    ascended: list[Tensor] = []

    def read(tokens: Any, *, embedded: Any, exact: bool) -> Any:
        ascended.append(embedded[0].detach() - place.detach())
        return model(tokens, embedded=embedded)

    def at(noise: Tensor) -> float:
        moved = model(batch.tokens, embedded=[place + noise]).scores
        return float(symmetric_divergence(clean.scores, moved, kind).sum().detach())

    with dropout.drawing(0, 1):
        loss(read, batch, clean)
    noise = ascended[-1]
    assert float(noise.abs().max()) == pytest.approx(epsilon, rel=1e-2)
    draw = torch.Generator().manual_seed(5)
    length = noise.norm(dim=1, keepdim=True)
    for _ in range(20):
        corner = torch.randn(noise.shape, generator=draw).sign()
        assert at(noise) > at(corner * length / corner.norm(dim=1, keepdim=True))


def test_the_euclidean_ball_is_that_of_a_row() -> None:
    """Slow: each row's noise is scaled back where it is longer than ε, and no other is touched."""
    loss, batch = (
        Smart(LABELS["binary"], mode="paper_l2", epsilon=0.7),
        batch_of("binary"),
    )
    draw = torch.Generator().manual_seed(2)
    risen = 0.2 * torch.randn(batch.tokens.n_tokens, 3, generator=draw)
    found = loss._scaled(risen, batch).split(batch.tokens.lengths)
    for row, expected in zip(found, risen.split(batch.tokens.lengths), strict=True):
        factor = min(1.0, 0.7 / float(expected.norm()))
        torch.testing.assert_close(row, expected * factor)
    assert {bool(row.norm() > 0.69) for row in found} == {True, False}
    lines = Smart(LABELS["binary"], mode="reference_l2")._scaled(risen, batch)
    torch.testing.assert_close(lines.norm(dim=1), torch.ones(len(lines)), rtol=1e-4, atol=0)


@pytest.mark.parametrize("at", ["embeddings", "cls"])
@pytest.mark.parametrize("mode", ["reference", "paper"])
def test_figures_about_the_ascent(mode: Any, at: Any) -> None:
    """Computed again by hand, with the dropout of the term itself; nothing else is moved."""
    kind: TaskKind = "multiclass"
    loss = Smart(LABELS[kind], mode=mode, at=at, sigma=1e-2, epsilon=1e-2)
    model, batch = model_of(kind), batch_of(kind)
    value, output = term(loss, model, kind)
    with dropout.drawing(3, 1):
        model(batch.tokens)
        with dropout.drawing_apart("smart"):
            found = loss.diagnose(model, batch, output)
            drawn = dropout.next_site()
    assert all(parameter.grad is None for parameter in model.parameters())
    (place,) = output.embedded if at == "embeddings" else (output.vectors,)
    plain = {"embeddings": lambda x: {"embedded": [x]}, "cls": lambda x: {"vectors": x}}[at]
    with dropout.drawing(3, 1):
        model(batch.tokens)
        with dropout.drawing_apart("smart"):
            n = 1e-2 * dropout.normal(
                tuple(place.shape), "tokens" if at == "embeddings" else "rows"
            )
            n.requires_grad_()
            moved = model(batch.tokens, **plain(place.detach() + n)).scores
            (g,) = torch.autograd.grad(divergence(output.scores.detach(), moved, kind).sum(), n)
            step = loss._step(g, batch)
            noise = loss._scaled(n.detach() + step, batch)
            site, divergences = dropout.next_site(), []
            length = noise.norm(dim=1) / n.detach().norm(dim=1)
            for each in (noise, n.detach() * length[:, None]):
                with dropout.again(site):
                    scores = model(batch.tokens, **plain(place.detach() + each)).scores
                apart = symmetric_divergence(output.scores.detach(), scores, kind)
                divergences.append(float(apart.detach().mean()))
            assert drawn == dropout.next_site()
    with_ascent, without = divergences
    ratio = float((step.norm(dim=1) / n.detach().norm(dim=1)).mean())
    assert dict(found) == pytest.approx(
        {
            "divergence": with_ascent,
            "random_divergence": without,
            "gain": with_ascent / without - 1,
            "step_to_noise": ratio,
        },
        rel=1e-4,
        abs=1e-6,
    )
    assert float(value.detach()) > 0


def test_cached_features_give_no_figures() -> None:
    kind: TaskKind = "binary"
    output = model_of(kind)(batch_of(kind).tokens)
    hidden = type(output)(output.scores, output.embeddings, (None,), output.vectors)
    assert Smart(LABELS[kind]).diagnose(model_of(kind), batch_of(kind), hidden) == {}


class Recorder(torch.nn.Module):
    """Stands in for a borrowed encoder: notes in which format it is asked to compute."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner, self.seen = inner, []
        self.dtype = torch.bfloat16

    def embedded(self, tokens: Any) -> Tensor:
        return self.inner.embed(tokens)

    def run(self, embedded: Tensor, tokens: Any, **how: Any) -> Any:
        self.seen.append(self.dtype)
        return self.inner.run(embedded, tokens, **how)


@pytest.mark.parametrize(
    ("mode", "formats"),
    [
        ("reference", [torch.bfloat16, torch.float32, torch.bfloat16]),
        ("paper", [torch.bfloat16, torch.float32, torch.float32]),
    ],
)
def test_the_inner_pass_of_any_encoder_is_float32(mode: Any, formats: list[torch.dtype]) -> None:
    """Also of one whose embeddings do not show what it computes in."""
    model = model_of("binary")
    recorder = Recorder(model.branches[0].encoder)
    model = TaskModel([Branch(recorder, model.branches[0].pooling)], model.head, n_sides=2)
    term(Smart(LABELS["binary"], mode=mode), model, "binary")
    assert recorder.seen == formats
    assert recorder.dtype == torch.bfloat16


@pytest.mark.parametrize("mode", ["reference", "paper", "paper_l2"])
def test_all_weights_get_a_gradient_and_the_noise_none(mode: Any) -> None:
    """METHODS 5.1, test 4: the tables of the embeddings too. A key's bias moves no score."""
    model = model_of("multiclass", rate=0.0)
    loss = Smart(LABELS["multiclass"], mode=mode, sigma=1e-2, epsilon=1e-2)
    term(loss, model, "multiclass")[0].backward()
    still = {
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    }
    assert not still


def test_no_noise_goes_into_a_frozen_copy() -> None:
    """Beside a trained encoder, as in `static`: its embeddings are no place to enter again."""
    trained, frozen = model_of("binary").branches[0], model_of("binary").branches[0]
    branches = [Branch(Frozen(frozen.encoder), frozen.pooling), trained]
    head = catalogue.build("heads", "siamese_concat", 2 * WIDTH, 2)
    model = TaskModel(branches, head, n_sides=2).train()
    found, output = term(Smart(LABELS["binary"], sigma=1e-2), model, "binary")
    assert [place is None for place in output.embedded] == [True, False]
    assert float(found.detach()) > 0


# ----------------------------------------------------------------------------- the proximal term


@pytest.mark.parametrize("kind", LABELLED)
def test_the_proximal_term_is_the_distance_from_averaged_weights(kind: TaskKind) -> None:
    """By hand over three steps: θ̃ ← 0.8·θ̃ + 0.2·θ, read without dropout."""
    model, batch, loss = (
        model_of(kind, rate=0.1),
        batch_of(kind),
        Bregman(LABELS[kind], momentum=0.8),
    )
    loss.begin(model)
    teacher = copy.deepcopy(model).eval()
    draw = torch.Generator().manual_seed(1)
    for _ in range(3):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.05 * torch.randn(parameter.shape, generator=draw)
            for mean, parameter in zip(teacher.parameters(), model.parameters(), strict=True):
                mean.copy_(0.8 * mean + 0.2 * parameter)
        loss.after_step(model)
    found, output = term(loss, model, kind)
    assert model.training
    with torch.no_grad():
        average = teacher(batch.tokens).scores
    expected = divergence(output.scores, average, kind)
    if kind != "regression":
        expected = expected + divergence(average, output.scores, kind)
    torch.testing.assert_close(found, (expected * batch.weights).sum(), rtol=1e-4, atol=1e-6)
    found.backward()
    assert any(parameter.grad is not None for parameter in model.parameters())


def test_the_proximal_term_begins_at_0_without_dropout() -> None:
    model, loss = model_of("binary", rate=0.0), Bregman(LABELS["binary"])
    loss.begin(model)
    assert float(term(loss, model, "binary")[0].detach()) == pytest.approx(0, abs=1e-6)

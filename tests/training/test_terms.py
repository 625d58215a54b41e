"""The terms of a step: a split batch gives the gradients of the whole one, whatever a loss
compares; and each term draws for itself.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from small_model import LABELS, N_ROWS, batch_of, model_of, taught
from torch import Tensor

from encore import catalogue
from encore.encoder import dropout
from encore.model.task_model import TaskModel
from encore.training.ranks import Alone
from encore.training.step import StepInput, TaskStepResult, take_step
from encore.types import LABELLED, Batch, Loss, Output, TaskKind, Tokens

MAIN = {
    "binary": "cross_entropy",
    "multiclass": "cross_entropy",
    "regression": "mse",
    "unlabelled": "simcse",
}
CASES = [
    (name, kind)
    for name in catalogue.names("losses")
    for loss in [catalogue.find("losses", name)]
    for kind in dict.fromkeys((*loss.kinds, *loss.joins))
]
Gradients = dict[str, Tensor]


def step(
    model: TaskModel, losses: dict[str, tuple[float, Loss]], parts: Sequence[Batch]
) -> tuple[TaskStepResult, Gradients]:
    """The outcome of a step and the gradients that it made."""
    named = parameters_of(model, losses)
    found: Gradients = {}
    for name, parameter in named.items():
        parameter.grad = None
        parameter.register_post_accumulate_grad_hook(
            lambda p, name=name: found.update({name: p.grad.clone()})
        )
    optimiser = torch.optim.AdamW(named.values(), lr=0.0)
    for group in optimiser.param_groups:
        group["factor"] = 1.0
    outcome = take_step(
        [StepInput(model, parts, losses)], optimiser, seed=9, step=4, clip_norm=None
    )
    return outcome.parts[0], found


def parameters_of(
    model: TaskModel, losses: Mapping[str, tuple[float, Loss]]
) -> dict[str, torch.nn.Parameter]:
    """The parameters of a model and of its losses."""
    named = dict(model.named_parameters())
    for name, (_, loss) in losses.items():
        if isinstance(loss, torch.nn.Module):
            named |= {f"{name}.{key}": value for key, value in loss.named_parameters()}
    return named


def losses_of(name: str, kind: TaskKind) -> dict[str, tuple[float, Loss]]:
    """The loss with its defaults, beside another where it cannot be alone."""
    spec = {"name": name, "of": "mnr"} if name == "uncertainty" and kind == "unlabelled" else name
    loss: Loss = taught(catalogue.build("losses", spec, LABELS[kind]), LABELS[kind])
    found = {"it": (0.7, loss)}
    if kind not in loss.kinds:
        main = MAIN.get(kind, "binary_cross_entropy")
        found["task"] = (1.0, catalogue.build("losses", main, LABELS[kind]))
    return found


def distance(one: Gradients, other: Gradients) -> float:
    """The greatest difference of two gradients over the greatest entry of a gradient."""
    assert set(one) == set(other)
    largest = max(float(value.abs().max()) for value in one.values())
    return max(float((one[name] - other[name]).abs().max()) for name in one) / largest


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_micro_batches_give_the_gradients_of_the_whole_batch(name: str, kind: TaskKind) -> None:
    """Dropout is on: all rows draw, in each reading, what the whole batch draws for them."""
    whole, expected = step(model_of(kind), losses_of(name, kind), [batch_of(kind)])
    parts = [batch_of(kind, slice(*ends)) for ends in ((0, 1), (1, 8), (8, None))]
    split, found = step(model_of(kind), losses_of(name, kind), parts)
    assert split.loss == pytest.approx(whole.loss, rel=1e-5)
    assert dict(split.terms) == pytest.approx(dict(whole.terms), rel=1e-5)
    np.testing.assert_allclose(split.scores, whole.scores, atol=1e-5)
    assert distance(found, expected) < 1e-5


class ThreadRanks(Alone):
    """A rank that is a thread, and notes the gradients that it publishes."""

    def __init__(self, rank: int, given: list[bytes], together: threading.Barrier) -> None:
        self.rank, self.size = rank, len(given)
        self.given, self.together = given, together
        self.published: list[Tensor | None] = []

    def exchange(self, payload: bytes) -> list[bytes]:
        self.given[self.rank] = payload
        self.together.wait(20)
        found = list(self.given)
        self.together.wait(20)
        return found

    def publish(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        self.published = [None if p.grad is None else p.grad.clone() for p in parameters]


def by_ranks(
    kind: TaskKind, losses: Sequence[dict[str, tuple[float, Loss]]], parts: Sequence[Batch]
) -> tuple[TaskStepResult, Gradients]:
    """The outcome of a step of four ranks, of which the third has no rows, and the gradients of
    all. losses: of each rank.
    """
    given, together = [b""] * 4, threading.Barrier(4)
    ranks = [ThreadRanks(rank, given, together) for rank in range(4)]
    models = [model_of(kind) for _ in ranks]
    named = [parameters_of(*each) for each in zip(models, losses, strict=True)]

    def work(rank: int) -> TaskStepResult:
        optimiser = torch.optim.AdamW(named[rank].values(), lr=0.0)
        one = StepInput(models[rank], parts, losses[rank], owners=(0, 1, 3))
        how: dict[str, Any] = {"seed": 9, "step": 4, "clip_norm": None, "ranks": ranks[rank]}
        optimiser.param_groups[0]["factor"] = 1.0
        return take_step([one], optimiser, **how).parts[0]

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(work, range(4)))
    assert all((one.terms, one.loss) == (two.terms, two.loss) for one, two in pairwise(outcomes))
    found: Gradients = {}
    for rank in ranks:
        for name, gradient in zip(named[0], rank.published, strict=True):
            if gradient is not None:
                found[name] = found[name] + gradient if name in found else gradient
    return outcomes[0], found


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_ranks_give_the_gradients_of_the_whole_batch(name: str, kind: TaskKind) -> None:
    whole, expected = step(model_of(kind), losses_of(name, kind), [batch_of(kind)])
    parts = [batch_of(kind, slice(*ends)) for ends in ((0, 1), (1, 8), (8, None))]
    shared, found = by_ranks(kind, [losses_of(name, kind) for _ in range(4)], parts)
    assert shared.loss == pytest.approx(whole.loss, rel=1e-5)
    assert dict(shared.terms) == pytest.approx(dict(whole.terms), rel=1e-5)
    np.testing.assert_allclose(shared.scores, whole.scores, atol=1e-5)
    assert distance(found, expected) < 1e-5


class ReadTwice(Loss):
    """Compares the rows of two readings of its own with all others."""

    couples_rows = True
    joins = LABELLED
    kinds = ()

    def __call__(self, model: Any, batch: Batch, output: Output) -> Any:
        one, two = (model(batch.tokens).vectors for _ in range(2))
        return (one @ two.T).tanh().sum(), self.weight(batch)


def test_a_rank_without_rows_goes_on_where_the_others_do() -> None:
    main: Loss = catalogue.build("losses", "cross_entropy", LABELS["binary"])
    losses: dict[str, tuple[float, Loss]] = {"task": (1.0, main), "it": (0.1, ReadTwice())}
    whole, expected = step(model_of("binary"), losses, [batch_of("binary")])
    parts = [batch_of("binary", slice(*ends)) for ends in ((0, 1), (1, 8), (8, None))]
    shared, found = by_ranks("binary", [losses] * 4, parts)
    assert dict(shared.terms) == pytest.approx(dict(whole.terms), rel=1e-5)
    assert distance(found, expected) < 1e-5


class Drawing(Loss):
    """Notes what its readings draw."""

    joins = LABELLED
    kinds = ()

    def __init__(self) -> None:
        self.drawn: list[Tensor] = []

    def __call__(self, model: Any, batch: Batch, output: Output) -> Any:
        again = model(batch.tokens)
        self.drawn += [again.vectors.detach(), dropout.normal((3, 2), "rows")]
        return again.scores.sum(), self.weight(batch)


class MainDrawing(Drawing):
    kinds = LABELLED


@pytest.mark.parametrize("other", [Drawing, MainDrawing])
@pytest.mark.parametrize("kind_of_term", [Drawing, MainDrawing])
def test_leaving_a_term_out_shifts_no_draws_of_another(
    kind_of_term: type[Drawing], other: type[Drawing]
) -> None:
    main: Loss = catalogue.build("losses", "cross_entropy", LABELS["binary"])

    def drawn(*others: str) -> list[Tensor]:
        term = kind_of_term()
        losses: dict[str, tuple[float, Loss]] = {"task": (1.0, main)}
        losses |= {name: (1.0, other()) for name in others if name < "it"}
        losses |= {"it": (1.0, term)}
        losses |= {name: (1.0, other()) for name in others if name > "it"}
        step(model_of("binary"), losses, [batch_of("binary")])
        return term.drawn

    alone = drawn()
    for others in (["before"], ["later"], ["before", "later"]):
        for one, two in zip(alone, drawn(*others), strict=True):
            assert torch.equal(one, two)


def test_terms_that_only_join_draw_apart_from_each_other_and_from_the_first_reading() -> None:
    main: Loss = catalogue.build("losses", "cross_entropy", LABELS["binary"])
    one, two = Drawing(), Drawing()
    model = model_of("binary")
    step(model, {"task": (1.0, main), "a": (1.0, one), "b": (1.0, two)}, [batch_of("binary")])
    with dropout.drawing(9, 4):
        first = model(batch_of("binary").tokens).vectors
    assert first is not None
    assert not torch.equal(one.drawn[0], two.drawn[0])
    assert not torch.equal(one.drawn[1], two.drawn[1])
    assert not torch.equal(one.drawn[0], first)


def test_a_term_that_can_be_the_task_s_own_draws_as_if_nothing_had_been_set_apart() -> None:
    """As simcse always has: its second reading takes the sites behind those of the first."""
    main: Loss = catalogue.build("losses", "cross_entropy", LABELS["binary"])
    term, model, batch = MainDrawing(), model_of("binary"), batch_of("binary")
    step(model, {"task": (1.0, main), "it": (1.0, term)}, [batch])
    with dropout.drawing(9, 4):
        model(batch.tokens)
        second = model(batch.tokens).vectors
        numbers = dropout.normal((3, 2), "rows")
    assert second is not None
    assert torch.equal(term.drawn[0], second)
    assert torch.equal(term.drawn[1], numbers)


def test_draws_can_be_repeated_and_the_stream_continues_behind_them() -> None:
    def drawn() -> Tensor:
        return dropout.normal((4, 3), "rows")

    with dropout.drawing(1, 2):
        expected = [drawn() for _ in range(3)]
    with dropout.drawing(1, 2):
        site = dropout.next_site()
        drawn()
        with dropout.again(site):
            repeated = [drawn(), drawn()]
        assert torch.equal(drawn(), expected[2])
        with dropout.again(site, dropout.BatchOffset(rows=1)):
            shifted = drawn()
    assert torch.equal(torch.stack(repeated), torch.stack(expected[:2]))
    assert torch.equal(shifted[:-1], expected[0][1:])


def test_what_is_drawn_outside_of_training_needs_no_stream() -> None:
    tokens: Tokens = batch_of("binary").tokens
    with dropout.drawing_apart("it"), dropout.again(dropout.next_site()):
        assert model_of("binary")(tokens).scores.shape == (N_ROWS, 2)
